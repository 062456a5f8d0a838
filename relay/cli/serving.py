"""What ``relay serve`` does, from the configuration to the end.

It has half a second until the relay is ready. So the store is opened, in a thread, while what is
still to be imported is, and nothing is imported that only others need.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from relay.config.schema import Config

_FAILED = 1
# EX_CONFIG: systemd does not restart into the same mistake, nor into a store that is refused.
_NO_USE_TO_TRY_AGAIN = 78


def serve(file: str | None) -> int:
    """The status to exit with; ``file`` is that of --config."""
    reload_asked: list[int] = []
    # By default it would end us, and we are soon ready for it.
    signal.signal(signal.SIGHUP, lambda number, frame: reload_asked.append(number))
    # What a start makes is there to stay, but for little: App collects when it is ready.
    gc.disable()
    try:
        return _configured(file, reload_asked)
    finally:
        gc.enable()


def _configured(file: str | None, reload_asked: Sequence[int]) -> int:
    _leave_out_rich()
    from relay.config import ConfigError, find_config_file, load

    try:
        config = load(find_config_file(file, os.environ))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return _NO_USE_TO_TRY_AGAIN
    if config.store.path is None:
        print("store: only sqlite: stores can be served yet", file=sys.stderr)
        return _NO_USE_TO_TRY_AGAIN
    return _served(config, config.store.path, reload_asked)


def _served(config: "Config", store_path: Path, reload_asked: Sequence[int]) -> int:
    from relay.model.ports import StoreError
    from relay.queue.errors import StoreUnusable
    from relay.queue.lock import AlreadyServing, ServeLock
    from relay.queue.sqlite.opening import make_directory, open_store

    os.umask(0o007)  # the store is for its user and group, whatever the service manager says
    try:
        make_directory(store_path)
        with ServeLock(store_path), ThreadPoolExecutor(1) as thread:
            store_opened = thread.submit(open_store, store_path)
            from relay import app
            from relay.record import diagnostics

            diagnostics.configure()
            app.serve(config, store_path, store_opened, reload_asked)
    except (AlreadyServing, StoreError, OSError) as error:
        print(f"relay: {error}", file=sys.stderr)
        return _NO_USE_TO_TRY_AGAIN if isinstance(error, StoreUnusable) else _FAILED
    return 0


def _leave_out_rich() -> None:
    """structlog would load it, for tracebacks that we have otherwise: a tenth of the time until the
    relay is ready, and 3 MiB."""
    cast(dict[str, ModuleType | None], sys.modules).setdefault("rich", None)
