"""A lane for each upstream: as many handovers at once as it may have connections, the others in
line by priority. A dead upstream fills its own lane and no other.
"""

import asyncio
import heapq
from dataclasses import dataclass, field
from itertools import count

# How many messages may stand in line in memory, for each connection: enough to keep it busy while
# the next are claimed from the store.
_IN_LINE_PER_CONNECTION = 8
_IN_LINE_AT_LEAST = 64
# Room that a lane has even while the other lanes have filled the memory between them.
_SHARE_OF_ITS_OWN = 8


@dataclass(slots=True, order=True)
class _Waiter:
    priority: int
    order: int
    turn: asyncio.Future[bool] = field(compare=False)


class Lane:
    """``acquire`` a turn before a handover, ``release`` it after.

    ``members`` counts the messages in memory for this lane. ``behind``: the store may hold more
    for it, and what is new must not overtake that.
    """

    def __init__(self, connections: int) -> None:
        self._free = connections
        self._most_in_line = max(_IN_LINE_AT_LEAST, _IN_LINE_PER_CONNECTION * connections)
        self._line: list[_Waiter] = []
        self._order = count()
        self._closed = False
        self.members = 0
        self.behind = False

    def room(self, in_memory: int, most_in_memory: int) -> int:
        """How many more messages may be taken into memory for this lane."""
        room = self._most_in_line - self.members
        own_share = _SHARE_OF_ITS_OWN - self.members
        return min(room, max(most_in_memory - in_memory, own_share))

    @property
    def is_low(self) -> bool:
        """Time to claim more for it."""
        return self.members * 2 <= self._most_in_line

    async def acquire(self, priority: int) -> bool:
        """True when it is one's turn; False where one is sent home instead, to ask anew."""
        if self._closed:
            return False
        if self._free > 0:
            self._free -= 1
            return True
        waiter = _Waiter(priority, next(self._order), asyncio.get_running_loop().create_future())
        heapq.heappush(self._line, waiter)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.result():
                self.release()
            raise

    def release(self) -> None:
        """Hands the turn to the first in line."""
        while self._line:
            waiter = heapq.heappop(self._line)
            if not waiter.turn.done():
                waiter.turn.set_result(True)
                return
        self._free += 1

    def send_home(self) -> None:
        """Whoever stands in line asks its way anew; those who have a turn keep it."""
        for waiter in self._line:
            if not waiter.turn.done():
                waiter.turn.set_result(False)
        self._line = []

    def close(self) -> None:
        """No more turns, for anybody."""
        self._closed = True
        self.send_home()
