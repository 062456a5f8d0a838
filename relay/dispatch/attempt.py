"""One attempt at a message: route, ask leave, hand over, settle, for each part of its recipients.

It is asked anew which way those go whose way has changed meanwhile. A message whose ways are all
closed is parked: it goes back to the store until one opens.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import structlog

from relay.dispatch.acknowledgement import Acknowledgement
from relay.dispatch.gate import Closed, Gate
from relay.dispatch.handover import Packer
from relay.dispatch.lane import HIGH_PRIORITY, Turn
from relay.dispatch.lanes import Lanes
from relay.dispatch.outcome import Outcome, Trial
from relay.dispatch.pauses import Ticket
from relay.dispatch.settling import Settler, Store
from relay.dispatch.situation import Situation
from relay.model.causes import Cause, Scope
from relay.model.events import Way
from relay.model.message import Kind, Message, Recipient
from relay.model.ports import Queue
from relay.model.result import Attempt, Deferred
from relay.model.suppression import Source
from relay.model.value import value_class
from relay.route.plan import Plan, Route

diagnostics = structlog.get_logger("relay.dispatch")

# By position of a recipient: until when its way is closed.
ClosedWays = dict[int, float]


@value_class
class Means:
    """What attempts work with."""

    situation: Situation
    queue: Queue
    packer: Packer
    lanes: Lanes
    store: Store


class MessageAttempt:
    """``run`` once. ``used``: something was tried, or settled."""

    def __init__(
        self, means: Means, message: Message, acknowledgement: Acknowledgement | None
    ) -> None:
        self._means = means
        self._situation = means.situation
        self._trial = Trial.of(message)
        self._settler = Settler(
            means.situation, means.queue, means.packer, means.store, self._trial, acknowledgement
        )

    @property
    def used(self) -> bool:
        return bool(self._trial.changed)

    async def run(self) -> float | None:
        """Until when nothing can be tried, where nothing was; the claim is to be returned then.
        What is left untried, if the relay stops or its ways are closed, is due again."""
        trial = self._trial
        closed: ClosedWays = {}
        try:
            await self._classify()
            if trial.untried and self._situation.is_stale(trial.message):
                await self._settler.expire()
            while trial.untried.difference(closed) and not self._situation.stopping:
                await self._leave_out_suppressed()
                closed = await self._round() if trial.untried else {}
            if trial.untried and closed and self._situation.is_too_old(trial.message):
                await self._settler.expire()
        except Exception as error:
            await self._settle_local_error(error, trial.left.recipients)
            return None
        until = min(closed.values(), default=None)
        if trial.untried and trial.changed:
            await self._settler.cut_short(None if self._situation.stopping else until)
        return until if not trial.changed else None

    async def _settle_local_error(
        self, error: Exception, recipients: tuple[Recipient, ...]
    ) -> None:
        """Not the message's fault, nor the upstream's: it waits, and its trail says why."""
        trial = self._trial
        diagnostics.error("attempt failed", queue_id=trial.message.queue_id, exc_info=error)
        detail = f"{type(error).__name__}: {error}"
        trouble = Deferred(Cause.LOCAL_ERROR, Scope.MESSAGE, detail=detail)
        attempt = Attempt((trouble,) * len(recipients), None, None, 0.0)
        outcome = Outcome(Way(None, None), recipients, attempt)
        await self._settler.settle(trial.message.tenant, outcome)

    async def _classify(self) -> None:
        """Anew, where the classes are others than when it was accepted."""
        message = self._trial.message
        if message.classes_key != self._situation.classes_key and message.kind is Kind.MAIL:
            header = await self._means.packer.header_of(message)
            self._trial.message = self._situation.classified(message, header)
            await self._means.queue.reclassify(self._trial.message)

    async def _leave_out_suppressed(self) -> None:
        suppressed = self._suppressed(self._trial.left.pending)
        if suppressed:
            await self._settler.suppress(suppressed)

    def _suppressed(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        """Those who are on the list, as far as it holds for this message."""
        message = self._trial.message
        if message.kind is not Kind.MAIL or self._situation.ignores_suppression(message):
            return []
        found = self._means.queue.suppressed(message.tenant, [r.address for r in recipients])
        if not found:
            return []
        if message.priority == HIGH_PRIORITY:
            found = {a: s for a, s in found.items() if s.source is not Source.AUTOMATIC}
        return [recipient for recipient in recipients if recipient.address in found]

    async def _round(self) -> ClosedWays:
        """Every route of the present plan once. Where one is closed but there is another by now
        (a failover, while a probe is under way), nothing is: it is to be planned anew."""
        planned = self._situation.plan(self._trial.left)
        closed = await self._along_all(planned)
        if closed and self._situation.plan(self._trial.left).routes != planned.routes:
            return {}
        return closed

    async def _along_all(self, planned: Plan) -> ClosedWays:
        generation = self._situation.snapshot.generation
        if len(planned.routes) == 1:
            return await self._along_one(planned, planned.routes[0], generation)
        closed: ClosedWays = {}
        for one in await asyncio.gather(
            *(self._along_one(planned, route, generation) for route in planned.routes)
        ):
            closed |= one
        return closed

    async def _along_one(self, planned: Plan, route: Route, generation: int) -> ClosedWays:
        """What goes wrong on one way must not cut another, which may be behind its final dot."""
        try:
            return await self._along(planned, route, generation)
        except Exception as error:
            untried = tuple(r for r in route.recipients if r.position in self._trial.untried)
            if untried:
                await self._settle_local_error(error, untried)
            return {}

    async def _along(self, planned: Plan, route: Route, generation: int) -> ClosedWays:
        """Hand over to all recipients of a route, at most as many at once as the upstream takes,
        each handover settled before the next. Stops short where the way changes, or closes."""
        if route.upstream is None:
            await self._settler.settle(planned.tenant, _no_route(route))
            self._settler.note_no_route()
            return {}
        if self._situation.snapshot.generation != generation:
            return {}
        # The null sender is a sender, and not the whole way.
        sender = self._trial.message.reverse_path or "<>"
        gate = Gate(self._situation, planned.tenant, route, sender)
        left = route.recipients
        while left and not self._situation.stopping:
            if self._situation.snapshot.generation != generation:
                return {}
            most = gate.most_recipients
            some = left[:most]
            part = route if some == route.recipients else replace(route, recipients=some)
            closed = await self._hand_over(planned.tenant, part, gate, generation)
            if closed:
                return dict.fromkeys((r.position for r in left), closed.until)
            if left[0].position in self._trial.untried:
                return {}
            left = left[most:]
        return {}

    async def _hand_over(
        self, tenant: str, route: Route, gate: Gate, generation: int
    ) -> Closed | None:
        """One handover in the upstream's lane, settled. Nothing is done where the plan no longer
        holds, or the connection was lost to another message."""
        assert route.upstream is not None
        closed = gate.closed()
        if closed:
            return closed
        lane = self._means.lanes[route.upstream]
        turn = await lane.acquire(tenant, self._trial.message.priority)
        if turn is None:
            return None
        try:
            may_go = await gate.wait(lane, len(route.recipients))
            if isinstance(may_go, Closed):
                return may_go
            # Toggled meanwhile? It is asked before every attempt, with nothing to wait for between.
            self._situation.refresh()
            if not may_go or self._situation.snapshot.generation != generation:
                return None
            if self._suppressed(route.recipients):
                return None
            leave = gate.enter()
            if not isinstance(leave, Ticket):
                return leave
            with self._situation.under_way.handover():
                outcome = await self._tried(route, gate, leave, turn)
        finally:
            turn.pass_on()
        if outcome is None:
            return None
        spent = gate.spent(len(route.recipients)) if outcome.attempt.remote_mta else ()
        await self._settler.settle(tenant, outcome, spent)
        return None

    async def _tried(self, route: Route, gate: Gate, ticket: Ticket, turn: Turn) -> Outcome | None:
        message, recipients = self._trial.message, route.recipients
        gate.spend(len(recipients))
        attempt = None
        try:
            attempt = await self._means.packer.hand_over(message, route, recipients, turn)
        finally:
            if attempt is None or attempt.remote_mta is None:
                gate.spend(-len(recipients))
            if attempt is None:
                self._situation.pauses.give_back(ticket)
        if attempt is None:
            return None
        way = Way(route.upstream, route.kind, message.message_class or None)
        return Outcome(way, recipients, attempt, await self._note(route, gate, ticket, attempt))

    async def _note(
        self, route: Route, gate: Gate, ticket: Ticket, attempt: Attempt
    ) -> float | None:
        """What it says about its way; until when that is closed now, if it is. Nothing that goes
        wrong here may lose what became of the recipients."""
        if self._situation.stopping and attempt.remote_mta is not None:
            # Perhaps we have cut it ourselves: that is nobody's failure.
            self._situation.pauses.give_back(ticket)
            return time.time()
        try:
            await self._situation.note_attempt(ticket, self._trial.message, attempt)
            closed = gate.closed()
            return self._next_chance(route, closed) if closed else None
        except Exception:
            diagnostics.exception("pauses failed", queue_id=self._trial.message.queue_id)
            return None

    def _next_chance(self, route: Route, closed: Closed) -> float:
        """When the recipients of a way that is closed now can be tried again: at once if there is
        another."""
        left = replace(self._trial.message, recipients=route.recipients)
        others = [r.upstream for r in self._situation.plan(left).routes]
        return closed.until if route.upstream in others else time.time()


def _no_route(route: Route) -> Outcome:
    trouble = Deferred(Cause.NO_ROUTE, Scope.TENANT)
    attempt = Attempt((trouble,) * len(route.recipients), None, None, 0.0)
    return Outcome(Way(None, route.kind), route.recipients, attempt)
