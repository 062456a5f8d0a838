"""What lies in the store: what is claimed of it, and when to look again.

Nothing is claimed that can't be tried: a tenant whose ways are all closed is left out, and of a way
that is to be probed one message is taken.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from relay.dispatch.lane import Lane
from relay.dispatch.lanes import MOST_IN_MEMORY, Lanes
from relay.dispatch.situation import Situation
from relay.model.message import Message
from relay.model.ports import Queue

# Another process's changes are seen before every attempt; this is for when nothing is attempted.
LOOK_AROUND_S = 1.0
_CLAIM_AT_ONCE = 50
_NORMAL_PRIORITY = 1
_MOST_PROBES_KNOWN = 20


class Backlog:
    """``take`` begins with a claimed message, which is counted in its lane. ``left``: the store may
    hold something that is due."""

    def __init__(
        self,
        situation: Situation,
        queue: Queue,
        lanes: Lanes,
        take: Callable[[Message, Lane], None],
    ) -> None:
        self._situation = situation
        self._queue = queue
        self._lanes = lanes
        self._take = take
        self._next_due: float | None = None
        self._any_parked = True
        # Who has probed since all ways were open, by tenant.
        self._probed: dict[str, deque[str]] = {}
        self._probed_now: set[str] = set()
        self._last_to_probe = ""
        self.left = True

    def note_due(self, at: float | None) -> None:
        """There is something due then."""
        if at is not None and (self._next_due is None or at < self._next_due):
            self._next_due = at

    def note_open(self) -> None:
        """Some way may have opened: what was parked asks anew."""
        self._any_parked = self.left = True

    def may_claim(self, tenant: str) -> bool:
        """Whether any of the tenant's ways is open; so it is where it has none at all."""
        return bool(self._open_ways(tenant)) or not self._situation.upstreams_of(tenant)

    async def claim(self) -> float:
        """One round: every tenant in turn, as far as its lane has room. Seconds until the next."""
        if self._any_parked:
            self._any_parked = False
            await self._queue.unpark(time.time())
        now = time.time()
        if self._situation.pauses or (self._next_due is not None and self._next_due <= now):
            self.left = True
        await self._claim_expired(now)
        if not self.left:
            return self._wait(now)
        # Reset before the store is asked: what is settled meanwhile sets them again.
        self.left, self._next_due = False, None
        due = await self._queue.due(now)
        self.note_due(due.next_at)
        for lane in self._lanes:
            lane.behind.clear()
        for tenant in due.tenants:
            # What goes another way than usual (a class, a pilot) need not wait behind the backlog.
            self._lanes.usual_of(tenant).behind.add(tenant)
        claimed_any = False
        self._probed_now.clear()
        for tenant in self._in_turn(due.tenants):
            claimed_any |= await self._claim_of(tenant, now)
        if due.tenants:
            # Whether there is more, or there was no room: the next round will tell.
            self.left = True
        return 0.0 if claimed_any else self._wait(now)

    async def _claim_of(self, tenant: str, now: float) -> bool:
        claimed = await self._claim_usual(tenant, now)
        for name, upstream in self._situation.classes_apart(tenant).items():
            claimed |= await self._claim_class(tenant, name, upstream, now)
        return claimed

    async def _claim_class(self, tenant: str, name: str, upstream: str, now: float) -> bool:
        """What has a way of its own need not wait for room on the usual one, or for its end."""
        room = self._lanes.room(self._lanes[upstream], tenant, _NORMAL_PRIORITY)
        limit = min(_CLAIM_AT_ONCE, room)
        if self._situation.closed_until(upstream, tenant, None) is not None or limit <= 0:
            return False
        if self._situation.pauses.probe_is_due(upstream, tenant, now):
            limit = int(upstream not in self._probed_now)
            self._probed_now.add(upstream)
        messages = await self._queue.claim(tenant, limit, now, name) if limit else []
        for message in messages:
            self._begin(message)
        return bool(messages)

    async def _claim_usual(self, tenant: str, now: float) -> bool:
        room = self._lanes.room(self._lanes.usual_of(tenant), tenant, _NORMAL_PRIORITY)
        ways, known = self._open_ways(tenant), self._situation.upstreams_of(tenant)
        if room <= 0 or (known and not ways):
            return False
        if self._is_to_be_probed(tenant, ways, now):
            messages = await self._claim_probe(tenant, ways, now)
        else:
            messages = await self._queue.claim(tenant, min(_CLAIM_AT_ONCE, room), now)
        for message in messages:
            self._begin(message)
        return bool(messages)

    async def _claim_probe(self, tenant: str, ways: list[str], now: float) -> list[Message]:
        """One that has not probed yet, if there is one: the message itself may be what an upstream
        can't bear. One a round: another tenant's would find the first under way."""
        if not self._probed_now.isdisjoint(ways):
            return []
        self._probed_now.update(ways)
        probed = self._probed.setdefault(tenant, deque(maxlen=_MOST_PROBES_KNOWN))
        messages = await self._queue.claim(tenant, len(probed) + 1, now)
        if not messages:
            return []
        fresh = [message for message in messages if message.queue_id not in probed]
        chosen = fresh[0] if fresh else min(messages, key=lambda m: probed.index(m.queue_id))
        others = [m.queue_id for m in messages if m is not chosen]
        if others:
            await self._queue.release(others)
        if chosen.queue_id in probed:
            probed.remove(chosen.queue_id)
        probed.append(chosen.queue_id)
        self._last_to_probe = tenant
        return [chosen]

    def _in_turn(self, tenants: Sequence[str]) -> Sequence[str]:
        """Begins behind the tenant that has probed last."""
        if not self._situation.pauses:
            self._probed.clear()
        if self._last_to_probe not in tenants:
            return tenants
        behind = tenants.index(self._last_to_probe) + 1
        return [*tenants[behind:], *tenants[:behind]]

    async def _claim_expired(self, now: float) -> None:
        """Age goes on while a way is closed: what is too old is claimed to be ended."""
        if self._lanes.members < MOST_IN_MEMORY // 4:
            for message in await self._queue.claim_expired(_CLAIM_AT_ONCE, now):
                self._begin(message)

    def _begin(self, message: Message) -> None:
        lane = self._lanes.of(message)
        self._lanes.enter(message, lane)
        self._take(message, lane)

    def _is_to_be_probed(self, tenant: str, ways: list[str], now: float) -> bool:
        """Whether nothing more than one message may be tried on any of its ways."""
        pauses = self._situation.pauses
        return bool(ways) and all(pauses.probe_is_due(way, tenant, now) for way in ways)

    def _open_ways(self, tenant: str) -> list[str]:
        """Upstreams that are not closed to the tenant, for all that one may only be probed."""
        return [
            upstream
            for upstream in self._situation.upstreams_of(tenant)
            if self._situation.closed_until(upstream, tenant, None) is None
        ]

    def _wait(self, now: float) -> float:
        """Until the next message is due, or the next pause is to be probed."""
        soonest = min(self._next_due or math.inf, self._situation.pauses.next_at(now))
        return min(max(soonest - now, 0.0), LOOK_AROUND_S)
