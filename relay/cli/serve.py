"""``relay serve``: run in the foreground, under a service manager or on a terminal."""

import sys
from pathlib import Path

_FAILED = 1
_CONFIGURATION = 78  # EX_CONFIG: systemd does not restart into the same mistake


def serve(config_path: Path | None) -> int:
    """The status to exit with."""
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
            app.serve(config, path)
    except (AlreadyServing, StoreError, OSError) as error:
        print(f"relay: {error}", file=sys.stderr)
        return _FAILED
    return 0
