"""``relay serve``: run in the foreground, under a service manager or on a terminal."""

import typer

from relay.cli import options, serving

app = typer.Typer()


@app.command(epilog=options.examples("relay serve", "relay --config ./config.yaml serve"))
def serve(context: typer.Context) -> None:
    """Run in the foreground until told to stop.

    Under a service manager, or on a terminal, where the trail is shown as it grows.
    """
    raise typer.Exit(serving.serve(context.obj))
