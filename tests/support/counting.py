"""What one message costs a relay, in steps rather than in time: Python calls, hops to threads, and
system calls. One message after the other, each over before the next begins, so that nothing depends
on what happens to come together.
"""

import contextlib
import mmap
import re
import signal
import smtplib
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.counted_relay import COUNTERS
from support.need import need
from support.program import Program
from support.upstream import ThreadedUpstream

_SCRIPT = Path(__file__).with_name("counted_relay.py")
_CONTENT = "From: shop@acme.example\r\nSubject: hi\r\n\r\n" + ("x" * 76 + "\r\n") * 50
# All that a message makes the relay do is done when it has called nothing for so long.
_QUIET_S = 0.015
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Counts:
    """Of one message, or of one session with a message in it."""

    python_calls: float
    thread_hops: float


class CountedRelay(Program):
    """``with CountedRelay(folder, config, port) as relay``."""

    def __init__(self, folder: Path, config: str, port: int) -> None:
        super().__init__(folder, config, port)
        area = folder / "counters"
        area.write_bytes(bytes(COUNTERS.size))
        # -P: what lies beside the script is not for the relay to import.
        self._counted = [sys.executable, "-P", str(_SCRIPT), str(area)]
        with area.open("r+b") as file:
            self._area = mmap.mmap(file.fileno(), COUNTERS.size)

    def _command(self, *arguments: str) -> list[str]:
        return [*self._counted, "--config", str(self.config_file), *arguments]

    def at_rest(self) -> tuple[int, int]:
        """The sums, once they have stopped going up; a clock's tick may wait."""
        deadline = time.monotonic() + _TIMEOUT_S
        before: tuple[int, int] = COUNTERS.unpack_from(self._area)
        while True:
            time.sleep(_QUIET_S)
            now: tuple[int, int] = COUNTERS.unpack_from(self._area)
            if now == before:
                return now
            before = now
            if time.monotonic() > deadline:
                raise TimeoutError(f"the relay is still at work after {_TIMEOUT_S} s")


class Work:
    """Messages for a relay that hands all of them to ``upstream``."""

    def __init__(self, relay: CountedRelay, upstream: ThreadedUpstream) -> None:
        self._relay = relay
        self._upstream = upstream

    @contextlib.contextmanager
    def session(self) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", self._relay.port, timeout=_TIMEOUT_S) as client:
            client.ehlo()
            yield client

    def message(self, client: smtplib.SMTP) -> None:
        """Returns when it has arrived."""
        count = len(self._upstream.transactions)
        client.sendmail("shop@acme.example", ["a@x.example"], _CONTENT)
        self._upstream.wait_for(count + 1)

    def alone(self) -> None:
        """One message in a session of its own."""
        with self.session() as client:
            self.message(client)

    def messages_kept(self, count: int) -> list[Counts]:
        """Of messages in one session."""
        with self.session() as client:
            return [self._counts(lambda: self.message(client)) for _ in range(count)]

    def messages_alone(self, count: int) -> list[Counts]:
        return [self._counts(self.alone) for _ in range(count)]

    def _counts(self, work: Callable[[], None]) -> Counts:
        calls, hops = self._relay.at_rest()
        work()
        calls_after, hops_after = self._relay.at_rest()
        return Counts(calls_after - calls, hops_after - hops)

    def system_calls(self, trace: Path, count: int) -> Counter[str]:
        """By kind, of ``count`` messages in sessions of their own."""
        self._relay.at_rest()
        with _traced(self._relay.pid, trace):
            for _ in range(count):
                self.alone()
                self._relay.at_rest()
        return Counter(_kinds(trace))


def median(counts: list[Counts]) -> Counts:
    """What a clock's tick adds to a few of them is not in it."""
    return Counts(
        statistics.median(each.python_calls for each in counts),
        statistics.median(each.thread_hops for each in counts),
    )


@contextlib.contextmanager
def _traced(pid: int, trace: Path) -> Iterator[None]:
    """All threads that the process has now, and those that they start."""
    command = [need("strace"), "-f", "-y", "-s", "0", "-o", str(trace), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            assert "attached" in said, said
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=_TIMEOUT_S)


_BEGUN = re.compile(r"\d+ +(\w+)\((?:\d+<([^>]*)>)?")
_SYNCS = {"fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync"}
_WRITES = {"write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg", "sendfile"}
# How often a thread waits, and for how many things at once, is a matter of luck.
_LUCK = {"futex", "epoll_wait", "epoll_pwait", "epoll_ctl", "sched_yield", "clock_nanosleep"}


def _kinds(trace: Path) -> Iterator[str]:
    for line in trace.read_text(errors="replace").splitlines():
        if begun := _BEGUN.match(line):
            kind = _kind(begun[1], begun[2] or "")
            if kind:
                yield kind


def _kind(call: str, target: str) -> str | None:
    if call in _SYNCS:
        return "syncs"
    if call in _WRITES and target.startswith("anon_inode:[eventfd]"):
        return "wake-ups"
    if call in _LUCK or target.startswith("anon_inode:"):
        return None
    if call not in _WRITES:
        return "other system calls"
    if target.startswith("/"):
        return "store writes" if ".db" in Path(target).suffix else "other file writes"
    return "socket writes"
