"""What it takes to wait: memory, and how often it wakes up for nothing."""

import time

from figures import IDLE, MIB, Figures, Measure, Round, Row, at_most
from processes import cpu_s, memory_bytes, wake_ups

WAKE_UPS = Measure("wake-ups/s")
_CPU = Measure("CPU ms/s", 2)
_SETTLED_S = 3.0


def _idle(around: Round) -> Figures:
    upstream = around.upstream()
    contestant = around.contestant(upstream)
    seconds = around.effort.seconds
    with upstream.running(), contestant.running():
        time.sleep(_SETTLED_S)
        woken, used = wake_ups(contestant.pid), cpu_s(contestant.pid)
        time.sleep(seconds)
        return {
            IDLE: memory_bytes(contestant.pid) / MIB,
            WAKE_UPS: (wake_ups(contestant.pid) - woken) / seconds,
            _CPU: (cpu_s(contestant.pid) - used) / seconds * 1000,
        }


ROW = Row(
    "idle",
    "nothing to do, seconds after the start",
    ("postfix-20", "relay"),
    _idle,
    (at_most(IDLE, 50), at_most(WAKE_UPS, 5)),
)
