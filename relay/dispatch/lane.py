"""A lane for each upstream: as many handovers at once as it may have connections, the others in
line: by priority, and among equals tenant by tenant. A dead upstream fills its own lane and no
other; a tenant with a large backlog delays nobody else's mail.
"""

import asyncio
import heapq
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

HIGH_PRIORITY = 0
# How many messages may stand in line in memory, for each connection: enough to keep it busy while
# the next are claimed from the store.
_IN_LINE_PER_CONNECTION = 8
_IN_LINE_AT_LEAST = 64
# Room that a lane has even while the other lanes have filled the memory between them, that each
# tenant has in a lane that others have filled, and that mail of high priority has beside all that.
_SHARE_OF_ITS_OWN = 8


@dataclass(slots=True, order=True)
class _Waiter:
    priority: int
    tag: int
    order: int
    turn: asyncio.Future[bool] = field(compare=False)


@dataclass(slots=True, eq=False)
class Turn:
    """One's turn in a lane, until it is passed on."""

    _lane: "Lane"
    _held: bool = True

    def pass_on(self) -> None:
        """To the first in line; harmless when repeated."""
        if self._held:
            self._held = False
            self._lane.release()

    def kept(self) -> "Turn":
        """The same turn in other hands: this one has nothing to pass on any more."""
        held, self._held = self._held, False
        return Turn(self._lane, held)


class Lane:
    """``acquire`` a turn before a handover, ``pass_on`` that after; ``enter`` it with each message
    that is taken into memory for it, ``leave`` it after.

    ``behind`` are the tenants of whose mail the store may hold more, which must not be overtaken
    by what is new.
    """

    def __init__(self, connections: int) -> None:
        self._connections = self._free = connections
        self._most_in_line = _most_in_line(connections)
        self._line: list[_Waiter] = []
        self._order = count()
        self._closed = False
        self._now = 0  # the tag of the latest turn: start-time fair queueing (Goyal et al., 1996)
        self._last_tag: dict[str, int] = {}
        self._delayed: set[asyncio.Future[bool]] = set()
        self._members: Counter[str] = Counter()
        self.members = 0
        self.behind: set[str] = set()

    def room(self, tenant: str, in_memory: int, most_in_memory: int, *, priority: int = 1) -> int:
        """How many more of the tenant's messages may be taken into memory for this lane."""
        high_share = _SHARE_OF_ITS_OWN if priority == HIGH_PRIORITY else 0
        room = self._most_in_line + high_share - self.members
        own_share = _SHARE_OF_ITS_OWN + high_share - self._members[tenant]
        return min(max(room, own_share), max(most_in_memory - in_memory, own_share))

    def enter(self, tenant: str) -> None:
        self.members += 1
        self._members[tenant] += 1

    def leave(self, tenant: str) -> None:
        self.members -= 1
        self._members[tenant] -= 1
        if not self._members[tenant]:
            del self._members[tenant]
            self._last_tag.pop(tenant, None)

    @property
    def is_low(self) -> bool:
        """Time to claim more for it."""
        return self.members * 2 <= self._most_in_line

    async def acquire(self, tenant: str, priority: int) -> Turn | None:
        """When it is one's turn; None where one is sent home instead, to ask anew."""
        if self._closed:
            return None
        if self._free > 0:
            self._free -= 1
            return Turn(self)
        tag = self._last_tag[tenant] = max(self._now, self._last_tag.get(tenant, 0)) + 1
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, _Waiter(priority, tag, next(self._order), turn))
        try:
            return Turn(self) if await turn else None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.release()
            raise

    def resize(self, connections: int) -> None:
        """As many at once from now on; whoever has a turn keeps it."""
        more, self._connections = connections - self._connections, connections
        self._most_in_line = _most_in_line(connections)
        self._free += min(more, 0)
        for _ in range(more):
            self.release()

    def release(self) -> None:
        """Hands the turn to the first in line."""
        if self._free < 0:
            self._free += 1
            return
        while self._line:
            waiter = heapq.heappop(self._line)
            if not waiter.turn.done():
                self._now = max(self._now, waiter.tag)
                waiter.turn.set_result(True)
                return
        self._free += 1

    async def delay(self, seconds: float) -> bool:
        """Waits with one's turn in hand, for a rate to allow it; False where one is sent home."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(seconds, _resolve, waiting)
        self._delayed.add(waiting)
        try:
            return not self._closed and await waiting
        finally:
            timer.cancel()
            self._delayed.discard(waiting)

    def send_home(self) -> None:
        """Whoever stands in line asks its way anew; those who have a turn keep it."""
        for waiting in (*(waiter.turn for waiter in self._line), *self._delayed):
            if not waiting.done():
                waiting.set_result(False)
        self._line = []

    def close(self) -> None:
        """No more turns, for anybody."""
        self._closed = True
        self.send_home()


def _most_in_line(connections: int) -> int:
    return max(_IN_LINE_AT_LEAST, _IN_LINE_PER_CONNECTION * connections)


def _resolve(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(True)
