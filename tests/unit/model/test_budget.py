"""The memory budget: bounded, in order, and nobody waits for ever."""

import asyncio

from relay.model.budget import Budget


async def test_it_bounds_and_serves_in_order() -> None:
    budget = Budget(100)
    await budget.take(80)
    order: list[str] = []

    async def wait(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    large = asyncio.create_task(wait("large", 60))
    await asyncio.sleep(0)
    small = asyncio.create_task(wait("small", 10))
    await asyncio.sleep(0)
    assert budget.used == 80
    assert not budget.try_take(1)  # nobody overtakes
    budget.give(80)
    await asyncio.gather(large, small)
    assert order == ["large", "small"]
    assert budget.used == 70


async def test_more_than_everything_is_let_through_alone() -> None:
    budget = Budget(100)
    await budget.take(500)
    waiting = asyncio.create_task(budget.take(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.give(500)
    await waiting


async def test_who_gives_up_takes_nothing_away() -> None:
    budget = Budget(100)
    await budget.take(100)
    waiting = asyncio.create_task(budget.take(50))
    other = asyncio.create_task(budget.take(50))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    budget.give(100)
    await other
    assert budget.used == 50
