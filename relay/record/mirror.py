"""Mirrors the trail to standard output, after the commit, from a thread of its own.

A reader that does not read costs mirrored lines, which are counted, and nothing else: the store
has them all.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence

# About 8 MB at the usual length of a line.
_MOST_WAITING = 20_000


class Mirror:
    """``write`` from any thread; ``close`` waits a moment for what is left."""

    def __init__(self, descriptor: int, prettify: Callable[[bytes], str] | None = None) -> None:
        self._descriptor = descriptor
        self._prettify = prettify
        self._waiting: deque[bytes] = deque()
        self._wake = threading.Event()
        self._closed = False
        self._torn = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def write(self, lines: Sequence[bytes]) -> None:
        if len(self._waiting) + len(lines) > _MOST_WAITING:
            self.dropped += len(lines)
            return
        self._waiting.extend(lines)
        self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not (self._closed and not self._waiting):
            self._wake.wait()
            self._wake.clear()
            lines = []
            while self._waiting:
                lines.append(self._waiting.popleft())
            if lines:
                self._put(lines)

    def _put(self, lines: list[bytes]) -> None:
        if self._prettify:
            lines = [self._prettify(line).encode("utf-8", "replace") for line in lines]
        # The end of a line that was torn, lest the next is taken for the rest of it.
        octets = memoryview(b"\n".join([*[b""] * self._torn, *lines, b""]))
        try:
            while octets:
                written = os.write(self._descriptor, octets)
                self._torn = octets[written - 1] != ord("\n")
                octets = octets[written:]
        except OSError:
            # Nobody is left to read (a closed pipe, a full disk): the store has the trail.
            self.dropped += len(lines)
