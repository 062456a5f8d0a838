"""The relay, counting its own Python calls into a file that the test reads: ``support.counting``.

    python counted_relay.py AREA --config FILE serve

Counted is every call of a Python function in any thread, a coroutine's going on included. What C
code does, such as uvloop's and SQLite's, is not seen; system calls are strace's to count. AREA is
mapped into memory, so that looking at the sums is no work of the relay's.
"""

import itertools
import mmap
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

# Python calls; work handed to a thread of a pool.
COUNTERS = struct.Struct("qq")


def count_into(area: mmap.mmap) -> None:
    """From now on, in this thread and in those to come."""
    calls, hops = itertools.count(1), itertools.count(1)
    hop = ThreadPoolExecutor.submit.__code__
    seen_hops = 0

    def called(frame: FrameType, event: str, _: Any) -> None:
        nonlocal seen_hops
        if event == "call":
            if frame.f_code is hop:
                seen_hops = next(hops)
            COUNTERS.pack_into(area, 0, next(calls), seen_hops)

    threading.setprofile(called)
    sys.setprofile(called)


def main() -> None:
    path = Path(sys.argv.pop(1))
    with path.open("r+b") as file:
        area = mmap.mmap(file.fileno(), COUNTERS.size)
    count_into(area)
    from relay.cli import main as relay

    relay()


if __name__ == "__main__":
    main()
