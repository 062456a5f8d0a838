"""A disk that may lose power: what a folder held for certain, and what it may have held, at every
moment of a recording.

The rules are those that POSIX gives, and no file system's kindness: only fsync makes octets last,
only fsync of a directory makes its names last. What was not synced may be there or not, page by
page, sector by sector. The names of a directory change in their order.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crash.recording import SYNCS, Call

_SECTOR = 512


@dataclass(frozen=True)
class _Write:
    number: int
    offset: int
    octets: bytes


@dataclass(frozen=True)
class _Cut:
    number: int
    size: int


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[_Write | _Cut] = field(default_factory=list)
    size: int = 0

    def sync(self, until: int) -> None:
        for change in self.pending:
            if change.number <= until:
                _apply(self.synced, change)
        self.pending = [change for change in self.pending if change.number > until]


@dataclass(frozen=True)
class _Naming:
    """``file`` None: the name goes."""

    number: int
    name: str
    file: "_File | _Directory | None"


@dataclass
class _Directory:
    synced: dict[str, "_File | _Directory"] = field(default_factory=dict)
    now: dict[str, "_File | _Directory"] = field(default_factory=dict)
    pending: list[_Naming] = field(default_factory=list)

    def change(self, naming: _Naming) -> None:
        self.pending.append(naming)
        _name(self.now, naming)

    def sync(self, until: int) -> None:
        for naming in self.pending:
            if naming.number <= until:
                _name(self.synced, naming)
        self.pending = [naming for naming in self.pending if naming.number > until]


class Luck:
    """Which of what was not synced is there all the same: "nothing", "everything", "some"."""

    def __init__(self, kind: str, seed: int) -> None:
        self._kind = kind
        self._chance = random.Random(seed)

    def prefix(self, length: int) -> int:
        if self._kind == "some":
            return self._chance.randint(0, length)
        return length if self._kind == "everything" else 0

    def pieces(self, octets: bytes) -> Iterator[tuple[int, bytes]]:
        """Those parts of a write that are there."""
        if self._kind == "everything" or (self._kind == "some" and self._chance.random() < 0.5):
            yield 0, octets
        elif self._kind == "some" and self._chance.random() < 0.3:
            for at in range(0, len(octets), _SECTOR):
                if self._chance.random() < 0.5:
                    yield at, octets[at : at + _SECTOR]

    @property
    def cuts(self) -> bool:
        return self._kind == "everything" or (self._kind == "some" and self._chance.random() < 0.5)

    def junk(self, size: int) -> bytes:
        return self._chance.randbytes(size)


class Disk:
    """``folder`` as it was made before the recording, empty or with what is there for certain."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = _Directory()
        self._number = 0

    def take(self, call: Call) -> None:
        """One call that has ended, in the order of the ends."""
        if call.name in SYNCS:
            synced = self._at(call.path)
            if synced is not None:
                # What came after its start it need not have seen.
                synced.sync(call.start)
            return
        self._number = call.end
        if call.name in ("openat", "creat"):
            self._open(call)
        elif call.name in ("write", "pwrite64"):
            self._write(call)
        elif call.name == "ftruncate":
            file = self._at(call.path)
            if isinstance(file, _File):
                file.pending.append(_Cut(call.end, call.numbers[0]))
                file.size = call.numbers[0]
        elif call.name in ("unlink", "rmdir", "unlinkat"):
            self._rename(call.texts[0].decode(), None)
        elif call.name.startswith("rename"):
            self._rename(*(text.decode() for text in call.texts))
        elif call.name.startswith("mkdir"):
            self._make(call.texts[0].decode(), _Directory())
        elif self._at(call.path) is not None:
            raise AssertionError(f"what does {call.name} do to {call.path}?")

    def unsynced(self) -> list[str]:
        """What power loss could take now, but for memory that processes share."""
        found = []
        for path, directory in self._directories(self.root, ""):
            found += [f"name {path}{naming.name}" for naming in directory.pending]
            found += [
                f"octets {path}{name}"
                for name, file in directory.now.items()
                if isinstance(file, _File) and file.pending
            ]
        return [what for what in found if not what.endswith(("-shm", ".lock"))]

    def after_power_loss(self, folder: Path, luck: Luck) -> None:
        """Make ``folder`` as it may be found."""
        self._restore(self.root, folder, luck)

    def _restore(self, directory: _Directory, folder: Path, luck: Luck) -> None:
        folder.mkdir(exist_ok=True)
        names = dict(directory.synced)
        for naming in directory.pending[: luck.prefix(len(directory.pending))]:
            _name(names, naming)
        for name, found in names.items():
            if isinstance(found, _Directory):
                self._restore(found, folder / name, luck)
            elif name.endswith("-shm"):
                (folder / name).write_bytes(luck.junk(32768))
            else:
                (folder / name).write_bytes(_octets(found, luck))

    def _directories(self, directory: _Directory, path: str) -> Iterator[tuple[str, _Directory]]:
        yield path, directory
        for name, found in directory.now.items():
            if isinstance(found, _Directory):
                yield from self._directories(found, f"{path}{name}/")

    def _open(self, call: Call) -> None:
        path = call.texts[0].decode()
        file = self._at(path)
        if file is None and (call.name == "creat" or "O_CREAT" in call.rest):
            self._make(path, _File())
        elif isinstance(file, _File) and "O_TRUNC" in call.rest:
            file.pending.append(_Cut(call.end, 0))
            file.size = 0

    def _write(self, call: Call) -> None:
        file = self._at(call.path)
        if isinstance(file, _File):
            octets = call.texts[0][: call.result]
            # A spool file and the lock are written from the start to the end.
            offset = call.numbers[-1] if call.name == "pwrite64" else file.size
            file.pending.append(_Write(call.end, offset, octets))
            file.size = max(file.size, offset + len(octets))

    def _make(self, path: str, made: "_File | _Directory") -> None:
        place = self._place(path)
        if place:
            directory, name = place
            directory.change(_Naming(self._number, name, made))

    def _rename(self, old: str, new: str | None) -> None:
        place = self._place(old)
        if place is None:
            return
        directory, name = place
        file = directory.now.get(name)
        if new is not None:
            self._make(new, file or _File())
        directory.change(_Naming(self._number, name, None))

    def _at(self, path: str) -> "_File | _Directory | None":
        if path == str(self._folder):
            return self.root
        place = self._place(path)
        return place[0].now.get(place[1]) if place else None

    def _place(self, path: str) -> tuple[_Directory, str] | None:
        """The directory and the name in it; None where it is no concern of this folder's."""
        if not path.startswith(f"{self._folder}/"):
            return None
        directory = self.root
        *above, name = path[len(str(self._folder)) + 1 :].split("/")
        for part in above:
            found = directory.now.get(part)
            if not isinstance(found, _Directory):
                return None
            directory = found
        return directory, name


def _name(names: dict[str, "_File | _Directory"], naming: _Naming) -> None:
    if naming.file is None:
        names.pop(naming.name, None)
    else:
        names[naming.name] = naming.file


def _apply(octets: bytearray, change: _Write | _Cut) -> None:
    if isinstance(change, _Cut):
        del octets[change.size :]
        octets.extend(bytes(change.size - len(octets)))
    else:
        _put(octets, change.offset, change.octets)


def _put(octets: bytearray, offset: int, piece: bytes) -> None:
    octets.extend(bytes(max(0, offset - len(octets))))
    octets[offset : offset + len(piece)] = piece


def _octets(file: _File, luck: Luck) -> bytes:
    octets = bytearray(file.synced)
    for change in file.pending:
        if isinstance(change, _Write):
            for at, piece in luck.pieces(change.octets):
                _put(octets, change.offset + at, piece)
        elif luck.cuts:
            _apply(octets, change)
    return bytes(octets)
