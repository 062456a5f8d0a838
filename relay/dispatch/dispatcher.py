"""The one loop: claim, route, deliver, settle. One task for each message in memory, a lane for each
upstream.

A new message is committed as already claimed and goes straight to its lane while there is room in
memory; the store is read only for what did not fit, what was deferred, and what a former life left
behind. Nothing is claimed that can't be tried.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, repeat

import structlog

from relay.config.schema import Config
from relay.deliver.pool import Deliverer
from relay.dispatch.acknowledgement import Acknowledgement
from relay.dispatch.attempt import Means, MessageAttempt
from relay.dispatch.handover import Packer
from relay.dispatch.lane import Lane
from relay.dispatch.situation import Situation, Watchman
from relay.model.budget import Budget
from relay.model.events import Event
from relay.model.message import Ending, Message, Settlement
from relay.model.ports import Also, Queue, StoreError
from relay.route.plan import Snapshot

diagnostics = structlog.get_logger("relay.dispatch")

# Another process's changes are seen before every attempt; this is for when nothing is attempted.
_LOOK_AROUND_S = 1.0
_CLAIM_AT_ONCE = 50
_MOST_IN_MEMORY = 2000
_SETTLE_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_SETTLE_AT_STOP_S = 5.0


class Dispatcher:
    def __init__(
        self,
        config: Config,
        snapshot: Snapshot,
        queue: Queue,
        deliverer: Deliverer,
        budget: Budget,
        watchman: Watchman,
    ) -> None:
        self._queue = queue
        self._deliverer = deliverer
        self._budget = budget
        self.situation = Situation(config, snapshot, queue, watchman, self._way_changed)
        self._lanes = {name: Lane(u.limits.connections) for name, u in config.upstreams.items()}
        # Messages without any way are looked at one by one, each on its own schedule.
        self._no_way = Lane(1)
        packer = Packer(config, queue, deliverer, budget)
        self._means = Means(self.situation, queue, packer, self._lanes.__getitem__, self._store)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unused: list[str] = []
        self._any_parked = True
        self._wake = asyncio.Event()
        self._next_due: float | None = None
        self._left_in_store = True
        self._loop_task: asyncio.Task[None] | None = None

    # -- the life of the dispatcher

    async def start(self) -> None:
        await self.situation.begin()
        self._loop_task = asyncio.create_task(self._run(), name="dispatch")

    async def stop(self, timeout: float) -> None:
        """Nothing new is tried; what is under way has ``timeout`` seconds, then it is cut, and
        settled as what it then is: relayed, deferred, or of unknown outcome."""
        self.situation.stopping = True
        if self._loop_task:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        for lane in self._all_lanes():
            lane.close()
        await self._wait_for_tasks(timeout)
        self._deliverer.abort()
        await self._wait_for_tasks(_SETTLE_AT_STOP_S)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._unused:
            try:
                await self._queue.release(self._unused)
            except StoreError as error:
                # The next start ends all claims anyway.
                diagnostics.warning("can't release claims", error=str(error))

    async def _wait_for_tasks(self, timeout: float) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=timeout)

    async def admit(
        self, message: Message, event: Event, acknowledgement: Acknowledgement | None = None
    ) -> None:
        """Commit a new message, and begin with it at once if there is room. Raises StoreError."""
        lane = self._lane_of(message)
        claimed = self._goes_at_once(message, lane)
        message = replace(
            message, attempt=int(claimed), expires_at=self.situation.expiry_of(message)
        )
        if claimed:
            lane.enter(message.tenant)
        try:
            await self._queue.add(message, claimed=claimed, events=(event,))
        except BaseException:
            if claimed:
                lane.leave(message.tenant)
            raise
        if claimed:
            self._take(message, lane, acknowledgement)
            return
        lane.behind.add(message.tenant)
        self.wake()
        if acknowledgement:
            acknowledgement.over()

    def _lane_of(self, message: Message) -> Lane:
        """The lane of its first route, by which it is counted."""
        upstream = self.situation.plan(message).routes[0].upstream
        return self._lanes[upstream] if upstream else self._no_way

    def _goes_at_once(self, message: Message, lane: Lane) -> bool:
        """What is new doesn't overtake its tenant's mail that waits in the store, unless it is of
        high priority; nor does it come where there is no room, or where its way is closed."""
        if self.situation.stopping or self._room(lane, message.tenant, message.priority) <= 0:
            return False
        if message.priority > 0 and message.tenant in lane.behind:
            return False
        if not self.situation.pauses:
            return True
        return any(
            self.situation.closed_until(upstream, message.tenant, message.reverse_path) is None
            for upstream in self.situation.upstreams_of(message.tenant)
        )

    def wake(self) -> None:
        """There is something new in the store."""
        self._left_in_store = True
        self._wake.set()

    # -- the loop: claims from the store

    async def _run(self) -> None:
        while True:
            wait_s = _LOOK_AROUND_S
            try:
                await self._keep_time()
                wait_s = await self._claim_what_is_due()
            except StoreError as error:
                diagnostics.warning("can't claim, trying again", error=str(error))
                self._left_in_store = True
            except Exception:
                diagnostics.exception("claiming failed, trying again")
                self._left_in_store = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            self.situation.refresh()

    async def _keep_time(self) -> None:
        """What becomes due by time alone: the ends of pauses, and of messages that are too old."""
        await self.situation.sweep()
        if not self._any_parked:
            return
        self._any_parked = False
        await self._queue.unpark(time.time())

    async def _claim_what_is_due(self) -> float:
        """One round: every tenant in turn, as far as its lanes have room. Seconds until the
        next."""
        now = time.time()
        if self.situation.pauses or (self._next_due is not None and self._next_due <= now):
            self._left_in_store = True
        await self._claim_expired(now)
        if not self._left_in_store:
            return self._pause(now)
        # Reset before the store is asked: what is settled meanwhile sets them again.
        self._left_in_store, self._next_due = False, None
        due = await self._queue.due(now)
        self._note_due(due.next_at)
        for lane in self._all_lanes():
            lane.behind.clear()
        for tenant in due.tenants:
            # What goes another way than usual (a class, a pilot) need not wait behind the backlog.
            self._lanes_of(tenant)[0].behind.add(tenant)
        claimed_any = False
        for tenant in due.tenants:
            claimed_any |= await self._claim_of(tenant, now)
        if due.tenants:
            # Whether there is more, or there was no room: the next round will tell.
            self._left_in_store = True
        return 0.0 if claimed_any else self._pause(now)

    async def _claim_of(self, tenant: str, now: float) -> bool:
        """Some of what the tenant has due, if any of its ways is open and has room; of a way that
        is to be probed, one message."""
        limit = _CLAIM_AT_ONCE
        if self.situation.pauses:
            limit = self._limit_behind_pauses(tenant, now)
        limit = min(limit, self._room(self._lanes_of(tenant)[0], tenant, 1))
        if limit <= 0:
            return False
        messages = await self._queue.claim(tenant, limit, now)
        for message in messages:
            lane = self._lane_of(message)
            lane.enter(message.tenant)
            self._take(message, lane, None)
        return bool(messages)

    def _lanes_of(self, tenant: str) -> list[Lane]:
        """The usual one first."""
        upstreams = self.situation.upstreams_of(tenant)
        return [self._lanes[upstream] for upstream in upstreams] or [self._no_way]

    def _limit_behind_pauses(self, tenant: str, now: float) -> int:
        pauses, upstreams = self.situation.pauses, self.situation.upstreams_of(tenant)
        if not upstreams:
            return _CLAIM_AT_ONCE
        open_ones = self._open_upstreams(tenant)
        if not open_ones:
            return 0
        probing = all(pauses.probe_is_due(upstream, tenant, now) for upstream in open_ones)
        return 1 if probing else _CLAIM_AT_ONCE

    def _open_upstreams(self, tenant: str) -> list[str]:
        """Those of the tenant that are not closed, for all that one may only be probed."""
        return [
            upstream
            for upstream in self.situation.upstreams_of(tenant)
            if self.situation.closed_until(upstream, tenant, None) is None
        ]

    def _may_claim(self, tenant: str) -> bool:
        return bool(self._open_upstreams(tenant)) or not self.situation.upstreams_of(tenant)

    async def _claim_expired(self, now: float) -> None:
        """Age goes on while a way is closed: what is too old is claimed to be ended."""
        for message in await self._queue.claim_expired(_CLAIM_AT_ONCE, now):
            self._lane_of(message).enter(message.tenant)
            self._take(message, self._lane_of(message), None)

    def _room(self, lane: Lane, tenant: str, priority: int) -> int:
        return lane.room(tenant, len(self._tasks), _MOST_IN_MEMORY, priority=priority)

    def _pause(self, now: float) -> float:
        """Until the next message is due, or the next pause is to be probed."""
        soonest = min(self._next_due or math.inf, self.situation.pauses.next_at(now))
        return min(max(soonest - now, 0.0), _LOOK_AROUND_S)

    def _note_due(self, at: float | None) -> None:
        if at is not None and (self._next_due is None or at < self._next_due):
            self._next_due = at

    def _way_changed(self, closed: Sequence[str] | None) -> None:
        """Whoever stands in line for an upstream that was closed asks its way anew; where a way
        may have opened (a toggle, the end of a pause) so does everybody, and what was parked. The
        same administrator may have made messages due."""
        lanes = self._all_lanes() if closed is None else [self._lanes[name] for name in closed]
        for lane in lanes:
            lane.send_home()
        if closed is None:
            self._any_parked = True
            self.wake()

    def _all_lanes(self) -> tuple[Lane, ...]:
        return (*self._lanes.values(), self._no_way)

    # -- one message

    def _take(self, message: Message, lane: Lane, acknowledgement: Acknowledgement | None) -> None:
        """Begin with a message that is claimed and counted as a member of its lane."""
        held = message.content.size if message.content.chunks is not None else 0
        if held and (self._budget.half_used or not self._budget.try_take(held)):
            message, held = message.without_chunks(), 0
        task = asyncio.create_task(self._attempt(message, acknowledgement))
        self._tasks[message.queue_id] = task
        task.add_done_callback(partial(self._let_go, message, lane, held))

    def _let_go(self, message: Message, lane: Lane, held: int, task: asyncio.Task[None]) -> None:
        self._budget.give(held)
        lane.leave(message.tenant)
        del self._tasks[message.queue_id]
        if self._left_in_store and lane.is_low:
            self._wake.set()
        if not task.cancelled() and task.exception():
            queue_id = message.queue_id
            diagnostics.error("attempt failed", queue_id=queue_id, exc_info=task.exception())

    async def _attempt(self, message: Message, acknowledgement: Acknowledgement | None) -> None:
        attempt = MessageAttempt(self._means, message, acknowledgement)
        try:
            closed_until = await attempt.run()
        except asyncio.CancelledError:
            if not attempt.used:
                self._unused.append(message.queue_id)
            raise
        finally:
            if acknowledgement:
                acknowledgement.over()
        if attempt.used:
            return
        if closed_until is None:
            self._unused.append(message.queue_id)
        else:
            await self._park(message, closed_until)

    async def _park(self, message: Message, until: float) -> None:
        """Nothing could be tried: it counts as no attempt, and comes back when its way opens. To
        its old place, where nothing of its tenant can go; else it would be claimed at once."""
        due = until if self._may_claim(message.tenant) else None
        await self._insist(message.queue_id, lambda: self._queue.release((message.queue_id,), due))
        self._note_due(until)

    async def _store(self, settlement: Settlement, told: Sequence[Event], also: Also) -> None:
        """What was relayed must not be tried again."""
        await self._insist(
            settlement.queue_id, lambda: self._queue.settle((settlement,), told, also)
        )
        if settlement.ending is Ending.WAITS:
            self._note_due(settlement.due)
            if settlement.due - time.time() < _LOOK_AROUND_S:
                self._wake.set()
        if also.messages:
            self.wake()

    async def _insist(self, queue_id: str, store: Callable[[], Awaitable[None]]) -> None:
        """Held and repeated until the store takes it."""
        for wait_s in chain(_SETTLE_AGAIN_S, repeat(_SETTLE_AGAIN_S[-1])):
            try:
                await store()
                return
            except StoreError as error:
                diagnostics.error("can't settle, holding it", queue_id=queue_id, error=str(error))
                await asyncio.sleep(wait_s)
