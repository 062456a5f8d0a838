"""The octets of content that may be held in memory at once (``limits.memory``).

Whoever holds content has taken its size from the budget first, and gives it back after.
"""

import asyncio
from collections import deque


class Budget:
    """Waiters are served in their order, so that a large one isn't starved by small ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    def configure(self, limit: int) -> None:
        self._limit = limit
        self._serve()

    @property
    def half_used(self) -> bool:
        return self.used * 2 > self._limit

    def try_take(self, size: int) -> bool:
        if self._waiters or self.used + size > self._limit:
            return False
        self.used += size
        return True

    async def take(self, size: int) -> None:
        """Returns when ``size`` is taken. More than the whole budget is let through alone."""
        if self.try_take(size):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, waiter))
        self._serve()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give(size)
            raise

    def give(self, size: int) -> None:
        self.used -= size
        self._serve()

    def _serve(self) -> None:
        while self._waiters:
            size, waiter = self._waiters[0]
            if waiter.cancelled():
                self._waiters.popleft()
                continue
            if self.used and self.used + size > self._limit:
                return
            self._waiters.popleft()
            self.used += size
            waiter.set_result(None)
