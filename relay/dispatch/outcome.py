"""From the results of a handover to what is stored and told: pure but for the clock it is given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import events
from relay.model.causes import REMEDIES, Cause, Scope
from relay.model.events import Event, Way
from relay.model.message import DEAD_STATES, Ending, Message, Recipient, Settlement, State, ending
from relay.model.result import Attempt, Deferred, Failed, Relayed, Result
from relay.model.retry import Schedule, delay_s
from relay.model.value import value_class

# Failures of these scopes are the message's or recipient's own and count against retry.attempts.
_OWN = frozenset({Scope.RECIPIENT, Scope.MESSAGE})
# Neither the message's fault nor its way's: they count against nobody.
_NOBODYS = frozenset({Cause.LOCAL_ERROR, Cause.NO_ROUTE})


@value_class
class Outcome:
    """One handover: which recipients, which way, and what came of it for each. ``closed_until``:
    the way is held back now, so that what failed on it is not the message's own failure."""

    way: Way
    recipients: tuple[Recipient, ...]
    attempt: Attempt
    closed_until: float | None = None


@dataclass(slots=True)
class Trial:
    """A message under way: one attempt, in as many handovers as its recipients need.

    ``message`` has its recipients as they were before; ``changed`` are those that have news of this
    attempt, ``untried`` the positions of those that have none yet.
    """

    message: Message
    untried: set[int]
    changed: dict[int, Recipient]
    closed_until: float | None = None

    @classmethod
    def of(cls, message: Message) -> "Trial":
        return cls(message, {recipient.position for recipient in message.pending}, {})

    @property
    def recipients(self) -> list[Recipient]:
        """All of them, as they stand now."""
        changed = self.changed
        return [changed.get(r.position, r) for r in self.message.recipients]

    @property
    def left(self) -> Message:
        """The message as it concerns those who have not been tried."""
        message = self.message
        if len(self.untried) == len(message.recipients):
            return message
        recipients = tuple([r for r in self.recipients if r.position in self.untried])
        return replace(message, recipients=recipients)

    def settled(
        self,
        tenant: str,
        outcome: Outcome,
        schedule: Schedule,
        *,
        now: float,
        chance: float,
        refused: bool = False,
    ) -> tuple[Settlement, list[Event]]:
        """Takes the outcome in: what to store of it, and its events. ``now`` in Unix seconds;
        ``chance`` as in model.retry. ``refused``: the client was there to be told of the failure,
        so that nobody else has to be."""
        if self.message.tenant != tenant:
            self.message = replace(self.message, tenant=tenant)
        told = _events(self.message, outcome)
        news = [
            _after(recipient, result, outcome)
            for recipient, result in zip(outcome.recipients, outcome.attempt.results, strict=True)
        ]
        self.closed_until = outcome.closed_until or self.closed_until
        expired = _expired(self.message, news, schedule, now)
        if expired:
            told.append(
                events.email_expired(self.message, outcome.way, expired, REMEDIES[Cause.EXPIRED])
            )
            news = [replace(r, state=State.EXPIRED) if r in expired else r for r in news]
        self._take(news)
        settlement = self._after_news(news, told, schedule, now, chance, refused=refused)
        return settlement, told

    def _after_news(
        self,
        news: list[Recipient],
        told: list[Event],
        schedule: Schedule,
        now: float,
        chance: float,
        *,
        refused: bool = False,
    ) -> Settlement:
        """What to store; ``told`` gets the message's death, if it is that."""
        if self.untried:
            # Stored at once all the same: nobody may be tried twice because others were to come.
            return self._settlement(news, Ending.GOES_ON, now)
        end = ending(self.recipients)
        if end is Ending.DEAD and refused:
            end = Ending.DONE
        if end is Ending.DEAD:
            told.append(events.email_dead_lettered(self.message, self.dead))
        due, parked = self._due(schedule, now, chance)
        settlement = self._settlement(list(self.changed.values()), end, due)
        return replace(settlement, parked=True) if parked else settlement

    @property
    def dead(self) -> list[Recipient]:
        return [r for r in self.recipients if r.state in DEAD_STATES]

    def suppressed(
        self, recipients: Sequence[Recipient], schedule: Schedule, *, now: float, chance: float
    ) -> tuple[Settlement, list[Event]]:
        """These are on the suppression list, and not tried at all."""
        news = [
            replace(r, state=State.SUPPRESSED, cause=Cause.SUPPRESSED, own_remedy=None)
            for r in recipients
        ]
        self._take(news)
        told = [events.email_suppressed(self.message, news, REMEDIES[Cause.SUPPRESSED])]
        return self._after_news(news, told, schedule, now, chance), told

    def expired(self, now: float) -> tuple[Settlement, list[Event]]:
        """Nobody is tried any more: who is pending has waited for too long."""
        left = [recipient for recipient in self.recipients if recipient.state is State.PENDING]
        way = Way(left[0].upstream, None, self.message.message_class or None)
        told = [events.email_expired(self.message, way, left, REMEDIES[Cause.EXPIRED])]
        self._take([replace(recipient, state=State.EXPIRED) for recipient in left])
        told.append(events.email_dead_lettered(self.message, self.dead))
        return self._settlement(list(self.changed.values()), Ending.DEAD, now), told

    def _due(self, schedule: Schedule, now: float, chance: float) -> tuple[float, bool]:
        """When its way opens, where it only waits for that, and whether so; behind what came
        meanwhile, which is to be the next probe. Else by the failures of its own."""
        pending = [r for r in self.changed.values() if r.state is State.PENDING]
        if not pending:
            return now, False
        own = max(recipient.attempts for recipient in pending)
        if self.closed_until is not None and not own:
            return max(self.closed_until, now), True
        deadline = max(self.message.expires_from + schedule.give_up_after_s, now)
        return min(now + delay_s(schedule, own or self.message.attempt, chance), deadline), False

    def cut_short(
        self, closed_until: float | None, schedule: Schedule, *, now: float, chance: float
    ) -> Settlement:
        """Some were tried, and the ways of the others are closed: whichever may go first. None:
        the relay stops, and whoever has not been tried is due at once, in its next life."""
        due = now
        if closed_until is not None:
            pending = [r for r in self.changed.values() if r.state is State.PENDING]
            own = self._due(schedule, now, chance)[0] if pending else closed_until
            due = max(min(own, closed_until), now)
        return self._settlement(list(self.changed.values()), Ending.WAITS, due)

    def _take(self, news: list[Recipient]) -> None:
        for recipient in news:
            self.changed[recipient.position] = recipient
            self.untried.discard(recipient.position)

    def _settlement(self, news: Sequence[Recipient], end: Ending, due: float) -> Settlement:
        return Settlement(self.message.queue_id, tuple(news), end, due)


def _after(recipient: Recipient, result: Result, outcome: Outcome) -> Recipient:
    upstream = outcome.way.upstream
    match result:
        case Relayed(reply):
            return replace(
                recipient,
                state=State.RELAYED,
                cause=None,
                reply=reply,
                upstream=upstream,
                own_remedy=None,
            )
        case Failed(cause, _, reply, _, own_remedy):
            return replace(
                recipient,
                state=State.FAILED,
                cause=cause,
                reply=reply,
                upstream=upstream,
                own_remedy=own_remedy,
            )
        case Deferred(cause, scope, reply, _, own_remedy):
            # Until its way is held back, a failure of the way may be the message's own.
            own = (scope in _OWN or outcome.closed_until is None) and cause not in _NOBODYS
            return replace(
                recipient,
                attempts=recipient.attempts + own,
                cause=cause,
                reply=reply,
                upstream=upstream,
                unknown=recipient.unknown or cause is Cause.OUTCOME_UNKNOWN,
                own_remedy=own_remedy,
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
