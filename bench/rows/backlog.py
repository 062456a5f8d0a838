"""A provider was away, and is back: what waits is relayed.

The queue is filled while nobody listens at the upstream: a burst into an empty queue, most of the
backlog, and the same burst on top of it. Then the contestant is started anew with the upstream
there, and drains; each tenth of what has arrived is timed, from the first arrival on.
"""

import time
from collections.abc import Sequence
from itertools import pairwise

from contestants import Contestant
from figures import CPU, MIB, PEAK, Failed, Figures, Measure, Round, Row, at_least, at_most
from processes import MemoryWatch, cpu_s
from sending import Load, send
from upstream import Upstream

_TENTHS = 10
_WARM_UP = 200
_BURST = 2000
_EMPTY = Measure("accepted/s, empty")
_FULL = Measure("accepted/s, full")
_KEPT = Measure("full / empty", 2)
_FIRST = Measure("first arrival s", 2)
_DRAINED = Measure("drained/s")
_STEADY = Measure("last tenth / first", 2)
# A queue of a million, at a hundred a second.
_LONGEST_S = 10_000


def _backlog(around: Round) -> Figures:
    upstream = around.upstream()
    contestant = around.contestant(upstream)
    queued = around.effort.backlog
    burst = min(_BURST, queued // _TENTHS)
    with contestant.running():
        warm = min(_WARM_UP, burst)  # it learns that nobody is there
        _accepted_per_s(contestant, warm)
        empty = _accepted_per_s(contestant, burst)
        _accepted_per_s(contestant, queued - warm - 2 * burst)
        full = _accepted_per_s(contestant, burst)
    accepting = {_EMPTY: empty, _FULL: full, _KEPT: full / empty}
    with upstream.running():
        return {**accepting, **_drain(contestant, upstream, queued)}


def _drain(contestant: Contestant, upstream: Upstream, queued: int) -> Figures:
    """From the start of the program on; what starting costs is in its CPU time."""
    started = time.monotonic()
    with contestant.running(), MemoryWatch(contestant.pid) as watch:
        moments = _arrivals(upstream, queued)
        time.sleep(1)  # for what is settled after the arrival, and for duplicates
        used_s = cpu_s(contestant.pid)
    if (count := upstream.count()) != queued:
        raise Failed(f"{queued} messages were queued, {count} have arrived")
    took = [later - earlier for earlier, later in pairwise(moments)]
    return {
        _FIRST: moments[0] - started,
        _DRAINED: queued / sum(took),
        _STEADY: took[0] / took[-1],
        CPU: used_s / queued * 1000,
        PEAK: watch.peak / MIB,
    }


def _accepted_per_s(contestant: Contestant, messages: int) -> float:
    started = time.monotonic()
    send(Load(messages, kept=True), contestant.port)
    return messages / (time.monotonic() - started)


def _arrivals(upstream: Upstream, queued: int) -> Sequence[float]:
    """The moments of the first arrival and of the end of each tenth."""
    moments = []
    for number in [1, *(queued * part // _TENTHS for part in range(1, _TENTHS + 1))]:
        upstream.wait_for(number, _LONGEST_S)
        moments.append(time.monotonic())
    return moments


ROW = Row(
    "backlog",
    "queued while the upstream is away, 4 KiB, sessions kept",
    ("postfix-20", "relay"),
    _backlog,
    (at_least(_KEPT, 0.9), at_most(_FIRST, 2), at_least(_STEADY, 0.9)),
)
