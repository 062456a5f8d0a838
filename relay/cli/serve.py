"""``relay serve``: run in the foreground, under a service manager or on a terminal."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import cast

import typer

from relay.cli import access, options

app = typer.Typer()

_FAILED = 1
_CONFIGURATION = 78  # EX_CONFIG: systemd does not restart into the same mistake


@app.command(epilog=options.examples("relay serve", "relay --config ./config.yaml serve"))
def serve(context: typer.Context) -> None:
    """Run in the foreground until told to stop.

    Under a service manager, or on a terminal, where the trail is shown as it grows.
    """
    reload_asked: list[int] = []
    # By default it would end us, and we are soon ready for it.
    signal.signal(signal.SIGHUP, lambda number, frame: reload_asked.append(number))
    raise typer.Exit(_served(access.config_file(context), reload_asked))


def _served(config_path: Path | None, reload_asked: Sequence[int]) -> int:
    """The status to exit with."""
    _leave_out_rich()
    from relay.config import ConfigError, load

    try:
        config = load(config_path)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return _CONFIGURATION
    path = config.store.path
    if path is None:
        print("store: only sqlite: stores can be served yet", file=sys.stderr)
        return _CONFIGURATION

    from relay import app
    from relay.model.ports import StoreError
    from relay.queue.lock import AlreadyServing, ServeLock
    from relay.record import diagnostics

    diagnostics.configure()
    try:
        with ServeLock(path):
            app.serve(config, path, reload_asked)
    except (AlreadyServing, StoreError, OSError) as error:
        print(f"relay: {error}", file=sys.stderr)
        return _FAILED
    return 0


def _leave_out_rich() -> None:
    """structlog would load it, for tracebacks that we have otherwise: a tenth of the time until the
    relay is ready, and 3 MiB."""
    cast(dict[str, ModuleType | None], sys.modules).setdefault("rich", None)
