"""Opens the store for a person at the command line, or says in words why it can't be opened."""

import os
import pwd
import sqlite3
from contextlib import suppress
from grp import getgrgid
from pathlib import Path
from sqlite3 import Connection

from relay.model.ports import StoreError
from relay.queue.errors import StoreForbidden, StoreMissing
from relay.queue.lock import is_served, lock_path
from relay.queue.sqlite import connecting, opening
from relay.queue.sqlite.failure import explained
from relay.queue.sqlite.log import check_log


def open_existing(path: Path) -> Connection:
    """Raises StoreMissing, StoreForbidden or StoreUnusable, each with what to do about it."""
    _check_rights(path)
    served_by = _server(path)
    try:
        if served_by != os.getpid():
            # Never in the relay itself: a process that closes a file gives up all its locks on it,
            # and then the next verb takes the log away under the relay.
            opening.check_file(path)
        if served_by is None:
            check_log(path)
        connection = connecting.connect(path)
    except sqlite3.Error as error:
        raise explained(path, error) from error
    try:
        opening.verify(path, connection)
        # Now that a log left by a crash has been read, only changes have to wait: see begin().
        connection.execute("PRAGMA busy_timeout = 0")
    except (sqlite3.Error, StoreError) as error:
        connection.close()
        raise explained(path, error) from error
    return connection


def forbidden(path: Path) -> StoreForbidden:
    """Names the nearest thing that can be seen of ``path``, and the group that may use it."""
    seen = path
    while seen != seen.parent and not _is_seen(seen):
        seen = seen.parent
    group = seen.stat().st_gid
    try:
        name = getgrgid(group).gr_name
    except KeyError:
        name = str(group)
    who = _user()
    return StoreForbidden(
        f"{path} is closed to {who}: {seen} belongs to group {name}; use sudo, or join the group: "
        f"sudo usermod -aG {name} {who} (and log in anew)"
    )


def _server(path: Path) -> int | None:
    """The process that serves the store."""
    try:
        return is_served(path)
    except PermissionError as error:
        raise forbidden(lock_path(path)) from error


def _check_rights(path: Path) -> None:
    try:
        path.stat()
    except PermissionError as error:
        raise forbidden(path) from error
    except OSError as error:
        raise StoreMissing(f"no store at {path}; has `relay serve` run?") from error
    # Reading needs the right to write, too: SQLite keeps its readers' marks beside the file.
    for needed in (path, path.parent):
        if not os.access(needed, os.R_OK | os.W_OK, effective_ids=True):
            raise forbidden(needed)


def _is_seen(path: Path) -> bool:
    with suppress(OSError):
        path.stat()
        return True
    return False


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
