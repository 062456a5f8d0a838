"""Whatever the sequence of results: each recipient comes to one end, which its events tell once,
and nobody is asked for again after it."""

import time
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relay.dispatch.outcome import Outcome, Trial
from relay.model.causes import Cause, Scope
from relay.model.events import Event, Way
from relay.model.message import (
    DEAD_STATES,
    Content,
    Ending,
    Message,
    Origin,
    Recipient,
    Settlement,
    State,
)
from relay.model.reply import Reply
from relay.model.result import Attempt, Deferred, Failed, Relayed
from relay.model.retry import Schedule

START = time.time()
SCHEDULE = Schedule(30, 2, 3600, give_up_after_s=7200, attempts=4)
RESULTS = st.sampled_from(
    [
        Relayed(Reply(250, "2.0.0", "ok")),
        Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT, Reply(550, "5.1.1", "no such user")),
        Failed(Cause.MESSAGE_REFUSED, Scope.MESSAGE, Reply(554, "5.7.1", "spam")),
        Deferred(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT, Reply(450, "4.2.0", "later")),
        Deferred(Cause.OUTCOME_UNKNOWN, Scope.MESSAGE, detail="no reply in time"),
        Deferred(Cause.CONNECTION_REFUSED, Scope.UPSTREAM, detail="refused"),
        Deferred(Cause.SENDER_REFUSED, Scope.TENANT, Reply(550, "5.7.1", "not verified")),
        Deferred(Cause.LOCAL_ERROR, Scope.MESSAGE, detail="disk"),
    ]
)
# One handover: how many at once, their results, whether the way is closed after; or one of the
# other things that can happen between two of them.
HANDOVERS = st.tuples(st.integers(1, 3), st.lists(RESULTS, min_size=3, max_size=3), st.booleans())
STEPS = st.one_of(HANDOVERS, st.sampled_from(["suppress", "stop", "expire"]))
ENDS = {
    "email.sent": State.RELAYED,
    "email.send_failed": State.FAILED,
    "email.expired": State.EXPIRED,
    "email.suppressed": State.SUPPRESSED,
}


def mail(recipients: int) -> Message:
    return Message(
        queue_id="0RQ4MPG92452P",
        arrived_at=START,
        expires_from=START,
        tenant="acme",
        priority=1,
        reverse_path="shop@acme.example",
        header_from="shop@acme.example",
        message_id="<x@y>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web"),
        recipients=tuple(Recipient(i, f"r{i}@x.example") for i in range(recipients)),
        content=Content(10, 10),
        attempt=1,
    )


class Queue:
    """What the store makes of settlements."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.told: Counter[tuple[str, State]] = Counter()
        self.over: Ending | None = None

    def take(self, settlement: Settlement, events: list[Event]) -> None:
        news = {recipient.position: recipient for recipient in settlement.recipients}
        recipients = tuple(news.get(r.position, r) for r in self.message.recipients)
        self.message = replace(self.message, recipients=recipients)
        for event in events:
            if event.name in ENDS:
                for address in event.fields["recipients"]:
                    self.told[address, ENDS[event.name]] += 1
        if settlement.ending in (Ending.DONE, Ending.DEAD):
            self.over = settlement.ending


def one_attempt(queue: Queue, steps: list[object], now: float) -> None:
    trial = Trial.of(queue.message)
    while trial.untried and queue.over is None:
        step = steps.pop() if steps else "stop"
        some = trial.left.pending
        if step == "stop":
            if trial.changed:
                queue.take(trial.cut_short(None, SCHEDULE, now=now, chance=0.5), [])
            return
        if step == "expire":
            queue.take(*trial.expired(now))
        elif step == "suppress":
            queue.take(*trial.suppressed(some[:1], SCHEDULE, now=now, chance=0.5))
        elif isinstance(step, tuple):
            most, results, closed = step
            tried = some[:most]
            attempt = Attempt(tuple(results[: len(tried)]), "mx", None, 0.1)
            outcome = Outcome(Way("up", "tenant"), tried, attempt, now + 60 if closed else None)
            queue.take(*trial.settled("acme", outcome, SCHEDULE, now=now, chance=0.5))


@given(recipients=st.integers(1, 4), attempts=st.lists(st.lists(STEPS, max_size=6), max_size=6))
def test_each_recipient_comes_to_one_end(recipients: int, attempts: list[list[object]]) -> None:
    queue = Queue(mail(recipients))
    for number, steps in enumerate(attempts):
        if queue.over is None:
            one_attempt(queue, steps, START + 1000 * number)
    states = {r.address: r.state for r in queue.message.recipients}
    for address, state in states.items():
        ends = {end: n for (a, end), n in queue.told.items() if a == address}
        assert ends == ({} if state is State.PENDING else {state: 1})
    pending = [s for s in states.values() if s is State.PENDING]
    if queue.over is None:
        assert pending or not attempts
    else:
        assert not pending
        dead = bool(set(states.values()) & DEAD_STATES)
        assert queue.over is (Ending.DEAD if dead else Ending.DONE)
