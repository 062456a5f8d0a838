"""A costly answer, made off the event loop, and kept for a hundred times as long as it took:
whoever asks, and however often, it takes one percent of a processor at most.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_TIMES_AS_LONG = 100


class Kept(Generic[T]):
    """``prepare`` runs on the event loop, and what it returns off it. What that raises is raised to
    whoever asked, and not kept."""

    def __init__(self, prepare: Callable[[], Callable[[], T]]) -> None:
        self._prepare = prepare
        # With the moment (monotonic) up to which it is good.
        self._answer: tuple[T, float] | None = None
        self._asking = asyncio.Lock()

    async def get(self) -> T:
        async with self._asking:
            if self._answer is None or time.monotonic() >= self._answer[1]:
                made, took_s = await asyncio.to_thread(_timed, self._prepare())
                self._answer = made, time.monotonic() + _TIMES_AS_LONG * took_s
            return self._answer[0]


def _timed(make: Callable[[], T]) -> tuple[T, float]:
    """With the processor's time that it took, in seconds."""
    began = time.thread_time()
    made = make()
    return made, time.thread_time() - began
