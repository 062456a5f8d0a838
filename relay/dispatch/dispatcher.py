"""The one loop: claim, route, deliver, settle. One task for each message in memory, a lane for each
upstream.

A new message is committed as already claimed and goes straight to its lane while there is room in
memory; the store is read only for what did not fit, what was deferred, and what a former life left
behind. Nothing is claimed that can't be tried.
"""

import asyncio
import contextlib
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
from relay.dispatch.backlog import LOOK_AROUND_S, Backlog
from relay.dispatch.handover import Packer
from relay.dispatch.lane import Lane
from relay.dispatch.lanes import Lanes
from relay.dispatch.pauses import Change
from relay.dispatch.situation import Situation, Watchman
from relay.model.budget import Budget
from relay.model.events import Event
from relay.model.message import Ending, Message, Settlement
from relay.model.ports import Also, Queue, StoreError
from relay.route.plan import Snapshot
from relay.route.tenancy import Tenancy

diagnostics = structlog.get_logger("relay.dispatch")

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
        self._lanes = Lanes(self.situation)
        self._backlog = Backlog(self.situation, queue, self._lanes, self._take)
        packer = Packer(queue, deliverer, budget)
        self._means = Means(self.situation, queue, packer, self._lanes, self._store)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unused: list[str] = []
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    # -- the life of the dispatcher

    async def start(self) -> None:
        await self.situation.begin()
        self._loop_task = asyncio.create_task(self._run(), name="dispatch")

    def configure(self, config: Config, tenancy: Tenancy) -> Change:
        """From the next attempt on; what has become of the pauses is to be carried out."""
        change = self.situation.configure(config, tenancy)
        self._lanes.configure()
        self._way_changed(None)
        return change

    async def _readmit(self) -> None:
        """Mail in the store becomes that of the tenants that its senders have now, by whom it is
        claimed. Raises StoreError."""
        self.situation.is_unsorted = False
        tenancy = self.situation.snapshot.tenancy
        try:
            if await self._queue.readmit(tenancy.identity, tenancy.of):
                self._way_changed(None)
        except BaseException:
            self.situation.is_unsorted = True
            raise

    def hurry(self) -> None:
        """Cuts what is under way, and tries nothing more; ``stop`` is to follow."""
        self.situation.stopping = True
        self._deliverer.abort()

    async def stop(self, timeout: float) -> None:
        """Nothing new is tried; what is under way has ``timeout`` seconds, then it is cut, and
        settled as what it then is: relayed, deferred, or of unknown outcome."""
        self.situation.stopping = True
        if self._loop_task:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        self._lanes.close()
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
        lane = self._lanes.of(message)
        claimed = self._goes_at_once(message, lane)
        message = replace(
            message,
            # As of now: a reload may have come while it arrived.
            tenant=self.situation.tenant_of(message),
            attempt=int(claimed),
            expires_at=self.situation.expiry_of(message),
        )
        if claimed:
            self._lanes.enter(message, lane)
        try:
            await self._queue.add(message, claimed=claimed, events=(event,))
        except BaseException:
            if claimed:
                self._lanes.leave(message, lane)
            raise
        if claimed:
            self._take(message, lane, acknowledgement)
            return
        lane.behind.add(message.tenant)
        self.wake()
        if acknowledgement:
            acknowledgement.over()

    def _goes_at_once(self, message: Message, lane: Lane) -> bool:
        """What is new doesn't overtake its tenant's mail that waits in the store, unless it is of
        high priority; nor does it come where there is no room, or where its way is closed."""
        room = self._lanes.room(lane, message.tenant, message.priority)
        if self.situation.stopping or room <= 0:
            return False
        if message.priority > 0 and message.tenant in lane.behind:
            return False
        if not self.situation.pauses:
            return True
        sender = message.reverse_path or "<>"
        return any(
            self.situation.closed_until(route.upstream, message.tenant, sender) is None
            for route in self.situation.plan(message).routes
            if route.upstream
        )

    def wake(self) -> None:
        """There is something new in the store."""
        self._backlog.left = True
        self._wake.set()

    # -- the loop

    async def _run(self) -> None:
        while True:
            wait_s = LOOK_AROUND_S
            try:
                await self.situation.sweep()
                await self.situation.take_over()
                if self.situation.is_unsorted:
                    await self._readmit()
                wait_s = await self._backlog.claim()
            except StoreError as error:
                diagnostics.warning("can't claim, trying again", error=str(error))
                self._backlog.note_open()
            except Exception:
                diagnostics.exception("claiming failed, trying again")
                self._backlog.note_open()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            self.situation.refresh()

    def _way_changed(self, closed: Sequence[str] | None) -> None:
        """Whoever stands in line for an upstream that was closed asks its way anew; where a way
        may have opened (a toggle, the end of a pause) so does everybody, and what was parked. The
        same administrator may have made messages due."""
        self._lanes.send_home(closed)
        if closed is None:
            self._backlog.note_open()
            self._wake.set()

    # -- one message

    def _take(
        self, message: Message, lane: Lane, acknowledgement: Acknowledgement | None = None
    ) -> None:
        """Begin with a message that is claimed and counted as a member of its lane."""
        held = message.content.size if message.content.chunks is not None else 0
        if held and (self._budget.half_used or not self._budget.try_take(held)):
            message, held = message.without_chunks(), 0
        task = asyncio.create_task(self._attempt(message, acknowledgement))
        self._tasks[message.queue_id] = task
        task.add_done_callback(partial(self._let_go, message, lane, held))

    def _let_go(self, message: Message, lane: Lane, held: int, task: asyncio.Task[None]) -> None:
        self._budget.give(held)
        self._lanes.leave(message, lane)
        del self._tasks[message.queue_id]
        if self._backlog.left and lane.is_low:
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
        if closed_until is not None:
            await self._park(message, closed_until)
        elif self.situation.stopping:
            self._unused.append(message.queue_id)
        else:
            diagnostics.error("nothing to try", queue_id=message.queue_id)
            await self._park(message, time.time() + LOOK_AROUND_S)

    async def _park(self, message: Message, until: float) -> None:
        """Nothing could be tried: it counts as no attempt, and comes back when its way opens. To
        its old place, where nothing of its tenant can go; else it would be claimed at once."""
        due = until if self._backlog.may_claim(message.tenant) else None
        await self._insist(message.queue_id, lambda: self._queue.release((message.queue_id,), due))
        self._backlog.note_due(until)

    async def _store(self, settlement: Settlement, told: Sequence[Event], also: Also) -> None:
        """What was relayed must not be tried again."""
        await self._insist(
            settlement.queue_id, lambda: self._queue.settle((settlement,), told, also)
        )
        if settlement.ending is Ending.WAITS:
            self._backlog.note_due(settlement.due)
            if settlement.due - time.time() < LOOK_AROUND_S:
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
