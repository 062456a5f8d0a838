"""Connections to the store's file, as each of its users wants them."""

import sqlite3
import time
from pathlib import Path
from sqlite3 import Connection
from urllib.parse import quote

from relay.model.ports import StoreError
from relay.queue.sqlite.failure import error_name, explained

# How long another process may hold the write lock; the verbs hold it for milliseconds. SQLite
# itself would look only every 100 ms: while 10,000 messages were retried, mail waited for 0.6 s
# at worst, and 0.2 s this way.
_BUSY_S = 5.0
_LOOK_AGAIN_S = 0.001
# The log is cut to this after a burst has made it grow.
_LOG_BYTES = 16 * 1024 * 1024


def connect(path: Path, *, patience_s: float = _BUSY_S) -> Connection:
    """A connection that reads and writes; a statement is a transaction unless one is begun."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=patience_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # secure_delete, on in Debian's SQLite, would write zeros over all that is deleted: 13 of
        # the 69 us that a message costs in SQLite.
        connection.executescript(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = OFF;"
            f"PRAGMA journal_size_limit = {_LOG_BYTES};"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def begin(connection: Connection) -> None:
    """Begin a transaction that will write, on a connection without patience of its own. Raises
    OperationalError (SQLITE_BUSY) in the end."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not error_name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_AGAIN_S)


def connect_to_read(path: Path, *, patience_s: float = _BUSY_S) -> Connection:
    connection = connect(path, patience_s=patience_s)
    connection.execute("PRAGMA query_only = ON")
    return connection


class Place:
    """Where the store's file lay when it was opened. SQLite would go on writing to a file that was
    removed or replaced (by a backup that was put back, say), and lose all with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _identity(path)

    def check(self) -> None:
        try:
            unmoved = _identity(self._path) == self._file
        except OSError as error:
            raise explained(self._path, error) from error
        if not unmoved:
            raise StoreError(
                f"{self._path} was replaced while the relay has it open: put the file back that "
                "was there, or stop the relay first"
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
