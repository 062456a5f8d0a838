"""Whether a handover may go now: pauses first, then rates. Short waits are waited for in the lane;
for a quota the way is closed until its window opens.
"""

import time
from collections.abc import Sequence

from relay.dispatch import rates
from relay.dispatch.lane import Lane
from relay.dispatch.pauses import Ticket
from relay.dispatch.rates import Subject
from relay.dispatch.situation import Situation
from relay.model.causes import Cause
from relay.model.pause import Held
from relay.model.ports import Spent
from relay.model.value import value_class
from relay.route.plan import Route

_LONGEST_WITH_TURN_S = 1.0


@value_class
class Closed:
    """Not before ``until``, in Unix seconds."""

    until: float


class Gate:
    """Of one route, for one message's sender."""

    def __init__(self, situation: Situation, tenant: str, route: Route, sender: str) -> None:
        assert route.upstream is not None
        self._situation = situation
        self._tenant = tenant
        self._sender = sender
        self._upstream = route.upstream
        self._most = situation.config.upstreams[route.upstream].limits.recipients
        self._subjects: Sequence[Subject] = situation.rates.subjects(
            route.upstream, tenant, by_default=route.kind == "default"
        )

    @property
    def most_recipients(self) -> int:
        """More at once would break a limit by themselves."""
        most = self._most
        for subject in self._subjects:
            most = min(most, subject.most_recipients or most)
        return most

    def closed(self) -> Closed | None:
        if not self._situation.pauses:
            return None
        until = self._situation.closed_until(self._upstream, self._tenant, self._sender)
        return None if until is None else Closed(until)

    async def wait(self, lane: Lane, recipients: int) -> Closed | bool:
        """With one's turn in the lane: True when the rates allow so many; False where one is sent
        home."""
        while self._subjects:
            now = time.time()
            wait = rates.longest_wait(self._subjects, recipients, now)
            if wait is None:
                break
            if wait.limit.is_quota:
                return await self._close_for(wait)
            own = wait.subject == self._upstream
            if not own or wait.until - now > _LONGEST_WITH_TURN_S:
                # Others are not to wait for one tenant's rate; nor is what is of high priority to
                # stand behind turns that are held for the next window.
                held = Held(self._upstream, "" if own else self._tenant)
                self._situation.pauses.rest(held, wait.until)
                return Closed(wait.until)
            if not await lane.delay(wait.until - now):
                return False
        return True

    def enter(self) -> Ticket | Closed | None:
        """Leave to hand over, or until when there is none."""
        now = time.time()
        ticket = self._situation.pauses.ticket(self._upstream, self._tenant, self._sender, now)
        return ticket or self.closed()

    def spend(self, recipients: int) -> None:
        """What goes out counts from its beginning; a negative number gives back."""
        if self._subjects:
            rates.spend(self._subjects, recipients, time.time())

    def spent(self, recipients: int) -> Sequence[Spent]:
        """What the store has to keep of it."""
        return rates.spent(self._subjects, recipients, time.time()) if self._subjects else ()

    async def _close_for(self, wait: rates.Wait) -> Closed:
        """Told once, as any pause is."""
        own = wait.subject == self._upstream
        held = Held(self._upstream, "" if own else self._tenant)
        setting = f"upstreams.{self._upstream}.limits" if own else "default.per_tenant"
        detail = f"{setting}.{wait.limit.name}: {wait.limit.most:g} are used up"
        change = self._situation.pauses.hold_for_quota(
            held, wait.until, Cause.QUOTA_EXCEEDED, detail, time.time()
        )
        if change:
            await self._situation.carry_out(change)
        return Closed(wait.until)
