"""What was put off under a clock that was ahead is due now, and nothing else is."""

from contract.letters import NOW, message, settlement

from relay.model.message import Ending
from relay.queue.sqlite.store import SqliteStore

_LATEST = NOW + 4000


async def test_only_what_is_due_later_than_any_schedule_says(store: SqliteStore) -> None:
    late, in_time, parked = (message() for _ in range(3))
    for one in (late, in_time, parked):
        await store.add(one, claimed=True, events=())
    await store.settle([settlement(late, Ending.WAITS, due=_LATEST + 1)], [])
    await store.settle([settlement(in_time, Ending.WAITS, due=_LATEST)], [])
    await store.release([parked.queue_id], _LATEST + 1)
    assert await store.hasten(NOW, _LATEST) == 1
    assert await store.hasten(NOW, _LATEST) == 0
    assert [m.queue_id for m in await store.claim("acme", 10, NOW)] == [late.queue_id]
