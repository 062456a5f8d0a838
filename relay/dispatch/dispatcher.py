"""Claim, route, deliver, settle. One task for each message in memory, a lane for each upstream.

A new message is committed as already claimed and goes straight to its lane while there is room in
memory; the store is read only for what did not fit, what was deferred, and what a former life left
behind.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

import structlog

from relay.config.schema import Config
from relay.deliver.pool import Deliverer
from relay.deliver.transaction import Handover
from relay.dispatch.lane import Lane
from relay.dispatch.outcome import Outcome, settled
from relay.model.budget import Budget
from relay.model.causes import Cause, Scope
from relay.model.events import Event, Way
from relay.model.message import Message, Recipient, Settlement
from relay.model.ports import Queue, StoreError
from relay.model.result import Attempt, Deferred
from relay.route.identity import Identity, changes_header, header_under, reverse_path_under
from relay.route.plan import Plan, Route, Snapshot, plan, upstream_of_tenant

diagnostics = structlog.get_logger("relay.dispatch")

# Another process's changes are seen before every attempt; this is for when nothing is attempted.
_LOOK_AROUND_S = 1.0
_CLAIM_AT_ONCE = 50
_MOST_IN_MEMORY = 2000
_SETTLE_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_READ_AT_MOST_BYTES = 1 << 20


class Dispatcher:
    def __init__(
        self, config: Config, snapshot: Snapshot, queue: Queue, deliverer: Deliverer, budget: Budget
    ) -> None:
        self._config = config
        self._snapshot = snapshot
        self._queue = queue
        self._deliverer = deliverer
        self._budget = budget
        self._schedule = config.retry.schedule
        self._lanes = {name: Lane(u.limits.connections) for name, u in config.upstreams.items()}
        # Messages without any way are looked at one by one, each on its own schedule.
        self._no_way = Lane(1)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unused: list[str] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._next_due: float | None = None
        self._left_in_store = True
        self._loop_task: asyncio.Task[None] | None = None

    # -- the life of the dispatcher

    def start(self) -> None:
        self._refresh()
        self._loop_task = asyncio.create_task(self._run(), name="dispatch")

    async def stop(self, timeout: float) -> None:
        """Nothing new is tried; what is under way has ``timeout`` seconds to be settled."""
        self._stopping = True
        if self._loop_task:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        for lane in (*self._lanes.values(), self._no_way):
            lane.close()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._unused:
            await self._queue.release(self._unused)

    async def admit(self, message: Message, event: Event) -> None:
        """Commit a new message, and begin with it at once if there is room. Raises StoreError."""
        planned = plan(self._snapshot, message)
        lane = self._lane(planned.routes[0].upstream)
        claimed = not self._stopping and lane.room > 0 and len(self._tasks) < _MOST_IN_MEMORY
        await self._queue.add(message, claimed=claimed, events=(event,))
        if claimed:
            self._take(message, lane)
        else:
            self._left_in_store = True
            self._wake.set()

    # -- the loop: claims from the store

    async def _run(self) -> None:
        while True:
            wait_s = _LOOK_AROUND_S
            try:
                wait_s = await self._claim_what_is_due()
            except StoreError as error:
                diagnostics.warning("can't claim, trying again", error=str(error))
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._refresh()

    async def _claim_what_is_due(self) -> float:
        """One round: every tenant in turn, as far as its lane has room. Seconds until the next."""
        now = time.time()
        if self._next_due is not None and self._next_due <= now:
            self._left_in_store = True
        if not self._left_in_store:
            return self._pause(now)
        self._left_in_store = False
        due = await self._queue.due(now)
        self._next_due = due.next_at
        for tenant in due.tenants:
            lane = self._lane(upstream_of_tenant(self._snapshot, tenant))
            limit = min(_CLAIM_AT_ONCE, lane.room, _MOST_IN_MEMORY - len(self._tasks))
            if limit > 0:
                for message in await self._queue.claim(tenant, limit, now):
                    self._take(message, lane)
            # Whether it has more, or had no room: the next round will tell.
            self._left_in_store = True
        if due.tenants and self._any_room(due.tenants):
            return 0.0
        return self._pause(now)

    def _any_room(self, tenants: Sequence[str]) -> bool:
        if len(self._tasks) >= _MOST_IN_MEMORY:
            return False
        return any(
            self._lane(upstream_of_tenant(self._snapshot, tenant)).room > 0 for tenant in tenants
        )

    def _pause(self, now: float) -> float:
        if self._next_due is None:
            return _LOOK_AROUND_S
        return min(max(self._next_due - now, 0.0), _LOOK_AROUND_S)

    def _refresh(self) -> bool:
        """Take in what an administrator has changed; True if anything was."""
        try:
            toggles = self._queue.toggles()
        except StoreError as error:
            diagnostics.warning("can't read the toggles", error=str(error))
            return False
        if toggles is None:
            return False
        self._snapshot = self._snapshot.with_toggles(toggles)
        # The same administrator may have made messages due.
        self._left_in_store = True
        self._wake.set()
        return True

    def _lane(self, upstream: str | None) -> Lane:
        return self._lanes[upstream] if upstream else self._no_way

    # -- one message

    def _take(self, message: Message, lane: Lane) -> None:
        held = message.content.size if message.content.chunks is not None else 0
        if held and (self._budget.half_used or not self._budget.try_take(held)):
            message, held = message.without_chunks(), 0
        lane.members += 1
        task = asyncio.create_task(self._attempt(message))
        self._tasks[message.queue_id] = task
        task.add_done_callback(partial(self._let_go, message.queue_id, lane, held))

    def _let_go(self, queue_id: str, lane: Lane, held: int, task: asyncio.Task[None]) -> None:
        self._budget.give(held)
        lane.members -= 1
        del self._tasks[queue_id]
        if self._left_in_store and lane.is_low:
            self._wake.set()
        if not task.cancelled() and task.exception():
            diagnostics.error("attempt failed", queue_id=queue_id, exc_info=task.exception())

    async def _attempt(self, message: Message) -> None:
        """Route, deliver, settle: asked anew for whoever's way has changed meanwhile."""
        outcomes: list[Outcome] = []
        left = message
        while True:
            planned = plan(self._snapshot, left)
            news = await self._along_all(message, planned)
            outcomes += news
            done = {r.position for outcome in news for r in outcome.recipients}
            waiting = tuple(r for r in left.pending if r.position not in done)
            if not waiting or self._stopping:
                break
            left = replace(left, recipients=waiting)
        if outcomes:
            await self._settle(message, planned.tenant, outcomes)
        else:
            self._unused.append(message.queue_id)

    async def _along_all(self, message: Message, planned: Plan) -> list[Outcome]:
        if len(planned.routes) == 1:
            return await self._along(message, planned.routes[0])
        ways = await asyncio.gather(*(self._along(message, route) for route in planned.routes))
        return [outcome for way in ways for outcome in way]

    async def _along(self, message: Message, route: Route) -> list[Outcome]:
        """Hand over to all recipients of a route, at most ``limits.recipients`` at once. Stops
        short where the way changes or the relay stops; the others have no outcome."""
        if route.upstream is None:
            return [_no_route(route)]
        lane = self._lanes[route.upstream]
        most = self._config.upstreams[route.upstream].limits.recipients
        outcomes = []
        for start in range(0, len(route.recipients), most):
            recipients = route.recipients[start : start + most]
            generation = self._snapshot.generation
            if not await lane.acquire(message.priority):
                break
            try:
                # Toggled meanwhile? It is asked before every attempt, and so is the way.
                self._refresh()
                if self._snapshot.generation != generation:
                    break
                attempt = await self._hand_over(message, route, recipients)
            finally:
                lane.release()
            outcomes.append(Outcome(Way(route.upstream, route.kind), recipients, attempt))
        return outcomes

    async def _hand_over(
        self, message: Message, route: Route, recipients: tuple[Recipient, ...]
    ) -> Attempt:
        assert route.upstream is not None
        sender = reverse_path_under(route.identity, message.reverse_path)
        null_sender = self._config.upstreams[route.upstream].null_sender
        if not sender and null_sender != "keep":
            sender = null_sender
        handover = Handover(
            reverse_path=sender,
            recipients=tuple(recipient.address for recipient in recipients),
            size=message.content.size,
            body_8bit=message.body_8bit,
            smtputf8=message.smtputf8,
            content=partial(self._octets, message, route.identity),
        )
        return await self._deliverer.hand_over(route.upstream, handover)

    async def _octets(self, message: Message, identity: Identity | None) -> AsyncIterator[bytes]:
        """The content in wire form, its header section under the identity."""
        content = message.content
        held = 0 if content.chunks is not None else min(content.size, _READ_AT_MOST_BYTES)
        await self._budget.take(held)
        try:
            pieces = self._queue.read(message.queue_id, content)
            if changes_header(identity, message.header_from):
                assert identity is not None
                pieces = _with_header_under(identity, content.header_size, pieces)
            async for piece in pieces:
                yield piece
        finally:
            self._budget.give(held)

    async def _settle(self, message: Message, tenant: str, outcomes: Sequence[Outcome]) -> None:
        """Held and repeated until the store takes it: what was relayed must not be tried again."""
        settlement, told = settled(
            message,
            tenant,
            outcomes,
            self._schedule,
            now=time.time(),
            chance=random.random(),  # noqa: S311 - jitter, no secret
        )
        await self._store(settlement, told)
        if settlement.ending == "waits":
            due = settlement.due
            self._next_due = due if self._next_due is None else min(self._next_due, due)
            if due - time.time() < _LOOK_AROUND_S:
                self._wake.set()

    async def _store(self, settlement: Settlement, told: Sequence[Event]) -> None:
        tries = 0
        while True:
            try:
                await self._queue.settle((settlement,), told)
                return
            except StoreError as error:
                wait_s = _SETTLE_AGAIN_S[min(tries, len(_SETTLE_AGAIN_S) - 1)]
                tries += 1
                diagnostics.error(
                    "can't settle, holding it", queue_id=settlement.queue_id, error=str(error)
                )
                await asyncio.sleep(wait_s)


def _no_route(route: Route) -> Outcome:
    trouble = Deferred(Cause.NO_ROUTE, Scope.TENANT)
    attempt = Attempt((trouble,) * len(route.recipients), None, None, 0.0)
    return Outcome(Way(None, route.kind), route.recipients, attempt)


async def _with_header_under(
    identity: Identity, header_size: int, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Gathers the header section, edits it, and lets the body pass."""
    head = b""
    async for piece in pieces:
        head += piece
        if len(head) >= header_size:
            yield header_under(identity, head[:header_size]) + head[header_size:]
            break
    async for piece in pieces:
        yield piece
