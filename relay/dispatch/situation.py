"""What every attempt depends on just now: the routing snapshot, what is held back, what has been
spent. It takes in what administrators change, and stores what becomes of the pauses.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from relay.config.schema import Config
from relay.dispatch.clock import WallClock
from relay.dispatch.pauses import Change, Pauses, Ticket
from relay.dispatch.rates import SLOT_S, RateLimits, slot_of
from relay.dispatch.under_way import UnderWay
from relay.model import events
from relay.model.message import PRIORITIES, Kind, Message
from relay.model.notice import Incident, IncidentKind
from relay.model.pause import Pause
from relay.model.ports import Orders, Queue, StoreError, Treatment
from relay.model.result import Attempt
from relay.model.retry import JITTER, Schedule
from relay.route.classes import Facts, class_of, classes_key
from relay.route.plan import Plan, Snapshot, classes_apart, plan, upstreams_of_tenant
from relay.route.tenancy import Tenancy

diagnostics = structlog.get_logger("relay.dispatch")

_DAY_SLOTS = 86400 // SLOT_S
_PRIORITIES = {name: number for number, name in enumerate(PRIORITIES)}
_INCIDENTS = {
    "upstream": IncidentKind.UPSTREAM_PAUSED,
    "tenant": IncidentKind.TENANT_WAY_PAUSED,
    "sender": IncidentKind.SENDER_HELD,
}


class Watchman(Protocol):
    """Who sees to it that people hear of troubles."""

    def note(self, incident: Incident) -> None: ...

    def note_attempt(self, tenant: str, relayed: int, troubled: int) -> None:
        """How many recipients of an attempt were relayed, and how many were not."""


def _schedules(config: Config) -> dict[str, Schedule]:
    """By class."""
    return {name: one.retry_from(config.retry).schedule for name, one in config.classes.items()}


class Situation:
    """``stopping``: nothing new is tried. ``changed`` is told the upstreams of which some way has
    been closed, or None where any way may have opened."""

    def __init__(
        self,
        config: Config,
        snapshot: Snapshot,
        queue: Queue,
        watchman: Watchman,
        changed: Callable[[Sequence[str] | None], None],
    ) -> None:
        self.snapshot = snapshot
        self.pauses = Pauses(config.retry.schedule)
        self.rates = RateLimits(config)
        self.under_way = UnderWay(queue)
        self._clock = WallClock()
        self.watchman = watchman
        self.stopping = False
        # Told the number of the request, and who makes it.
        self.reload_asked: Callable[[int, str], None] = lambda request, actor: None
        self._reloads = 0
        self._any_toggle_over = True
        # Whether the store may have mail under the tenants of another configuration.
        self.is_unsorted = True
        self._is_taken_over = False
        self._queue = queue
        self._changed = changed
        self._unsaved = Change()
        self._read(config)

    def _read(self, config: Config) -> None:
        self.config = config
        self.classes_key = classes_key(config)
        self._schedules = _schedules(config)
        self._perishable = {
            name
            for name, one in config.classes.items()
            if one.give_up_after is not None or one.retry.give_up_after is not None
        }

    def configure(self, config: Config, tenancy: Tenancy) -> Change:
        """From the next attempt on. What has become of the pauses is to be carried out."""
        self._read(config)
        self.is_unsorted = True
        toggles = self.snapshot.toggles
        self.snapshot = Snapshot(config, tenancy, toggles, self.snapshot.generation + 1)
        self.rates.configure(config)
        return self.pauses.configure(config.retry.schedule, config.upstreams)

    async def begin(self) -> None:
        """Take up what a former life left. Raises StoreError."""
        now = time.time()
        orders = self._queue.orders()
        if orders:
            self.pauses.begin_with(orders.pauses, now)
            for pause in self.pauses:
                self._note_paused(pause)
            self.snapshot = self.snapshot.with_toggles(orders.toggles)
            self.under_way.generation = orders.generation
            self._reloads = orders.reload_answered
            self._note_reload(orders)
        # What lies farther ahead was spent under a clock that was wrong.
        first, last = slot_of(now) - _DAY_SLOTS - 1, slot_of(now) + _DAY_SLOTS
        self.rates.load(s for s in await self._queue.spent(first) if s.slot <= last)

    async def take_over(self) -> None:
        """Before anything that a former life left is claimed, but not before mail is accepted: for
        100,000 messages the store takes 50 ms. Raises StoreError."""
        if self._is_taken_over:
            return
        await self.apply_classes(self.config)
        await self._hasten()
        self._is_taken_over = True

    async def apply_classes(self, config: Config) -> None:
        """What a configuration makes of the mail that is queued. Raises StoreError."""
        schedules = _schedules(config)
        await self._queue.apply_classes(
            {
                name: Treatment(_PRIORITIES[one.priority], schedules[name].give_up_after_s)
                for name, one in config.classes.items()
            },
            Treatment(_PRIORITIES["normal"], config.retry.give_up_after),
        )

    def refresh(self) -> bool:
        """Take in what an administrator has changed; whether there was anything."""
        try:
            orders = self._queue.orders()
        except StoreError as error:
            diagnostics.warning("can't read what administrators changed", error=str(error))
            return False
        if orders is None:
            return False
        gone = [pause for pause in self.pauses if pause.held not in orders.pauses]
        self.pauses.take_in(orders.pauses)
        for pause in gone:
            self._note_resumed(pause)
        self._any_toggle_over |= bool(self.snapshot.toggles.keys() - orders.toggles.keys())
        self.snapshot = self.snapshot.with_toggles(orders.toggles)
        self.under_way.generation = orders.generation
        self._changed(None)
        self._note_reload(orders)
        return True

    def _note_reload(self, orders: Orders) -> None:
        if orders.reload_asked > self._reloads:
            self._reloads = orders.reload_asked
            self.reload_asked(orders.reload_asked, orders.reload_actor)

    # -- ways

    def plan(self, message: Message) -> Plan:
        return plan(self.snapshot, message, self.is_down)

    def tenant_of(self, message: Message) -> str:
        """Whose an application's message is by the present configuration."""
        return self.snapshot.tenancy.of(
            message.reverse_path, message.header_from, message.origin.bound
        )

    def is_down(self, upstream: str, tenant: str, after_s: float) -> bool:
        if not self.pauses:
            return False
        since, now = self.pauses.down_since(upstream, tenant), time.time()
        if since is None or now - since < after_s:
            return False
        # One message, and no more, goes and tries whether it is still so.
        return not self.pauses.probe_is_due(upstream, tenant, now)

    def upstreams_of(self, tenant: str) -> tuple[str, ...]:
        """Those that the tenant's mail may take now, the usual one first."""
        return upstreams_of_tenant(self.snapshot, tenant, self.is_down)

    def classes_apart(self, tenant: str) -> Mapping[str, str]:
        """The classes of its mail that have upstreams of their own, and these."""
        return classes_apart(self.snapshot, tenant) if self.config.classes else {}

    def closed_until(self, upstream: str, tenant: str, sender: str | None) -> float | None:
        """Until when mail waits for a way; sooner, if a failover takes it before that."""
        if not self.pauses:
            return None
        now = time.time()
        until = self.pauses.until(upstream, tenant, sender, now)
        if until is None:
            return None
        owner = self.config.tenants.get(tenant)
        since = self.pauses.down_since(upstream, tenant)
        if owner and owner.failover and upstream == owner.upstream and since is not None:
            takes_over = since + owner.failover.after
            if takes_over > now:
                until = min(until, takes_over)
        return until

    def schedule_of(self, message: Message) -> Schedule:
        if message.kind is not Kind.MAIL:
            return self.config.retry.schedule
        return self._schedules.get(message.message_class, self.config.retry.schedule)

    def expiry_of(self, message: Message) -> float:
        return message.expires_from + self.schedule_of(message).give_up_after_s

    def is_too_old(self, message: Message) -> bool:
        """For all that it could still be tried once more, if a way is open."""
        return time.time() >= self.expiry_of(message)

    def is_stale(self, message: Message) -> bool:
        """Of a class with a time of its own after which it is worth nothing any more: a one-time
        code is not sent an hour late."""
        if message.kind is not Kind.MAIL or message.message_class not in self._perishable:
            return False
        return self.is_too_old(message)

    # -- classes

    def classified(self, message: Message, header: bytes) -> Message:
        """The message in its class, with the priority of that; ``header`` is its header section."""
        classes = self.config.classes
        if not classes and not message.classes_key:
            return message
        name = ""
        if classes:
            recipients = tuple(recipient.address for recipient in message.recipients)
            facts = Facts(message.reverse_path, recipients, message.origin.user, header)
            name = class_of(classes, facts)
        priority = _PRIORITIES[classes[name].priority if name else "normal"]
        return replace(message, message_class=name, classes_key=self.classes_key, priority=priority)

    def ignores_suppression(self, message: Message) -> bool:
        chosen = self.config.classes.get(message.message_class)
        return chosen is not None and chosen.suppression == "ignore"

    # -- pauses

    async def note_attempt(self, ticket: Ticket, message: Message, attempt: Attempt) -> None:
        """What a handover says about its way."""
        if ticket.upstream not in self.config.upstreams:
            self.pauses.give_back(ticket)  # a reload has removed it meanwhile
            return
        change = self.pauses.note(
            ticket,
            message.queue_id,
            attempt,
            now=time.time(),
            chance=random.random(),  # noqa: S311 - jitter, no secret
        )
        if change:
            await self.carry_out(change)

    async def try_now(self, upstreams: Collection[str]) -> None:
        """What was in their way may have been mended."""
        await self.carry_out(self.pauses.try_now(upstreams, time.time()))
        self._changed(None)

    async def _clock_was_set(self, by_s: float) -> None:
        """What was said of the time before is no more true. Raises StoreError."""
        diagnostics.warning("the clock was set", by_s=round(by_s, 1))
        self.rates.move(by_s)
        self.pauses.end_rests()
        if by_s < 0:
            self._is_taken_over = False
            await self.try_now(self.config.upstreams)

    async def _hasten(self) -> None:
        """What is to wait for longer than any schedule says was put off under a clock that was
        ahead. Raises StoreError."""
        schedules = (self.config.retry.schedule, *self._schedules.values())
        longest_s = max(schedule.longest_s for schedule in schedules) * (1 + JITTER)
        now = time.time()
        hastened = await self._queue.hasten(now, now + longest_s)
        if hastened:
            diagnostics.warning("due at once, put off by a clock ahead", messages=hastened)

    async def sweep(self) -> None:
        """What time alone has ended."""
        if moved_s := self._clock.moved_s():
            await self._clock_was_set(moved_s)
        now = time.time()
        change = self.pauses.sweep(now)
        if change or self._unsaved:
            await self.carry_out(change)
        if self._any_toggle_over:
            await self._queue.end_toggles(now)
            self._any_toggle_over = False
        await self.under_way.report()

    async def carry_out(self, change: Change) -> None:
        """Stored and told; kept for later where the store can't take it now, since the pauses in
        memory hold meanwhile."""
        for pause in change.paused:
            self._note_paused(pause)
        for pause in change.ended:
            self._note_resumed(pause)
        merged = Change(
            [*self._unsaved.paused, *change.paused],
            [*self._unsaved.changed, *change.changed],
            [*self._unsaved.ended, *change.ended],
        )
        self._unsaved = Change()
        now = time.time()
        told = [events.upstream_paused(pause) for pause in merged.paused]
        told += [events.upstream_resumed(p, p.actor or "relay", "", now) for p in merged.ended]
        ended = [pause.held for pause in merged.ended]
        try:
            await self._queue.pause([*merged.paused, *merged.changed], ended, told)
        except StoreError as error:
            diagnostics.warning("can't store the pauses, trying again", error=str(error))
            self._unsaved = merged
        if change.ended:
            self._changed(None)
        elif change.paused:
            self._changed([pause.held.upstream for pause in change.paused])

    def _note_paused(self, pause: Pause) -> None:
        held = pause.held
        self.watchman.note(
            Incident(
                _INCIDENTS[held.reach],
                held.tenant or None,
                held.upstream,
                pause.cause,
                pause.detail,
                held.sender,
                own_remedy=pause.own_remedy,
            )
        )

    def _note_resumed(self, pause: Pause) -> None:
        if not pause.held.sender:
            tenant, upstream = pause.held.tenant or None, pause.held.upstream
            self.watchman.note(
                Incident(IncidentKind.UPSTREAM_RESUMED, tenant, upstream, pause.cause)
            )
