"""What every attempt depends on just now: the routing snapshot, what is held back, what has been
spent. It takes in what administrators change, and stores what becomes of the pauses.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from relay.config.schema import Config
from relay.dispatch.pauses import Change, Pauses, Ticket
from relay.dispatch.rates import SLOT_S, RateLimits, slot_of
from relay.model import events
from relay.model.message import Kind, Message
from relay.model.notice import Incident, IncidentKind
from relay.model.pause import Pause
from relay.model.ports import Queue, StoreError, Treatment
from relay.model.result import Attempt
from relay.model.retry import Schedule
from relay.route.classes import Facts, class_of, classes_key
from relay.route.plan import Plan, Snapshot, classes_apart, plan, upstreams_of_tenant

diagnostics = structlog.get_logger("relay.dispatch")

_DAY_SLOTS = 86400 // SLOT_S
_PRIORITIES = {"high": 0, "normal": 1, "low": 2}
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
        self.config = config
        self.snapshot = snapshot
        self.pauses = Pauses(config.retry.schedule)
        self.rates = RateLimits(config)
        self.classes_key = classes_key(config)
        self.watchman = watchman
        self.stopping = False
        self._queue = queue
        self._changed = changed
        self._schedules = {
            name: one.retry_from(config.retry).schedule for name, one in config.classes.items()
        }
        self._perishable = {
            name
            for name, one in config.classes.items()
            if one.give_up_after is not None or one.retry.give_up_after is not None
        }
        self._unsaved = Change()

    async def begin(self) -> None:
        """Take up what a former life left. Raises StoreError."""
        now = time.time()
        orders = self._queue.orders()
        if orders:
            self.pauses.begin_with(orders.pauses, now)
            for pause in self.pauses:
                self._note_paused(pause)
            self.snapshot = self.snapshot.with_toggles(orders.toggles)
        await self._queue.apply_classes(
            {
                name: Treatment(_PRIORITIES[one.priority], self._schedules[name].give_up_after_s)
                for name, one in self.config.classes.items()
            },
            Treatment(_PRIORITIES["normal"], self.config.retry.give_up_after),
        )
        self.rates.load(await self._queue.spent(slot_of(now) - _DAY_SLOTS - 1))

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
        self.snapshot = self.snapshot.with_toggles(orders.toggles)
        self._changed(None)
        return True

    # -- ways

    def plan(self, message: Message) -> Plan:
        return plan(self.snapshot, message, self.is_down)

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
        change = self.pauses.note(
            ticket,
            message.queue_id,
            attempt,
            now=time.time(),
            chance=random.random(),  # noqa: S311 - jitter, no secret
        )
        if change:
            await self.carry_out(change)

    async def sweep(self) -> None:
        """What time alone has ended."""
        change = self.pauses.sweep(time.time())
        if change or self._unsaved:
            await self.carry_out(change)

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
            )
        )

    def _note_resumed(self, pause: Pause) -> None:
        if not pause.held.sender:
            tenant, upstream = pause.held.tenant or None, pause.held.upstream
            self.watchman.note(
                Incident(IncidentKind.UPSTREAM_RESUMED, tenant, upstream, pause.cause)
            )
