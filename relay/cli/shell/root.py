"""What may stand before any verb."""

from typing import Annotated

import typer

from relay import __version__


def _show_version(asked: bool) -> None:
    if asked:
        print(f"relay {__version__}")
        raise typer.Exit


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
