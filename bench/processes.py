"""What the kernel knows of a process and all that it started: CPU time, memory, wake-ups.

CPU of processes that have ended is found in the sums that their parents keep (cutime, cstime), so
none is missed as long as the root lives. The kernel counts in ticks of 10 ms and rounds down, for
each process on its own: many processes seem a little cheaper than they are, one does not.
"""

import os
import threading
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KIB = 1024


def tree(root: int) -> list[int]:
    """The process and its living descendants."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        stat = _stat(pid)
        if stat:
            children.setdefault(int(stat[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """CPU seconds, user and system, that the tree has used so far."""
    ticks = 0
    for pid in tree(root):
        stat = _stat(pid)
        ticks += sum(int(field) for field in stat[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICKS_PER_S


def memory_bytes(root: int) -> int:
    """The resident set of a single process; of several, the sum of their proportional sets, in
    which memory that they share is counted once."""
    pids = tree(root)
    if len(pids) == 1:
        return _kib(root, "status", "VmRSS:") * _KIB
    return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids) * _KIB


def wake_ups(root: int) -> int:
    """How often a thread of the tree has waited for something and gone on, so far. Processes that
    have ended are not in it."""
    statuses = [task for pid in tree(root) for task in _tasks(pid)]
    return sum(_number(status, "voluntary_ctxt_switches:") for status in statuses)


class MemoryWatch:
    """Samples the memory of a tree each second, in a thread; ``peak`` in bytes. A process that is
    alone is known better: the kernel keeps the most that it has had since its start."""

    def __init__(self, root: int) -> None:
        self.peak = 0
        self._root = root
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if len(tree(self._root)) == 1:
            self.peak = max(self.peak, _kib(self._root, "status", "VmHWM:") * _KIB)

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, memory_bytes(self._root))
            if self._done.wait(1):
                return


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields behind the name, from the state on; none if the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").glob("*/status"))


def _kib(pid: int, file: str, field: str) -> int:
    return _number(Path(f"/proc/{pid}/{file}"), field)


def _number(file: Path, field: str) -> int:
    """Of the line that begins with the field; 0 if its process has gone."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
