"""Large content: one file each, in a directory beside the store.

A file is written and synced before a message names it, and removed after the commit that ends the
message; what a crash leaves behind is removed at the next start. This module knows no database.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

from relay.model.identifiers import new_identifier
from relay.model.message import Ending, Message, Settlement
from relay.model.ports import StoreError
from relay.queue.spooled import pieces

T = TypeVar("T")


class SpoolDirectory:
    """``executor`` runs what touches the disk while mail arrives and leaves."""

    def __init__(self, path: Path, executor: Executor) -> None:
        self.path = path
        self._executor = executor
        # Names that would survive power loss and that no message has yet.
        self.synced: set[str] = set()

    def create(self) -> None:
        if not self.path.is_dir():
            self.path.mkdir()
            sync_directory(self.path.parent)
            # As inherited from the store's directory; a service may not set the bit by itself
            # (RestrictSUIDSGID=).
            if stat.S_IMODE(self.path.stat().st_mode) != 0o2770:
                self.path.chmod(0o2770)

    def new_file(self) -> "File":
        return File(self, new_identifier())

    async def read(self, name: str, size: int) -> AsyncIterator[bytes]:
        """The octets of a file that should hold at least ``size``."""
        source = pieces(self.path, name, size)
        try:
            while piece := await self.run(lambda: next(source, b"")):
                yield piece
        finally:
            # Still reading for a task that was cancelled? Then it closes with its last reference.
            with suppress(ValueError):
                source.close()

    def remove(self, names: Collection[str]) -> None:
        """In the background: what can't be removed now goes at the next start."""
        for name in names:
            self.submit(partial(_unlink, self.path / name))

    def sweep(self, named: Collection[str]) -> int:
        """Remove the files that no message names; the number of them."""
        orphans = [entry for entry in self.path.iterdir() if entry.name not in named]
        for orphan in orphans:
            _unlink(orphan)
        return len(orphans)

    def sync(self) -> None:
        sync_directory(self.path)

    async def run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as error:
            place = error.filename or self.path
            raise StoreError(f"{place}: {error.strerror or error}") from error

    def submit(self, work: Callable[[], None]) -> None:
        # After close() the executor takes nothing more: the next start removes the file.
        with suppress(RuntimeError):
            self._executor.submit(work)


class Spooled:
    """The spool files of the messages under way: a file goes when its message is done."""

    def __init__(self, directory: SpoolDirectory) -> None:
        self._directory = directory
        self._name_of: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._name_of)

    def check_synced(self, name: str) -> None:
        """Raises StoreError where a message is about to name what power loss could take."""
        if name not in self._directory.synced:
            path = self._directory.path / name
            raise StoreError(f"{path} was not synced before a message names it")

    def named(self, queue_id: str, name: str, claimed: bool) -> None:
        self._directory.synced.discard(name)
        if claimed:
            self._name_of[queue_id] = name

    def claimed(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.content.spool:
                self._name_of[message.queue_id] = message.content.spool

    def settled(self, settlements: Iterable[Settlement]) -> None:
        for settlement in settlements:
            if settlement.ending is Ending.GOES_ON:
                continue
            name = self._name_of.pop(settlement.queue_id, None)
            if name and settlement.ending is Ending.DONE:
                self._directory.remove([name])


class File:
    """model.ports.SpoolFile. The file is made by the first write, off the event loop: in a busy
    file system even that can wait for somebody else's sync."""

    def __init__(self, directory: SpoolDirectory, name: str) -> None:
        self.name = name
        self._directory = directory
        self._path = directory.path / name
        self._descriptor: int | None = None
        self._discarded = False
        # A discard may come while a write, whose task was cancelled, is still going on.
        self._lock = Lock()

    async def write(self, octets: bytes) -> None:
        await self._directory.run(lambda: self._write(octets))

    async def sync(self) -> None:
        await self._directory.run(self._sync)
        self._directory.synced.add(self.name)

    def discard(self) -> None:
        self._directory.synced.discard(self.name)
        if not self._discarded:
            self._discarded = True
            self._directory.submit(self._remove)

    def _write(self, octets: bytes) -> None:
        with self._lock:
            descriptor = self._open()
            rest = memoryview(octets)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def _sync(self) -> None:
        with self._lock:
            os.fsync(self._open())
            self._close()
            self._directory.sync()

    def _remove(self) -> None:
        with self._lock:
            self._close()
            _unlink(self._path)

    def _open(self) -> int:
        if self._discarded:
            raise FileNotFoundError(f"{self._path} was discarded")
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o660)
            os.fchmod(self._descriptor, 0o660)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def sync_directory(path: Path) -> None:
    """The names in it would survive power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
