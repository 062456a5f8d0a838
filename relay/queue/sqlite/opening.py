"""Opens the store's file: makes it, recognises it, brings its schema up to date.

Whatever is wrong with it is refused here, in words, before any mail is accepted.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from threading import Timer

from relay.model.ports import StoreError
from relay.queue.errors import StoreUnusable
from relay.queue.spooled import spool_path
from relay.queue.sqlite import connecting
from relay.queue.sqlite.failure import damaged, error_name, explained, recovery
from relay.queue.sqlite.log import check_log, log_path
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import micros

_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID = 0x52454C59  # "RELY", as in migrations/0001.sql
# A store of 10 GiB can't be read through at every start: what can be checked in this time is. The
# relay has half a second to be ready.
_CHECK_S = 0.1
_MIGRATIONS = Path(__file__).with_name("migrations")


def open_store(path: Path) -> tuple[int, set[str]]:
    """All that precedes accepting mail, and what end_former_life found. Raises StoreError. The
    caller holds queue.lock.ServeLock."""
    create_if_absent(path)
    prepare(path)
    try:
        return end_former_life(path)
    except sqlite3.Error as error:
        raise explained(path, error) from error


def make_directory(path: Path) -> None:
    """The store's own, where it is missing; before its lock can be taken. Raises StoreError."""
    try:
        if not path.parent.is_dir():
            path.parent.mkdir()
            path.parent.chmod(0o2770)
    except OSError as error:
        raise explained(path.parent, error) from error


def create_if_absent(path: Path) -> None:
    """A new store is made whole under another name: what stands at ``path`` once had mail in it,
    and if it is empty then, it was truncated."""
    make_directory(path)
    try:
        if path.exists():
            return
        _check_for_remains(path)
        _create(path)
    except OSError as error:
        raise explained(path, error) from error


def _check_for_remains(path: Path) -> None:
    """What belongs to a store that is gone would be taken for the new one's, or swept away."""
    log, spool = log_path(path), spool_path(path)
    if log.exists() and log.stat().st_size:
        raise StoreUnusable(
            f"{path} is gone, but {log.name} beside it holds a part of it: put {path.name} "
            f"back, or remove {log.name} to begin with an empty store"
        )
    if spool.is_dir() and any(spool.iterdir()):
        raise StoreUnusable(
            f"{path} is gone, but {spool.name} beside it holds large messages of it: put "
            f"{path.name} back, or move {spool.name} aside to begin with an empty store"
        )


def check_file(path: Path) -> None:
    """Refuse what is not an SQLite file before SQLite touches it."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise explained(path, error) from error
    if not head:
        raise StoreUnusable(f"{path} is empty, it was truncated; {recovery(path)}")
    if not _MAGIC.startswith(head[: len(_MAGIC)]):
        raise StoreUnusable(f"{path} is no store of a relay: name another file as the store")


def prepare(path: Path) -> None:
    """Verify that the file is a relay's store in order, and migrate it. Raises StoreUnusable."""
    check_file(path)
    try:
        check_log(path)
        with closing(connecting.connect(path)) as connection:
            _verify(path, connection)
            _migrate(path, connection)
            _check_quickly(path, connection)
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except sqlite3.Error as error:
        raise explained(path, error) from error
    if mode != "wal":
        raise StoreError(f"{path}: its file system can't share memory between processes (WAL)")


def end_former_life(path: Path) -> tuple[int, set[str]]:
    """Claims that a former life left become due: how many, and the spool files that are named."""
    with closing(connecting.connect(path)) as connection:
        connection.execute(SQL["doubt_former_claims"])
        ended = connection.execute(SQL["end_former_claims"], {"now": micros(time.time())})
        connection.execute(SQL["reach_all"])
        return ended.rowcount, {name for (name,) in connection.execute(SQL["spool_names"])}


def verify(path: Path, connection: Connection) -> None:
    """Verify a store that only ``relay serve`` may migrate."""
    version = _verify(path, connection)
    if version < latest_version():
        raise StoreUnusable(
            f"{path} was made by an older relay (schema {version} of {latest_version()}): "
            "start `relay serve` of this version once, which brings it up to date"
        )


def latest_version() -> int:
    return max(_migrations())


def _verify(path: Path, connection: Connection) -> int:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id != _APPLICATION_ID:
        raise StoreUnusable(
            f"{path} is a database of another program: name another file as the store"
        )
    if version > latest_version():
        raise StoreUnusable(
            f"{path} was made by a newer relay (schema {version}, this one knows "
            f"{latest_version()}): install that version again, or name another file as the store"
        )
    return version


def _create(path: Path) -> None:
    new = path.with_name(path.name + ".new")
    for leftover in (new, new.with_name(new.name + "-journal")):
        leftover.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
    os.fchmod(descriptor, 0o660)
    os.close(descriptor)
    try:
        with closing(connecting.connect(new)) as connection:
            # Gives space back to the disk when a backlog has gone (retention.py).
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _migrate(path, connection)
    except sqlite3.Error as error:
        raise explained(path, error) from error
    os.rename(new, path)
    _sync_directory(path.parent)


def _migrate(path: Path, connection: Connection) -> None:
    """All that is missing, in one transaction."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    missing = [number for number in sorted(_migrations()) if number > version]
    if not missing:
        return
    script = "\n".join(_migrations()[number] for number in missing)
    try:
        connection.executescript(
            f"BEGIN EXCLUSIVE;\n{script}\nPRAGMA user_version = {missing[-1]};\nCOMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrations() -> dict[int, str]:
    scripts = _MIGRATIONS.glob("*.sql")
    return {int(script.stem): script.read_text(encoding="utf-8") for script in scripts}


def _check_quickly(path: Path, connection: Connection) -> None:
    """SQLite's own check of structure, as far as it gets in a bounded time."""
    try:
        with _interrupted_after(connection, _CHECK_S):
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error_name(error) != "SQLITE_INTERRUPT":
            raise
        verdict = "ok"
    if verdict != "ok":
        raise damaged(path, verdict.replace("\n", " "))


@contextmanager
def _interrupted_after(connection: Connection, seconds: float) -> Iterator[None]:
    """From another thread: SQLite before 3.41 asks no progress handler while it walks the trees of
    pages, which takes seconds in a store of gigabytes."""
    timer = Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # what comes next must not be interrupted


def _sync_directory(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
