"""What follows from an outcome: stored with its events, its DSN and its strikes in one transaction,
then told to whoever has to hear of it.
"""

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from relay.dispatch import notices
from relay.dispatch.acknowledgement import Acknowledgement
from relay.dispatch.handover import Packer
from relay.dispatch.outcome import Outcome, Trial
from relay.dispatch.situation import Situation
from relay.dispatch.strikes import strikes_of
from relay.model import events
from relay.model.causes import Cause
from relay.model.events import Event
from relay.model.message import Ending, Kind, Message, Recipient, Settlement, State
from relay.model.notice import Incident, IncidentKind
from relay.model.ports import NOTHING_MORE, Also, Queue, Spent
from relay.model.result import Relayed
from relay.model.suppression import Strike

diagnostics = structlog.get_logger("relay.dispatch")

# Stores what an attempt came to, however long it takes.
Store = Callable[[Settlement, Sequence[Event], Also], Awaitable[None]]


class Settler:
    """Of one trial. ``acknowledgement``: an application waits for what comes of it."""

    def __init__(
        self,
        situation: Situation,
        queue: Queue,
        packer: Packer,
        store: Store,
        trial: Trial,
        acknowledgement: Acknowledgement | None,
    ) -> None:
        self._situation = situation
        self._queue = queue
        self._packer = packer
        self._store = store
        self._trial = trial
        self._acknowledgement = acknowledgement

    async def settle(self, tenant: str, outcome: Outcome, spent: Sequence[Spent] = ()) -> None:
        trial = self._trial
        refused = self._client_has_heard(outcome)
        settlement, told = trial.settled(
            tenant,
            outcome,
            self._situation.schedule_of(trial.message),
            now=time.time(),
            chance=_chance(),
            refused=refused,
        )
        strikes = strikes_of(self._situation.config, trial.message, outcome)
        await self._keep(settlement, told, spent, strikes)
        if self._acknowledgement and not trial.untried:
            self._acknowledgement.settled(trial.recipients)
        self._note_outcome(settlement, outcome, strikes)

    async def suppress(self, recipients: Sequence[Recipient]) -> None:
        """These are not tried at all."""
        trial = self._trial
        schedule = self._situation.schedule_of(trial.message)
        settlement, told = trial.suppressed(recipients, schedule, now=time.time(), chance=_chance())
        await self._keep(settlement, told, (), ())
        for recipient in recipients:
            self._note(IncidentKind.SUPPRESSED, address=recipient.address)
        if settlement.ending is Ending.DEAD:
            self._note_dead(trial.dead)

    async def expire(self) -> None:
        """Who is left is too old, and not tried any more."""
        settlement, told = self._trial.expired(time.time())
        await self._keep(settlement, told, (), ())
        if settlement.ending is Ending.DEAD:
            self._note_dead(self._trial.dead)

    async def cut_short(self, closed_until: float | None) -> None:
        """Who has not been tried waits for a way, or, None, for the relay's next life."""
        trial = self._trial
        schedule = self._situation.schedule_of(trial.message)
        settlement = trial.cut_short(closed_until, schedule, now=time.time(), chance=_chance())
        await self._store(settlement, (), NOTHING_MORE)

    def note_no_route(self) -> None:
        self._note(IncidentKind.NO_ROUTE, cause=Cause.NO_ROUTE)

    async def _keep(
        self,
        settlement: Settlement,
        told: list[Event],
        spent: Sequence[Spent],
        strikes: Sequence[Strike],
    ) -> None:
        also = NOTHING_MORE
        dsn = await self._dsn() if settlement.ending is Ending.DEAD else None
        if dsn:
            told.append(events.email_dsn_sent(self._trial.message, self._trial.dead, dsn))
        if dsn or spent or strikes:
            also = Also((dsn,) if dsn else (), spent, strikes)
        await self._store(settlement, told, also)

    async def _dsn(self) -> Message | None:
        config, message = self._situation.config, self._trial.message
        if not notices.wants_dsn(config, message):
            return None
        try:
            header = await self._packer.header_of(message)
            return notices.dsn_for(config, message, self._trial.dead, header)
        except Exception:
            # The message's own end must not hang on the report of it.
            diagnostics.exception("no DSN", queue_id=message.queue_id)
            return None

    def _client_has_heard(self, outcome: Outcome) -> bool:
        """Whether an application that still waits has been told of the failure of all."""
        if self._acknowledgement is None or len(self._trial.untried) > len(outcome.recipients):
            return False
        before = [recipient.state for recipient in self._trial.changed.values()]
        if any(state is not State.FAILED for state in before):
            return False
        return self._acknowledgement.refuse(outcome.attempt.results)

    def _note_outcome(
        self, settlement: Settlement, outcome: Outcome, strikes: Sequence[Strike]
    ) -> None:
        message = self._trial.message
        if message.kind is not Kind.MAIL:
            return
        relayed = sum(isinstance(result, Relayed) for result in outcome.attempt.results)
        troubled = len(outcome.recipients) - relayed
        self._situation.watchman.note_attempt(message.tenant, relayed, troubled)
        if settlement.ending is Ending.DEAD:
            self._note_dead(self._trial.dead)
        for strike in strikes:
            if self._queue.suppressed(strike.tenant, [strike.address]):
                self._note(IncidentKind.SUPPRESSED, about_message=False, address=strike.address)

    def _note_dead(self, dead: Sequence[Recipient]) -> None:
        first = dead[0]
        self._note(
            IncidentKind.DEAD_LETTER,
            cause=first.cause,
            upstream=first.upstream,
            detail=str(first.reply or ""),
            recipients=len(dead),
            own_remedy=first.own_remedy,
        )

    def _note(self, kind: IncidentKind, *, about_message: bool = True, **more: Any) -> None:
        message = self._trial.message
        if message.kind is Kind.MAIL:
            queue_id = message.queue_id if about_message else None
            incident = Incident(kind, message.tenant or None, queue_id=queue_id, **more)
            self._situation.watchman.note(incident)


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter, no secret
