"""From the results of an attempt to what is stored and told: pure but for the clock it is given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import events
from relay.model.causes import REMEDIES, Cause, Scope
from relay.model.events import Event, Way
from relay.model.message import DEAD_STATES, Ending, Message, Recipient, Settlement, State, ending
from relay.model.result import Attempt, Deferred, Failed, Relayed, Result
from relay.model.retry import Schedule, delay_s

# Failures of these scopes are the message's or recipient's own and count against retry.attempts.
_OWN = frozenset({Scope.RECIPIENT, Scope.MESSAGE})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One handover: which recipients, which way, and what came of it for each."""

    way: Way
    recipients: tuple[Recipient, ...]
    attempt: Attempt


def settled(
    message: Message,
    tenant: str,
    outcomes: Sequence[Outcome],
    schedule: Schedule,
    *,
    now: float,
    chance: float,
) -> tuple[Settlement, list[Event]]:
    """What to store of an attempt, and its events. ``now`` in Unix seconds; ``chance`` as in
    model.retry."""
    told: list[Event] = []
    changed: dict[int, Recipient] = {}
    if message.tenant != tenant:
        message = replace(message, tenant=tenant)
    for outcome in outcomes:
        told += _events(message, outcome)
        for recipient, result in zip(outcome.recipients, outcome.attempt.results, strict=True):
            changed[recipient.position] = _after(recipient, result, outcome.way.upstream)
    expired = _expired(message, list(changed.values()), schedule, now)
    if expired:
        told.append(_told_expired(message, outcomes, expired))
        changed |= {r.position: replace(r, state=State.EXPIRED) for r in expired}
    recipients = tuple(changed.get(r.position, r) for r in message.recipients)
    end = ending(recipients)
    if end is Ending.DEAD:
        dead = [r for r in recipients if r.state in DEAD_STATES]
        told.append(events.email_dead_lettered(message, dead))
    deadline = message.expires_from + schedule.give_up_after_s
    due = min(now + delay_s(schedule, message.attempt, chance), max(deadline, now))
    return Settlement(message.queue_id, tenant, tuple(changed.values()), end, due), told


def _after(recipient: Recipient, result: Result, upstream: str | None) -> Recipient:
    match result:
        case Relayed(reply):
            return replace(
                recipient, state=State.RELAYED, cause=None, reply=reply, upstream=upstream
            )
        case Failed(cause, _, reply):
            return replace(
                recipient, state=State.FAILED, cause=cause, reply=reply, upstream=upstream
            )
        case Deferred(cause, scope, reply):
            attempts = recipient.attempts + (scope in _OWN)
            return replace(
                recipient, attempts=attempts, cause=cause, reply=reply, upstream=upstream
            )


def _expired(
    message: Message, recipients: Sequence[Recipient], schedule: Schedule, now: float
) -> list[Recipient]:
    """Those still pending that are too old, or have failed as often as ``attempts`` allows."""
    too_old = now - message.expires_from >= schedule.give_up_after_s
    most = schedule.attempts
    return [
        r
        for r in recipients
        if r.state is State.PENDING and (too_old or (most is not None and r.attempts >= most))
    ]


def _told_expired(
    message: Message, outcomes: Sequence[Outcome], expired: Sequence[Recipient]
) -> Event:
    position = expired[0].position
    way = next(o.way for o in outcomes if any(r.position == position for r in o.recipients))
    return events.email_expired(message, way, expired, REMEDIES[Cause.EXPIRED])


def _events(message: Message, outcome: Outcome) -> list[Event]:
    """One for each distinct (result, cause, reply), with the recipients who share it."""
    groups: dict[tuple[object, ...], tuple[Result, list[Recipient]]] = {}
    for recipient, result in zip(outcome.recipients, outcome.attempt.results, strict=True):
        cause = None if isinstance(result, Relayed) else result.cause
        key = (type(result), cause, result.reply)
        groups.setdefault(key, (result, []))[1].append(recipient)
    return [
        events.of_attempt(message, outcome.way, recipients, result, outcome.attempt)
        for result, recipients in groups.values()
    ]
