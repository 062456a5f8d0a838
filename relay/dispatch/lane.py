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


@dataclass(slots=True, order=True)
class _Waiter:
    priority: int
    order: int
    turn: asyncio.Future[None] = field(compare=False)


class Lane:
    """``acquire`` a turn before a handover, ``release`` it after."""

    def __init__(self, connections: int) -> None:
        self._free = connections
        self._most_in_line = max(_IN_LINE_AT_LEAST, _IN_LINE_PER_CONNECTION * connections)
        self._line: list[_Waiter] = []
        self._order = count()
        self._closed = False
        self.members = 0

    @property
    def room(self) -> int:
        """How many more messages may be taken into memory for this lane."""
        return self._most_in_line - self.members

    @property
    def is_low(self) -> bool:
        """Time to claim more for it."""
        return self.members * 2 <= self._most_in_line

    async def acquire(self, priority: int) -> bool:
        """True when it is one's turn; False where the lane closes instead."""
        if self._closed:
            return False
        if self._free > 0:
            self._free -= 1
            return True
        waiter = _Waiter(priority, next(self._order), asyncio.get_running_loop().create_future())
        heapq.heappush(self._line, waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.release()
            raise
        if self._closed:
            self.release()
            return False
        return True

    def close(self) -> None:
        """Whoever stands in line goes without a turn; those who have one keep it."""
        self._closed = True
        for waiter in self._line:
            if not waiter.turn.done():
                waiter.turn.set_result(None)
                self._free -= 1
        self._line = []

    def release(self) -> None:
        """Hands the turn to the first in line."""
        while self._line:
            waiter = heapq.heappop(self._line)
            if not waiter.turn.done():
                waiter.turn.set_result(None)
                return
        self._free += 1
