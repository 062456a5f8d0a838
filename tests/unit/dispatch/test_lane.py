"""Lanes: as many turns as connections, the others in line by priority and tenant by tenant,
nobody's turn is lost."""

import asyncio

from relay.dispatch.lane import Lane


async def served(lane: Lane, line: list[tuple[str, str, int]]) -> list[str]:
    """The order in which those in line (name, tenant, priority) get their turns."""
    order: list[str] = []

    async def wait(name: str, tenant: str, priority: int) -> None:
        assert await lane.acquire(tenant, priority)
        order.append(name)
        lane.release()

    waiting = [asyncio.create_task(wait(*one)) for one in line]
    await asyncio.sleep(0)
    lane.release()
    await asyncio.gather(*waiting)
    return order


async def test_turns_go_by_priority_and_then_in_order() -> None:
    lane = Lane(1)
    assert await lane.acquire("a", 1)
    line = [("normal", "a", 1), ("low", "a", 2), ("second", "a", 1), ("high", "a", 0)]
    assert await served(lane, line) == ["high", "normal", "second", "low"]


async def test_tenants_take_turns_however_many_one_has_in_line() -> None:
    lane = Lane(1)
    assert await lane.acquire("a", 1)
    line = [(f"a{i}", "a", 1) for i in range(5)] + [("b0", "b", 1), ("b1", "b", 1)]
    assert await served(lane, line) == ["a0", "b0", "a1", "b1", "a2", "a3", "a4"]


async def test_who_comes_late_is_not_behind_the_backlog_of_another() -> None:
    lane = Lane(1)
    assert await lane.acquire("a", 1)
    order: list[str] = []

    async def wait(name: str, tenant: str) -> None:
        assert await lane.acquire(tenant, 1)
        order.append(name)

    tasks = [asyncio.create_task(wait(f"a{i}", "a")) for i in range(20)]
    for _ in range(10):
        await asyncio.sleep(0)
        lane.release()
    tasks.append(asyncio.create_task(wait("b", "b")))
    for _ in range(11):
        await asyncio.sleep(0)
        lane.release()
    await asyncio.gather(*tasks)
    assert order.index("b") <= 11


async def test_a_turn_given_to_one_who_left_goes_on() -> None:
    lane = Lane(1)
    await lane.acquire("a", 1)
    leaver = asyncio.create_task(lane.acquire("a", 1))
    stayer = asyncio.create_task(lane.acquire("a", 1))
    await asyncio.sleep(0)
    lane.release()
    leaver.cancel()
    assert await asyncio.wait_for(stayer, 1)


async def test_those_sent_home_ask_anew_and_those_under_way_go_on() -> None:
    lane = Lane(1)
    assert await lane.acquire("a", 1)
    waiting = [asyncio.create_task(lane.acquire("a", 1)) for _ in range(3)]
    delayed = asyncio.create_task(lane.delay(60))
    await asyncio.sleep(0)
    lane.send_home()
    assert await asyncio.gather(*waiting) == [None] * 3
    assert await delayed is False
    lane.release()
    assert await lane.acquire("a", 1)
    assert await lane.delay(0.001)


async def test_a_closed_lane_has_no_turns() -> None:
    lane = Lane(1)
    waiting = [asyncio.create_task(lane.acquire("a", 1)) for _ in range(2)]
    await asyncio.sleep(0)
    lane.close()
    had, sent_home = await asyncio.gather(*waiting)
    assert had
    assert sent_home is None
    assert not await lane.acquire("a", 0)
    assert not await lane.delay(60)
    lane.release()


def test_every_lane_and_every_tenant_has_room_of_its_own() -> None:
    lane = Lane(1)
    assert lane.room("a", 0, 2000) == 64
    assert lane.room("a", 1990, 2000) == 10
    assert lane.room("a", 2000, 2000) == 8
    for _ in range(64):
        lane.enter("a")
    assert lane.room("a", 64, 2000) <= 0
    assert lane.room("a", 64, 2000, priority=0) == 8
    assert lane.room("b", 64, 2000) == 8
    for _ in range(64):
        lane.leave("a")
    assert lane.room("a", 0, 2000) == 64


async def test_a_lane_that_grows_lets_more_go_and_one_that_shrinks_takes_no_turn_away() -> None:
    lane = Lane(1)
    assert await lane.acquire("a", 1)
    waiting = [asyncio.create_task(lane.acquire("a", 1)) for _ in range(3)]
    await asyncio.sleep(0)
    lane.resize(3)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    lane.resize(1)
    for _ in range(2):
        lane.release()
        await asyncio.sleep(0)
        assert not waiting[2].done()
    lane.release()
    assert await waiting[2]
