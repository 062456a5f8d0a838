"""What a process asked of its disk, call by call, as strace saw it.

strace and not a file system of SQLite's (a VFS): it sees the program as it is installed, with its
own SQLite, and what that knows nothing of: spool files, directories, and the 250 on the socket.
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,creat,write,writev,sendto,sendmsg,pwrite64,pwritev,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,link,linkat,"
    "mkdir,mkdirat,rmdir"
)
SYNCS = frozenset({"fsync", "fdatasync"})

_ENDED = re.compile(r"\+\+\+ (exited with|killed by)")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<[^>]*>)?.*")
_HEX = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_ON_FD = re.compile(r"\d+<([^>]*)>")
_PROMISE = re.compile(rb"250 2\.0\.0 Ok: queued as (\w+)")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_NEVER = 1 << 60


def strace(trace: Path, *more: str) -> list[str]:
    """The command to put before another, whose process keeps the id that it would have."""
    return [
        "strace", "-D", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "4000000",
        "-o", str(trace), "-e", f"trace={CALLS}", *more,
    ]  # fmt: skip


@dataclass
class Call:
    """``start`` and ``end`` count the lines of the trace; a call that was killed has no end.

    ``path`` is that of its descriptor, ``texts`` are its strings (of openat, the path is there).
    """

    name: str
    path: str
    texts: tuple[bytes, ...]
    rest: str
    result: int
    start: int
    end: int = _NEVER

    @property
    def is_said(self) -> bool:
        return self.path.startswith("socket:")

    @property
    def promised(self) -> str | None:
        """The queue_id, where this is the 250 behind a final dot."""
        found = _PROMISE.match(self.texts[0]) if self.is_said and self.texts else None
        return found[1].decode() if found else None

    @property
    def numbers(self) -> list[int]:
        """The arguments behind the last string."""
        return [int(text) for text in self.rest.split(",") if text.strip().isdigit()]


@dataclass
class _Begun:
    text: str
    start: int
    after: list[int] = field(default_factory=list)


def ended(trace: Path, timeout_s: float = 20) -> Path:
    """Wait until strace has written all of it."""
    deadline = time.monotonic() + timeout_s
    while not (trace.exists() and _ENDED.search(_last_line(trace))):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{trace} has no end")
        time.sleep(0.02)
    return trace


def calls(trace: Path, first: int = 0) -> list[Call]:
    """In the order in which they count: what is said to a client when it begins, all else when it
    has ended. Those that failed are left out. ``first`` is what the lines are counted from."""
    found = _calls(trace.read_text().splitlines(), first)
    return sorted(found, key=lambda call: call.start if call.is_said else call.end)


def _calls(lines: Iterable[str], first: int) -> Iterator[Call]:
    begun: dict[str, _Begun] = {}
    for number, line in enumerate(lines, first):
        thread, _, text = line.partition(" ")
        text = text.lstrip()
        if text.endswith(_UNFINISHED):
            begun[thread] = _Begun(text.removesuffix(_UNFINISHED), number)
        elif resumed := _RESUMED.match(text):
            before = begun.pop(thread)
            yield from _call(before.text + text[resumed.end() :], before.start, number)
        else:
            yield from _call(text, number, number)
    for before in begun.values():
        yield from _call(before.text + ") = 0", before.start, _NEVER)


def _call(text: str, start: int, end: int) -> Iterator[Call]:
    found = _CALL.fullmatch(text)
    if not found or int(found[3]) < 0:
        return
    name, arguments, result = found[1], found[2], int(found[3])
    texts = tuple(_octets(hexed) for hexed in _HEX.findall(arguments))
    on = _ON_FD.match(arguments)
    path = _octets(on[1]).decode() if on and on[1].startswith("\\x") else on[1] if on else ""
    rest = _HEX.split(arguments)[-1]
    yield Call(name, path, texts, rest, result, start, end)


def _octets(hexed: str) -> bytes:
    return bytes.fromhex(hexed.replace("\\x", ""))


def _last_line(trace: Path) -> str:
    with trace.open("rb") as file:
        file.seek(max(0, trace.stat().st_size - 200))
        return file.read().decode(errors="replace").rstrip().rpartition("\n")[2]
