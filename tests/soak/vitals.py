"""What a process and its store take, sampled every second or two."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """``at`` in seconds since the beginning; sizes in MiB, those of files as the disk has them."""

    at: float
    pid: int
    memory: float
    descriptors: float
    threads: float
    store: float
    log: float
    spool: float


WHATS = ("memory", "descriptors", "threads", "store", "log", "spool")


class Vitals:
    """``with Vitals(pid, store) as vitals``; ``pid`` is asked each time, and may be None."""

    def __init__(self, pid: Callable[[], int | None], store: Path, every_s: float = 1.0) -> None:
        self._pid = pid
        self._store = store
        self._every_s = every_s
        self._over = threading.Event()
        self.samples: list[Sample] = []

    def __enter__(self) -> "Vitals":
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            pid = self._pid()
            try:
                if pid:
                    self.samples.append(self._sample(pid))
            except OSError:
                continue  # it has just been killed

    def _sample(self, pid: int) -> Sample:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        return Sample(
            at=time.monotonic() - self._began,
            pid=pid,
            memory=int(status["VmRSS"].split()[0]) / 1024,
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),
            threads=int(status["Threads"]),
            store=_size(self._store),
            log=_size(self._store.with_name(self._store.name + "-wal")),
            spool=sum(map(_size, self._store.with_name(self._store.name + ".spool").iterdir())),
        )

    def last_life(self) -> list[Sample]:
        """Without its first fifth, in which it warms up."""
        samples = [s for s in self.samples if s.pid == self.samples[-1].pid]
        return samples[len(samples) // 5 :]


def _size(file: Path) -> float:
    try:
        return file.stat().st_blocks * 512 / _MIB
    except FileNotFoundError:
        return 0.0


def growth(samples: Sequence[Sample], what: str) -> float:
    """From the first quarter of the samples to the last, by their medians."""
    values = [getattr(sample, what) for sample in samples]
    quarter = max(1, len(values) // 4)
    return statistics.median(values[-quarter:]) - statistics.median(values[:quarter])


def table(samples: Sequence[Sample]) -> str:
    lines = ["| | first quarter | last quarter | most | growth an hour |", "| --- " * 5 + "|"]
    quarter = max(1, len(samples) // 4)
    hours = max(samples[-1].at - samples[0].at, 1.0) / 3600
    for what in WHATS:
        values = [getattr(sample, what) for sample in samples]
        first, last = (statistics.median(v) for v in (values[:quarter], values[-quarter:]))
        slope = statistics.linear_regression([s.at / 3600 for s in samples], values).slope
        lines.append(f"| {what} | {first:.1f} | {last:.1f} | {max(values):.1f} | {slope:+.1f} |")
    lines.append(f"({len(samples)} samples of the last life, {hours * 60:.1f} minutes)")
    return "\n".join(lines)
