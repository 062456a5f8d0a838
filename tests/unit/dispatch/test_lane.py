"""Lanes: as many turns as connections, the others in line by priority, nobody's turn is lost."""

import asyncio

from relay.dispatch.lane import Lane


async def test_turns_go_by_priority_and_then_in_order() -> None:
    lane = Lane(1)
    assert await lane.acquire(1)
    order: list[str] = []

    async def wait(name: str, priority: int) -> None:
        assert await lane.acquire(priority)
        order.append(name)
        lane.release()

    waiting = [
        asyncio.create_task(wait(name, priority))
        for name, priority in [("normal", 1), ("low", 2), ("second", 1), ("high", 0)]
    ]
    await asyncio.sleep(0)
    lane.release()
    await asyncio.gather(*waiting)
    assert order == ["high", "normal", "second", "low"]


async def test_a_turn_given_to_one_who_left_goes_on() -> None:
    lane = Lane(1)
    await lane.acquire(1)
    leaver = asyncio.create_task(lane.acquire(1))
    stayer = asyncio.create_task(lane.acquire(1))
    await asyncio.sleep(0)
    lane.release()
    leaver.cancel()
    assert await asyncio.wait_for(stayer, 1)


async def test_those_sent_home_ask_anew_and_those_under_way_go_on() -> None:
    lane = Lane(1)
    assert await lane.acquire(1)
    waiting = [asyncio.create_task(lane.acquire(1)) for _ in range(3)]
    await asyncio.sleep(0)
    lane.send_home()
    assert await asyncio.gather(*waiting) == [False] * 3
    lane.release()
    assert await lane.acquire(1)


async def test_a_closed_lane_has_no_turns() -> None:
    lane = Lane(1)
    waiting = [asyncio.create_task(lane.acquire(1)) for _ in range(2)]
    await asyncio.sleep(0)
    lane.close()
    assert await asyncio.gather(*waiting) == [True, False]
    assert not await lane.acquire(0)
    lane.release()


def test_every_lane_has_room_of_its_own_when_memory_is_full() -> None:
    lane = Lane(1)
    assert lane.room(0, 2000) == 64
    assert lane.room(1990, 2000) == 10
    assert lane.room(2000, 2000) == 8
    lane.members = 8
    assert lane.room(2000, 2000) <= 0
