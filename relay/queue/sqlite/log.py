"""Looks at the write-ahead log that a crash has left, before SQLite takes it for its own.

SQLite reads a log up to the first frame that does not fit, and forgets the rest without a word.
That is right at its end, which power loss may have torn. But the frames of a transaction are
written only when the one before has been synced: where a second transaction stands behind the frame
that does not fit, mail that had its 250 would be forgotten with it. The form of the log and of its
index (-shm): https://www.sqlite.org/walformat.html
"""

import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from relay.model.value import value_class
from relay.queue.errors import StoreUnusable

_HEADER, _FRAME = 32, 24
_MAGIC = 0x377F0682  # the last bit tells the order of the octets in checksums
_INDEX_FRAMES = 16  # where the index says how many frames are valid
# A verb that starts the log over just now is done by then.
_LOOK_AGAIN_S, _LOOKS = 0.05, 3


def log_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def check_log(path: Path) -> None:
    """Refuse a log that was changed where it had been synced. Raises StoreUnusable, and
    sqlite3.Error where the store itself can't be read."""
    trouble = _trouble(path)
    for _ in range(_LOOKS - 1):
        if trouble is None:
            return
        time.sleep(_LOOK_AGAIN_S)
        trouble = _trouble(path)
    if trouble:
        raise StoreUnusable(trouble)


def _trouble(path: Path) -> str | None:
    try:
        return _found(path)
    except FileNotFoundError:
        return None  # a verb has just closed the store, and all is in the file


def _found(path: Path) -> str | None:
    log, index = log_path(path), path.with_name(path.name + "-shm")
    if not log.exists():
        # SQLite makes the index after the log, and removes it before.
        return _gone(log, index) if index.exists() else None
    if log.stat().st_size <= _HEADER:
        return None
    with log.open("rb") as file:
        header = _header(file.read(_HEADER))
        if header is None:
            return _told(log, "its first octets are not a log's", 0)
        valid = _valid_frames(path)
        unread = list(_transactions(file, header, valid))
    if len(unread) < 2:
        return None
    what = f"{len(unread)} transactions from its octet {header.end(valid)} on can't be read"
    return _told(log, what, header.end(valid))


def _gone(log: Path, index: Path) -> str:
    return (
        f"{log} is gone, though {index.name} beside it is there: put it back, since it holds the "
        f"last that was accepted; or remove {index.name} to go on without"
    )


def _told(log: Path, what: str, size: int) -> str:
    return (
        f"{log} is damaged ({what}), and it holds mail that was accepted: copy all of {log.parent} "
        "aside; then put a backup in its place, or go on without what can't be read, by "
        f"truncate -s {size} {log}"
    )


@value_class
class _Header:
    page_size: int
    salts: bytes

    @property
    def frame_size(self) -> int:
        return _FRAME + self.page_size

    def end(self, frames: int) -> int:
        """Where so many frames end."""
        return _HEADER + frames * self.frame_size


def _header(octets: bytes) -> _Header | None:
    magic, _, page_size = struct.unpack_from(">III", octets)
    if magic & ~1 != _MAGIC:
        return None
    first = second = 0
    for one, two in struct.iter_unpack(">II" if magic & 1 else "<II", octets[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    if struct.unpack_from(">II", octets, 24) != (first, second):
        return None
    return _Header(page_size, octets[16:24])


def _valid_frames(path: Path) -> int:
    """As SQLite counts them. A connection that only reads leaves the log where it is."""
    uri = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with path.with_name(path.name + "-shm").open("rb") as index:
            frames: int = struct.unpack_from("=I", index.read(48), _INDEX_FRAMES)[0]
    return frames


def _transactions(file: BinaryIO, header: _Header, first: int) -> Iterator[int]:
    """The last frame of each that stands from a frame on; the last of them may lack its end."""
    last = None
    for frame in range(first, (os.fstat(file.fileno()).st_size - _HEADER) // header.frame_size):
        file.seek(header.end(frame))
        octets = file.read(_FRAME)
        if octets[8:16] != header.salts:
            continue  # of a former log, in whose place this one is written
        last = frame
        if octets[4:8] != bytes(4):  # the size of the store, where a transaction ends
            yield frame
            last = None
    if last is not None:
        yield last
