"""``relay config``: what there is to configure."""

import typer

app = typer.Typer(no_args_is_help=True, help="What there is to configure.")


@app.callback()
def config() -> None:
    """What there is to configure."""


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, by which editors complete and check it."""
    import json

    from relay.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
