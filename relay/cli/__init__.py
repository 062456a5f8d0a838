"""The command line: one file for each group of verbs; each imports what it needs when it runs.

Status 0: fine; 1: the thing asked about is wrong; 2: usage; 78: configuration.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from relay import __version__
from relay.cli import (
    audit,
    check,
    config,
    dead,
    demo,
    queue,
    route,
    status,
    suppress,
    tenant,
    upstream,
)
from relay.cli.access import Trouble, config_file
from relay.cli.options import examples

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain tracebacks: rich takes longer to import than most verbs to run.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb and exits with its status; ``arguments`` default to the command line's."""
    if hasattr(sys.stdout, "reconfigure"):
        # A letter that the terminal's encoding lacks must not end a listing.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(arguments, prog_name="relay")
    except Trouble as trouble:
        print(f"relay: {trouble}", file=sys.stderr)
        sys.exit(1)
    finally:
        _flush()


def _show_version(asked: bool) -> None:
    if asked:
        print(f"relay {__version__}")
        raise typer.Exit


@app.callback()
def relay(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The configuration. Default: $RELAY_CONFIG, then /etc/relay/config.yaml, "
            "then ./config.yaml.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """A local SMTP relay: takes mail on localhost, keeps it, hands it to each tenant's upstream."""
    context.obj = config


@app.command(epilog=examples("relay serve", "relay --config ./config.yaml serve"))
def serve(context: typer.Context) -> None:
    """Run in the foreground until told to stop.

    Under a service manager, or on a terminal, where the trail is shown as it grows.
    """
    from relay.cli.serve import serve

    raise typer.Exit(serve(config_file(context)))


app.add_typer(demo.app)
app.add_typer(check.app)
app.add_typer(route.app)
app.add_typer(status.app)
app.add_typer(queue.app, name="queue")
app.add_typer(dead.app, name="dead")
app.add_typer(tenant.app, name="tenant")
app.add_typer(upstream.app, name="upstream")
app.add_typer(suppress.app, name="suppress")
app.add_typer(audit.app)
app.add_typer(config.app, name="config")


def _flush() -> None:
    """Here rather than at the interpreter's end, which would complain of a reader that has gone."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
