"""What is held back after failures, and what counts against whom.

An upstream is paused by a failure of its own: before MAIL at once, after MAIL when two different
messages met it. A refused sender address is held back on that upstream; after three distinct ones
without a success between, the tenant's way through it is. Each pause is probed by one handover at
a time, backs off by the retry schedule, and ends by itself. It knows no clock: ``now`` is given, in
Unix seconds.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from relay.model.causes import Cause, Scope
from relay.model.pause import Held, Pause
from relay.model.result import Attempt, Deferred, Failed, Relayed, Trouble
from relay.model.retry import Schedule, delay_s
from relay.model.value import value_class

# After MAIL these may be the message's fault, until a second message has met them.
_DOUBTFUL = frozenset(
    {
        Cause.UPSTREAM_UNAVAILABLE,
        Cause.REPLY_TIMEOUT,
        Cause.CONNECTION_LOST,
        Cause.PROTOCOL_ERROR,
    }
)
# Only mail that is taken shows that these are over.
_ABOUT_VOLUME = frozenset({Cause.RATE_LIMITED, Cause.QUOTA_EXCEEDED})
_MOST_SUSPECTS = 2
_MOST_REFUSED_SENDERS = 3
# How long those who come while a probe is under way are sent away for; its end calls them back.
_PROBE_S = 5.0
# Senders that are held back, of whom no mail has come to probe with for so long, are forgotten.
_FORGET_SENDER_S = 7 * 86400.0


@value_class
class Ticket:
    """Leave to hand over, on one way, given ``at`` (Unix seconds). ``probes`` are the pauses that
    it tries."""

    upstream: str
    tenant: str
    sender: str
    probes: tuple[Held, ...] = ()
    at: float = 0.0


@dataclass(slots=True)
class Change:
    """What has become of the pauses: ``changed`` ones are to be stored, the others told too."""

    paused: list[Pause] = field(default_factory=list)
    changed: list[Pause] = field(default_factory=list)
    ended: list[Pause] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.paused or self.changed or self.ended)


@value_class
class _BackingOff:
    """How long a pause lasts that begins or goes on now."""

    schedule: Schedule
    now: float
    chance: float

    def until(self, failures: int) -> float:
        return self.now + delay_s(self.schedule, failures, self.chance)


class Pauses:
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._pauses: dict[Held, Pause] = {}
        self._probing: set[Held] = set()
        # Closed for a moment by a rate: nothing to probe, to store, or to tell of.
        self._resting: dict[Held, float] = {}
        self._suspects: dict[str, set[str]] = {}
        self._refused: dict[Held, set[str]] = {}
        # When upstreams became others under the same names.
        self._renewed: dict[str, float] = {}

    def __iter__(self) -> Iterator[Pause]:
        return iter(self._pauses.values())

    def __bool__(self) -> bool:
        return bool(self._pauses or self._resting)

    def configure(self, schedule: Schedule, known: Collection[str]) -> Change:
        """A new configuration with the upstreams ``known``; pauses on others end."""
        self._schedule = schedule
        gone = [pause for pause in self._pauses.values() if pause.held.upstream not in known]
        self._forget([pause.held for pause in gone])
        return Change(ended=gone)

    def try_now(self, upstreams: Collection[str], now: float) -> Change:
        """What was in their way may have been mended: they are probed at once, but for those that
        a person has paused."""
        self._renewed.update(dict.fromkeys(upstreams, now))
        changed = [
            replace(pause, until=now)
            for pause in self._pauses.values()
            if pause.held.upstream in upstreams and not pause.by_hand
        ]
        self._pauses.update({pause.held: pause for pause in changed})
        return Change(changed=changed)

    def end_rests(self) -> None:
        """The clock was set: the rates themselves know better when their windows open."""
        self._resting.clear()

    # -- before a handover

    def until(self, upstream: str, tenant: str, sender: str | None, now: float) -> float | None:
        """Until when a way is closed; None: it is open, or due to be probed. ``sender`` None asks
        of the tenant's mail as a whole."""
        if not self:
            return None
        closed = [self._closed_until(held, now) for held in _chain(upstream, tenant, sender)]
        return max((until for until in closed if until is not None), default=None)

    def probe_is_due(self, upstream: str, tenant: str, now: float) -> bool:
        """Whether one message, and no more, may be tried on this way."""
        return self.until(upstream, tenant, None, now) is None and any(
            held in self._pauses for held in _chain(upstream, tenant, None)
        )

    def down_since(self, upstream: str, tenant: str) -> float | None:
        """Since when the tenant has no way through the upstream; None where it has one."""
        pauses = (self._pauses.get(held) for held in _chain(upstream, tenant, None))
        return min((pause.since for pause in pauses if pause), default=None)

    def ticket(self, upstream: str, tenant: str, sender: str, now: float) -> Ticket | None:
        """Leave to hand over, as a probe where a pause is due for one; None: not now."""
        if self.until(upstream, tenant, sender, now) is not None:
            return None
        probes: tuple[Held, ...] = ()
        if self._pauses:
            probes = tuple(h for h in _chain(upstream, tenant, sender) if h in self._pauses)
            self._probing.update(probes)
        return Ticket(upstream, tenant, sender, probes, now)

    def _closed_until(self, held: Held, now: float) -> float | None:
        rests_until = self._resting.get(held, 0.0)
        if rests_until > now:
            return rests_until
        pause = self._pauses.get(held)
        if pause is None:
            return None
        if pause.until is None:
            return now + self._schedule.longest_s
        if held in self._probing:
            return max(pause.until, now + _PROBE_S)
        return pause.until if pause.until > now else None

    # -- after it

    def give_back(self, ticket: Ticket) -> None:
        """It was not used: whoever comes next may probe."""
        if ticket.probes:
            self._probing.difference_update(ticket.probes)

    def note(
        self, ticket: Ticket, queue_id: str, attempt: Attempt, *, now: float, chance: float
    ) -> Change:
        """What a handover says about its way. ``chance`` as in model.retry."""
        self.give_back(ticket)
        change = Change()
        if ticket.at < self._renewed.get(ticket.upstream, 0.0):
            return change  # it was made with what has been mended meanwhile
        trouble = _worst(attempt)
        if trouble is None and not (self._pauses or self._suspects or self._refused):
            return change
        backing_off = _BackingOff(self._schedule, now, chance)
        self._note_upstream(ticket, queue_id, attempt, trouble, change, backing_off)
        self._note_tenant(ticket, attempt, trouble, change, backing_off)
        for held in ticket.probes:
            # Whatever else it said, it did not show that the pause is over.
            pause = self._pauses.get(held)
            if pause and not pause.by_hand and pause.until is not None and pause.until <= now:
                self._prolong(pause, trouble, change, backing_off)
        return change

    def _note_upstream(
        self,
        ticket: Ticket,
        queue_id: str,
        attempt: Attempt,
        trouble: Trouble | None,
        change: Change,
        backing_off: "_BackingOff",
    ) -> None:
        upstream = Held(ticket.upstream)
        if trouble is not None and trouble.scope is Scope.UPSTREAM:
            if self._is_the_upstreams(ticket, queue_id, attempt, trouble):
                self._hold(upstream, trouble, change, backing_off)
        elif _relayed(attempt) or _answered(attempt):
            self._suspects.pop(ticket.upstream, None)
            self._end(upstream, change, relayed=_relayed(attempt))

    def _note_tenant(
        self,
        ticket: Ticket,
        attempt: Attempt,
        trouble: Trouble | None,
        change: Change,
        backing_off: "_BackingOff",
    ) -> None:
        way = Held(ticket.upstream, ticket.tenant)
        sender = Held(ticket.upstream, ticket.tenant, ticket.sender)
        if _relayed(attempt):
            self._refused.pop(way, None)
            self._end(way, change, relayed=True)
            self._end(sender, change, relayed=True)
        elif trouble is not None and trouble.scope is Scope.TENANT:
            self._hold(sender, trouble, change, backing_off)
            refused = self._refused.setdefault(way, set())
            refused.add(ticket.sender)
            if ticket.tenant and len(refused) >= _MOST_REFUSED_SENDERS:
                self._hold(way, trouble, change, backing_off)

    def _is_the_upstreams(
        self, ticket: Ticket, queue_id: str, attempt: Attempt, trouble: Trouble
    ) -> bool:
        """Whether the failure is the upstream's, and not perhaps the one message's: a suspicion is
        kept until a second message meets it."""
        if attempt.remote_mta is None or trouble.cause not in _DOUBTFUL:
            return True
        if Held(ticket.upstream) in ticket.probes:
            return True
        suspects = self._suspects.setdefault(ticket.upstream, set())
        suspects.add(queue_id)
        return len(suspects) >= _MOST_SUSPECTS

    def _hold(
        self, held: Held, trouble: Trouble, change: Change, backing_off: "_BackingOff"
    ) -> None:
        """Begins a pause; what was under way when it began adds nothing to it."""
        if held not in self._pauses:
            begun = Pause(held, backing_off.now, backing_off.until(1))
            pause = _met(begun, trouble)
            self._pauses[held] = pause
            change.paused.append(pause)

    def _prolong(
        self, pause: Pause, trouble: Trouble | None, change: Change, backing_off: "_BackingOff"
    ) -> None:
        failures = pause.failures + 1
        pause = replace(pause, failures=failures, until=backing_off.until(failures))
        if trouble:
            pause = _met(pause, trouble)
        self._pauses[pause.held] = pause
        change.changed.append(pause)

    def _end(self, held: Held, change: Change, *, relayed: bool) -> None:
        pause = self._pauses.get(held)
        if pause is None or pause.by_hand or (pause.cause in _ABOUT_VOLUME and not relayed):
            return
        change.ended.append(self._pauses.pop(held))

    # -- what others decide

    def hold_for_quota(
        self, held: Held, until: float, cause: Cause, detail: str, now: float
    ) -> Change:
        """Our own limit is used up: closed until its window opens."""
        known = self._pauses.get(held)
        if known and (known.by_hand or (known.until or 0.0) >= until):
            return Change()
        pause = Pause(held, known.since if known else now, until, cause, detail)
        self._pauses[held] = pause
        return Change(changed=[pause]) if known else Change(paused=[pause])

    def rest(self, held: Held, until: float) -> None:
        """A short window is used up."""
        self._resting[held] = until

    def next_at(self, now: float) -> float:
        """When the next way that is closed now is to be looked at again; infinity if none is."""
        untils = [p.until for p in self._pauses.values() if p.until is not None]
        return min((u for u in (*untils, *self._resting.values()) if u > now), default=math.inf)

    def sweep(self, now: float) -> Change:
        """Ends pauses by hand whose time is over, and forgets senders that send no more."""
        self._resting = {held: until for held, until in self._resting.items() if until > now}
        over = [
            pause
            for pause in self._pauses.values()
            if pause.until is not None
            and (
                (pause.by_hand and pause.until <= now)
                or (pause.held.sender and pause.until + _FORGET_SENDER_S <= now)
            )
        ]
        return Change(ended=[self._pauses.pop(pause.held) for pause in over])

    def take_in(self, stored: Mapping[Held, Pause]) -> bool:
        """What administrators have made of the pauses; whether anything is different now. What
        they have resumed is open at once."""
        gone = [held for held in self._pauses if held not in stored]
        by_hand = {h: p for h, p in stored.items() if p.by_hand and self._pauses.get(h) != p}
        self._forget(gone)
        self._pauses.update(by_hand)
        return bool(gone or by_hand)

    def _forget(self, ended: Iterable[Held]) -> None:
        for held in ended:
            del self._pauses[held]
            self._suspects.pop(held.upstream, None)
            self._refused.pop(Held(held.upstream, held.tenant), None)

    def begin_with(self, stored: Mapping[Held, Pause], now: float) -> None:
        """A new life: what was paused in the former one is probed at once, since a restart may
        well be the remedy (another secret, another configuration)."""
        self._pauses = {
            held: pause if pause.by_hand else replace(pause, until=now)
            for held, pause in stored.items()
        }


def _chain(upstream: str, tenant: str, sender: str | None) -> tuple[Held, ...]:
    """What may hold a message back, the widest first."""
    way = (Held(upstream), Held(upstream, tenant)) if tenant else (Held(upstream),)
    return way if sender is None else (*way, Held(upstream, tenant, sender))


def _relayed(attempt: Attempt) -> bool:
    return any(isinstance(result, Relayed) for result in attempt.results)


def _worst(attempt: Attempt) -> Trouble | None:
    """The trouble that reaches furthest."""
    troubles = [result for result in attempt.results if not isinstance(result, Relayed)]
    if not troubles:
        return None
    order = (Scope.UPSTREAM, Scope.TENANT, Scope.MESSAGE, Scope.RECIPIENT)
    return min(troubles, key=lambda trouble: order.index(trouble.scope))


def _answered(attempt: Attempt) -> bool:
    """Whether the upstream said anything about the message or its recipients."""
    return any(
        isinstance(result, Failed) or (isinstance(result, Deferred) and result.reply is not None)
        for result in attempt.results
        if not isinstance(result, Relayed)
    )


def _met(pause: Pause, trouble: Trouble) -> Pause:
    """The pause with the latest reason for it, and what to do about that very one."""
    detail = str(trouble.reply) if trouble.reply else trouble.detail
    return replace(pause, cause=trouble.cause, detail=detail, own_remedy=trouble.own_remedy)
