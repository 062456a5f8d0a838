"""Which generation of the administrators' orders each handover under way began with, so that
whoever has toggled a tenant can wait until nothing goes the old way any more.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from relay.model.ports import Queue


class UnderWay:
    """``generation`` is that of the orders that hold for what begins now."""

    def __init__(self, queue: Queue) -> None:
        self.generation = 0
        self._queue = queue
        self._began: Counter[int] = Counter()
        self._reported = 0

    @contextmanager
    def handover(self) -> Iterator[None]:
        generation = self.generation
        self._began[generation] += 1
        try:
            yield
        finally:
            self._began[generation] -= 1
            if not self._began[generation]:
                del self._began[generation]

    async def report(self) -> None:
        """Store how far the orders have been followed, if that is news. Raises StoreError."""
        reached = min(self._began, default=self.generation)
        if reached > self._reported:
            await self._queue.reached(reached)
            self._reported = reached
