"""What the audit trail costs: the relay beside itself without it, at the same work.

The two events of a message are rendered, stored and mirrored by the one, and only made by the
other. What making them costs is measured on its own.
"""

import time

from figures import ACCEPTED, CPU, RATE, Figures, Measure, Round, Row, at_most_times
from sending import Load
from store import message, sent_event

from relay.model import events
from rows.throughput import hand_over

_MAKING = Measure("making events us/message", 1)
_MADE = 5000
# With the trail: 1 / (1 - 0.15) of what it takes without it.
_BOUND = 1.176


def _trail(around: Round) -> Figures:
    figures = hand_over(around, Load(around.effort.messages, kept=True))
    return {name: figures[name] for name in (RATE, ACCEPTED, CPU)} | {_MAKING: _making_us()}


def _making_us() -> float:
    kept = message()
    began = time.process_time()
    for _ in range(_MADE):
        events.email_accepted(kept)
        sent_event(kept)
    return (time.process_time() - began) / _MADE * 1e6


ROW = Row(
    "trail",
    "4 KiB, sessions kept, with the trail and without it",
    ("relay-without-trail", "relay"),
    _trail,
    (at_most_times(CPU, _BOUND),),
    beside="relay-without-trail",
)
