"""What SQLite's errors mean, in words that name the file and what to do about it."""

import sqlite3
from pathlib import Path

from relay.model.ports import StoreError
from relay.queue.errors import StoreUnusable

_MEANINGS = (
    ("SQLITE_FULL", "no room is left for it: free disk space"),
    ("SQLITE_BUSY", "another process keeps it locked"),
    ("SQLITE_READONLY", "it can't be written: check its owner, its mode and its file system"),
    ("SQLITE_CANTOPEN", "it can't be opened: check that it and its directory are there"),
    ("SQLITE_IOERR", "the disk failed to read or write it"),
)
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def recovery(path: Path) -> str:
    return (
        f"stop the relay and copy all of {path.parent} aside; then put a backup in its place, or "
        f"move {path} with its -wal, -shm and .spool aside, and the relay begins with an empty "
        'store; what can be saved of the old one: docs/operations.md, "The store is damaged"'
    )


def damaged(path: Path, detail: str) -> StoreUnusable:
    return StoreUnusable(f"{path} is damaged ({detail}); {recovery(path)}")


def explained(path: Path, error: Exception) -> StoreError:
    """The StoreError that tells of ``error``; raise it from that."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        return StoreError(f"{error.filename or path}: {error.strerror or error}")
    name = error_name(error)
    if name.startswith(_DAMAGED):
        return damaged(path, str(error))
    meanings = (text for prefix, text in _MEANINGS if name.startswith(prefix))
    meaning = next(meanings, None)
    if meaning:
        return StoreError(f"{path}: {meaning} ({error})")
    return StoreError(f"{path}: {error}")


def error_name(error: BaseException) -> str:
    """SQLite's name of the error ("SQLITE_FULL"), "" where it has none."""
    return getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""
