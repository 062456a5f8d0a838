"""Claim, route, deliver, settle. One task for each message in memory, a lane for each upstream.

A new message is committed as already claimed and goes straight to its lane while there is room in
memory; the store is read only for what did not fit, what was deferred, and what a former life left
behind.
"""

import asyncio
import contextlib
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
from relay.dispatch.outcome import Outcome, Trial
from relay.model.budget import Budget
from relay.model.causes import Cause, Scope
from relay.model.events import Event, Way
from relay.model.message import Ending, Message, Recipient, Settlement
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
_SETTLE_AT_STOP_S = 5.0
_PIECE_BYTES = 256 << 10


class Dispatcher:
    def __init__(
        self,
        config: Config,
        snapshot: Snapshot,
        queue: Queue,
        deliverer: Deliverer,
        budget: Budget,
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
        """Nothing new is tried; what is under way has ``timeout`` seconds, then it is cut, and
        settled as what it then is: relayed, deferred, or of unknown outcome."""
        self._stopping = True
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

    async def admit(self, message: Message, event: Event) -> None:
        """Commit a new message, and begin with it at once if there is room. Raises StoreError."""
        planned = plan(self._snapshot, message)
        lane = self._lane(planned.routes[0].upstream)
        claimed = not self._stopping and not lane.behind and self._room(lane) > 0
        if claimed:
            message = replace(message, attempt=1)
            lane.members += 1
        try:
            await self._queue.add(message, claimed=claimed, events=(event,))
        except BaseException:
            lane.members -= claimed
            raise
        if claimed:
            self._take(message, lane)
        else:
            lane.behind = self._left_in_store = True
            self._wake.set()

    # -- the loop: claims from the store

    async def _run(self) -> None:
        while True:
            wait_s = _LOOK_AROUND_S
            try:
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
            self._refresh()

    async def _claim_what_is_due(self) -> float:
        """One round: every tenant in turn, as far as its lane has room. Seconds until the next."""
        now = time.time()
        if self._next_due is not None and self._next_due <= now:
            self._left_in_store = True
        if not self._left_in_store:
            return self._pause(now)
        # Reset before the store is asked: what is settled meanwhile sets them again.
        self._left_in_store, self._next_due = False, None
        due = await self._queue.due(now)
        self._note_due(due.next_at)
        due_lanes = {
            tenant: self._lane(upstream_of_tenant(self._snapshot, tenant)) for tenant in due.tenants
        }
        for lane in self._all_lanes():
            lane.behind = lane in due_lanes.values()
        for tenant, lane in due_lanes.items():
            limit = min(_CLAIM_AT_ONCE, self._room(lane))
            if limit > 0:
                for message in await self._queue.claim(tenant, limit, now):
                    lane.members += 1
                    self._take(message, lane)
        if not due_lanes:
            return self._pause(now)
        # Whether there is more, or there was no room: the next round will tell.
        self._left_in_store = True
        if any(self._room(lane) > 0 for lane in due_lanes.values()):
            return 0.0
        return self._pause(now)

    def _room(self, lane: Lane) -> int:
        return lane.room(len(self._tasks), _MOST_IN_MEMORY)

    def _pause(self, now: float) -> float:
        if self._next_due is None:
            return _LOOK_AROUND_S
        return min(max(self._next_due - now, 0.0), _LOOK_AROUND_S)

    def _note_due(self, at: float | None) -> None:
        if at is not None and (self._next_due is None or at < self._next_due):
            self._next_due = at

    def _refresh(self) -> None:
        """Take in what an administrator has changed."""
        try:
            toggles = self._queue.toggles()
        except StoreError as error:
            diagnostics.warning("can't read the toggles", error=str(error))
            return
        if toggles is None:
            return
        self._snapshot = self._snapshot.with_toggles(toggles)
        for lane in self._all_lanes():
            lane.send_home()
        # The same administrator may have made messages due.
        self._left_in_store = True
        self._wake.set()

    def _lane(self, upstream: str | None) -> Lane:
        return self._lanes[upstream] if upstream else self._no_way

    def _all_lanes(self) -> tuple[Lane, ...]:
        return (*self._lanes.values(), self._no_way)

    # -- one message

    def _take(self, message: Message, lane: Lane) -> None:
        """Begin with a message that is claimed and counted as a member of its lane."""
        held = message.content.size if message.content.chunks is not None else 0
        if held and (self._budget.half_used or not self._budget.try_take(held)):
            message, held = message.without_chunks(), 0
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
        """Route, deliver, settle; asked anew for those whose way has changed meanwhile."""
        trial = Trial.of(message)
        try:
            while trial.untried and not self._stopping:
                generation = self._snapshot.generation
                planned = plan(self._snapshot, trial.left)
                await self._along_all(trial, planned, generation)
        except asyncio.CancelledError:
            if not trial.changed:
                self._unused.append(message.queue_id)
            raise
        except Exception as error:
            if not isinstance(error, StoreError):
                diagnostics.exception("attempt failed", queue_id=message.queue_id)
            await self._settle(trial, trial.message.tenant, _local_error(trial, error))
            return
        if trial.untried and trial.changed:
            await self._store(trial.cut_short(time.time()), ())
        elif trial.untried:
            self._unused.append(message.queue_id)

    async def _along_all(self, trial: Trial, planned: Plan, generation: int) -> None:
        if len(planned.routes) == 1:
            await self._along(trial, planned.tenant, planned.routes[0], generation)
            return
        async with asyncio.TaskGroup() as ways:
            for route in planned.routes:
                ways.create_task(self._along(trial, planned.tenant, route, generation))

    async def _along(self, trial: Trial, tenant: str, route: Route, generation: int) -> None:
        """Hand over to all recipients of a route, at most ``limits.recipients`` at once, each
        handover settled before the next. Stops short where the way changes or the relay stops."""
        if route.upstream is None:
            await self._settle(trial, tenant, _no_route(route))
            return
        lane = self._lanes[route.upstream]
        most = self._config.upstreams[route.upstream].limits.recipients
        for start in range(0, len(route.recipients), most):
            recipients = route.recipients[start : start + most]
            if not await lane.acquire(trial.message.priority):
                return
            try:
                # Toggled meanwhile? It is asked before every attempt, and so is the way.
                self._refresh()
                if self._snapshot.generation != generation:
                    return
                attempt = await self._hand_over(trial.message, route, recipients)
            finally:
                lane.release()
            outcome = Outcome(Way(route.upstream, route.kind), recipients, attempt)
            await self._settle(trial, tenant, outcome)

    async def _hand_over(
        self, message: Message, route: Route, recipients: tuple[Recipient, ...]
    ) -> Attempt:
        """Content that lies in the store is read before the upstream is asked for anything."""
        content = message.content
        if content.chunks is not None or content.spool is not None:
            return await self._hand_over_readable(message, route, recipients)
        await self._budget.take(content.size)
        try:
            chunks = [piece async for piece in self._queue.read(message.queue_id, content)]
            message = replace(message, content=replace(content, chunks=tuple(chunks)))
            return await self._hand_over_readable(message, route, recipients)
        finally:
            self._budget.give(content.size)

    async def _hand_over_readable(
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
        # Of a spool file one piece is in memory at a time.
        held = _PIECE_BYTES if content.chunks is None else 0
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

    async def _settle(self, trial: Trial, tenant: str, outcome: Outcome) -> None:
        settlement, told = trial.settled(
            tenant,
            outcome,
            self._schedule,
            now=time.time(),
            chance=random.random(),  # noqa: S311 - jitter, no secret
        )
        await self._store(settlement, told)

    async def _store(self, settlement: Settlement, told: Sequence[Event]) -> None:
        """Held and repeated until the store takes it: what was relayed must not be tried again."""
        tries = 0
        while True:
            try:
                await self._queue.settle((settlement,), told)
                break
            except StoreError as error:
                wait_s = _SETTLE_AGAIN_S[min(tries, len(_SETTLE_AGAIN_S) - 1)]
                tries += 1
                diagnostics.error(
                    "can't settle, holding it", queue_id=settlement.queue_id, error=str(error)
                )
                await asyncio.sleep(wait_s)
        if settlement.ending is Ending.WAITS:
            self._note_due(settlement.due)
            if settlement.due - time.time() < _LOOK_AROUND_S:
                self._wake.set()


def _local_error(trial: Trial, error: Exception) -> Outcome:
    """Not the message's fault, nor the upstream's: it waits, and its trail says why."""
    trouble = Deferred(Cause.LOCAL_ERROR, Scope.MESSAGE, detail=f"{type(error).__name__}: {error}")
    recipients = trial.left.recipients
    attempt = Attempt((trouble,) * len(recipients), None, None, 0.0)
    return Outcome(Way(None, None), recipients, attempt)


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
