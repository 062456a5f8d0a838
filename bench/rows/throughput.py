"""From the first connection until the upstream has the last message: rate, CPU and memory."""

import time

from contestants import Contestant
from figures import (
    ACCEPTED,
    CPU,
    IDLE,
    MIB,
    PEAK,
    RATE,
    Failed,
    Figures,
    Goal,
    Round,
    Row,
    at_least_times,
    at_most,
    at_most_times,
)  # fmt: skip
from processes import MemoryWatch, cpu_s, memory_bytes
from sending import TIMEOUT_S, Load, send
from upstream import Upstream

_ROUND_TRIP_S = 0.05
_SETTLED_S = 1.0
_WARM_UP = 200


def hand_over(around: Round, load: Load, round_trip_s: float = 0) -> Figures:
    upstream = around.upstream(round_trip_s)
    contestant = around.contestant(upstream)
    with upstream.running(), contestant.running():
        time.sleep(_SETTLED_S)
        idle = memory_bytes(contestant.pid)
        warm_up(contestant, upstream, load)
        return {**_handed_over(contestant, upstream, load), IDLE: idle / MIB}


def warm_up(contestant: Contestant, upstream: Upstream, load: Load) -> None:
    """Processes started, connections open, caches filled; with small messages."""
    before, messages = upstream.count(), min(_WARM_UP, load.messages)
    send(Load(messages, min(20, load.sessions), kept=True), contestant.port)
    upstream.wait_for(before + messages, TIMEOUT_S)


def _handed_over(contestant: Contestant, upstream: Upstream, load: Load) -> Figures:
    """Raises Failed where something was refused, lost or came twice."""
    before = upstream.count()
    with MemoryWatch(contestant.pid) as watch:
        used_s, started = cpu_s(contestant.pid), time.monotonic()
        send(load, contestant.port)
        accepted = time.monotonic()
        upstream.wait_for(before + load.messages, TIMEOUT_S)
        arrived = time.monotonic()
        time.sleep(_SETTLED_S)  # what is settled after the arrival is work too
        used_s = cpu_s(contestant.pid) - used_s
    if (count := upstream.count() - before) != load.messages:
        raise Failed(f"{load.messages} messages were sent, {count} have arrived")
    return {
        RATE: load.messages / (arrived - started),
        ACCEPTED: load.messages / (accepted - started),
        CPU: used_s / load.messages * 1000,
        PEAK: watch.peak / MIB,
    }


def _small(around: Round) -> Figures:
    return hand_over(around, Load(around.effort.messages))


def _persist(around: Round) -> Figures:
    return hand_over(around, Load(around.effort.messages, kept=True))


def _large(around: Round) -> Figures:
    messages = max(4, round(around.effort.messages * 0.015))
    return hand_over(around, Load(messages, sessions=4, size_bytes=10_000_000))


def _many_large(around: Round) -> Figures:
    sessions = around.effort.large_sessions
    return hand_over(around, Load(sessions, sessions=sessions, size_bytes=25_000_000))


def _far(around: Round) -> Figures:
    messages = max(20, round(around.effort.messages * 0.1))
    return hand_over(around, Load(messages, kept=True), _ROUND_TRIP_S)


def _goals(rate: float, cpu: float, peak_mib: float) -> tuple[Goal, ...]:
    return (at_least_times(RATE, rate), at_most_times(CPU, cpu), at_most(PEAK, peak_mib))


_ALL = ("postfix-20", "postfix-100", "relay")
_TWO = ("postfix-20", "relay")

SMALL = Row("small", "4 KiB, one message a session, 20 sessions", _ALL, _small, _goals(4, 0.25, 80))
PERSIST = Row("persist", "the same, sessions kept", _ALL, _persist, (at_least_times(RATE, 8),))
LARGE = Row("large", "10 MB, 4 sessions", _ALL, _large, _goals(2, 1 / 3, 96))
MANY_LARGE = Row(
    "many-large", "25 MB in each of 100 sessions at once", _TWO, _many_large, (at_most(PEAK, 160),)
)
FAR = Row(
    "far", "4 KiB, 50 ms round trip, 20 connections", _TWO, _far, (at_least_times(RATE, 2.5),)
)
