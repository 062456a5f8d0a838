"""A costly answer is made once for all who ask, off the loop, and kept in proportion."""

import asyncio
import threading
import time

import pytest

from relay.web.kept import Kept


class Costly:
    """``spends`` so many seconds of the processor."""

    def __init__(self, spends: float) -> None:
        self.made = 0
        self.threads: set[threading.Thread] = set()
        self._spends = spends

    def __call__(self) -> int:
        self.made += 1
        self.threads.add(threading.current_thread())
        until = time.thread_time() + self._spends
        while time.thread_time() < until:
            pass
        return self.made


async def test_those_who_ask_together_share_one() -> None:
    costly = Costly(0.02)
    kept = Kept(lambda: costly)
    assert await asyncio.gather(*(kept.get() for _ in range(50))) == [1] * 50
    assert threading.main_thread() not in costly.threads


async def test_what_was_cheap_is_soon_made_anew_and_what_was_dear_is_kept() -> None:
    cheap, dear = Costly(0), Costly(0.02)
    kept_cheap, kept_dear = Kept(lambda: cheap), Kept(lambda: dear)
    async with asyncio.timeout(10):
        while await kept_cheap.get() < 3:
            assert await kept_dear.get() == 1


async def test_waiting_is_no_cost() -> None:
    calls = iter((0.05, 0.0))
    kept = Kept(lambda: lambda: time.sleep(next(calls)) or time.monotonic())
    first = await kept.get()
    async with asyncio.timeout(2):
        while await kept.get() == first:
            await asyncio.sleep(0.01)


async def test_a_failure_is_told_and_not_kept() -> None:
    answers = iter((ValueError("no"), 7))

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    kept = Kept(lambda: make)
    with pytest.raises(ValueError, match="no"):
        await kept.get()
    assert await kept.get() == 7
