"""What is held back: the relay's own findings, and what administrators say of upstreams."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, parsed

from relay.model.causes import Cause
from relay.model.events import upstream_paused, upstream_resumed
from relay.model.pause import Held, Pause
from relay.model.ports import Orders
from relay.model.toggle import Toggle
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore

WHOLE = Pause(Held("ses"), NOW, NOW + 30, Cause.AUTHENTICATION_FAILED, "535 gr\xfc\xdfe", 3)
WAY = Pause(Held("ses", "acme"), NOW, NOW + 60, Cause.SENDER_REFUSED, own_remedy="verify it in SES")
SENDER = Pause(Held("ses", "acme", "a@acme.example"), NOW, None, Cause.SENDER_REFUSED)
OTHER = Pause(Held("postmark"), NOW, NOW + 5, Cause.DNS_FAILURE)
ALL = (WHOLE, WAY, SENDER, OTHER)


@pytest.fixture
def administration(store: SqliteStore, backend: SqliteBackend) -> Iterator[Administration]:
    with backend.administration() as administration:
        yield administration


def by_held(*pauses: Pause) -> dict[Held, Pause]:
    return {pause.held: pause for pause in pauses}


def told(backend: SqliteBackend) -> list[tuple[str, str, str | None]]:
    events = parsed(backend.trail(names=["upstream.paused", "upstream.resumed"]))
    return [(event["event"], event["scope"], event["actor"]) for event in events]


# -- the relay's own


async def test_pauses_survive_with_their_events(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    await store.pause(ALL, [], [upstream_paused(pause) for pause in ALL])
    await store.close()
    again = backend.store()
    await again.open()
    assert again.orders() == Orders({}, by_held(*ALL))
    assert len(told(backend)) == 4
    await again.close()


async def test_a_pause_changes_and_ends(store: SqliteStore, backend: SqliteBackend) -> None:
    await store.pause([WHOLE, WAY], [], [])
    remedy = "open the port"
    longer = Pause(Held("ses"), NOW, NOW + 300, Cause.CONNECT_TIMEOUT, "", 4, own_remedy=remedy)
    ended = upstream_resumed(WAY, "relay", "", NOW)
    await store.pause([longer], [WAY.held, OTHER.held], [ended])
    orders = store.orders()
    assert orders is not None
    assert orders.pauses == by_held(longer)
    assert told(backend) == [("upstream.resumed", "tenant", "relay")]


async def test_the_relays_own_pauses_are_no_news_to_it(
    store: SqliteStore, administration: Administration
) -> None:
    store.orders()
    await store.pause([WHOLE], [], [upstream_paused(WHOLE)])
    assert store.orders() is None
    assert administration.pauses() == [WHOLE]
    await store.pause([], [WHOLE.held], [])
    assert store.orders() is None


async def test_a_pause_that_is_being_stored_is_not_taken_for_ended(
    store: SqliteStore, administration: Administration
) -> None:
    """An administrator's toggle came between: the relay would have gone on with the upstream."""
    store.orders()
    await store.pause([OTHER], [], [])
    pausing = asyncio.create_task(store.pause([WHOLE], [OTHER.held], []))
    await asyncio.sleep(0)
    administration.set_toggle(Toggle("acme", False, "", "dana", NOW))
    orders = store.orders()
    assert orders is not None
    assert orders.pauses == by_held(WHOLE)
    assert store.orders() is None, "who asks before every attempt must get to make it"
    await pausing
    orders = store.orders()
    assert orders is not None, "who resumed it meanwhile is heard"
    assert orders.pauses == by_held(WHOLE)
    assert store.orders() is None


# -- an administrator's


async def test_a_running_relay_notices_a_pause_by_hand(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    store.orders()
    await store.pause([replace(WHOLE, own_remedy="another key")], [], [])
    administration.pause_upstream("ses", "dana", "they are moving", None)
    orders = store.orders()
    assert orders is not None
    [pause] = orders.pauses.values()
    assert [pause] == administration.pauses()
    assert (pause.held, pause.until, pause.cause, pause.failures) == (Held("ses"), None, None, 0)
    assert (pause.by_hand, pause.actor, pause.reason) == (True, "dana", "they are moving")
    assert pause.remedy is None
    assert pause.since == pytest.approx(time.time(), abs=10)
    assert store.orders() is None
    assert told(backend) == [("upstream.paused", "upstream", "dana")]


async def test_the_relay_does_not_overrule_a_person(
    store: SqliteStore, administration: Administration
) -> None:
    """It may store a pause, or an end, before it has noticed."""
    administration.pause_upstream("ses", "dana", "moving", time.time() + 100)
    by_hand = administration.pauses()
    await store.pause([WHOLE], [], [])
    await store.pause([], [WHOLE.held], [])
    assert administration.pauses() == by_hand
    administration.pause_upstream("ses", "dana", "moving", time.time() - 1)
    await store.pause([], [WHOLE.held], [])
    assert administration.pauses() == []


async def test_resuming_ends_all_there_is_on_the_upstream(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    await store.pause(ALL, [], [])
    store.orders()
    assert administration.resume_upstream("ses", "dana", "new key") == 3
    orders = store.orders()
    assert orders is not None
    assert orders.pauses == by_held(OTHER)
    assert told(backend) == [
        ("upstream.resumed", scope, "dana") for scope in ("upstream", "tenant", "sender")
    ]
    assert administration.resume_upstream("ses", "dana", "new key") == 0
    assert len(told(backend)) == 3


# -- parked: what waits behind a pause


async def keep(store: SqliteStore, count: int, due: float = NOW) -> list[str]:
    kept = [message(arrived_at=due, chunks=(b"x",)) for _ in range(count)]
    await asyncio.gather(*(store.add(m, claimed=False, events=[]) for m in kept))
    return [m.queue_id for m in kept]


async def claim(store: SqliteStore, now: float = NOW) -> list[str]:
    return [m.queue_id for m in await store.claim("acme", 10_000, now)]


async def test_a_parked_claim_waits_and_is_no_attempt(store: SqliteStore) -> None:
    kept = await keep(store, 2)
    await claim(store)
    await store.release(kept, NOW + 60)
    due = await store.due(NOW)
    assert (due.tenants, due.next_at) == ((), NOW + 60)
    found = await store.claim("acme", 10, NOW + 60)
    assert [m.attempt for m in found] == [1, 1]


async def test_what_is_parked_can_be_tried_when_the_pause_ends(store: SqliteStore) -> None:
    parked, deferred = await keep(store, 1), await keep(store, 1, due=NOW + 60)
    parked += await keep(store, 1)
    await claim(store)
    await store.release(parked, NOW + 60)
    assert await store.unpark(NOW + 1) == 2
    assert (await store.due(NOW + 1)).tenants == ("acme",)
    assert await claim(store, NOW + 1) == parked
    assert (await store.due(NOW + 1)).next_at == NOW + 60
    assert await claim(store, NOW + 60) == deferred


async def test_what_is_due_again_keeps_its_place(store: SqliteStore) -> None:
    """The longest due of what was parked stay so, when they are unparked after that."""
    kept = await keep(store, 2)
    await claim(store)
    await store.release(kept[1:], NOW + 10)
    await store.release(kept[:1], NOW + 20)
    assert await store.unpark(NOW + 100) == 2
    assert await claim(store, NOW + 100) == [kept[1], kept[0]]


async def test_what_was_claimed_or_released_since_is_not_parked(store: SqliteStore) -> None:
    kept = await keep(store, 2)
    await claim(store)
    await store.release(kept, NOW + 60)
    assert await claim(store, NOW + 60) == kept
    assert await store.unpark(NOW) == 0
    await store.release(kept)
    assert await store.unpark(NOW) == 0
    assert await claim(store, NOW + 60) == kept


async def test_any_number_can_be_unparked(store: SqliteStore) -> None:
    kept = await keep(store, 2500)
    await claim(store)
    await store.release(kept, NOW + 60)
    assert await store.unpark(NOW) == 2500
    assert sorted(await claim(store)) == sorted(kept)
    assert await store.unpark(NOW) == 0


async def test_an_administrators_retry_does_not_wait_for_the_pause(
    store: SqliteStore, administration: Administration
) -> None:
    later = time.time() + 1000
    kept = await keep(store, 1)
    await claim(store)
    await store.release(kept, later)
    assert administration.retry(kept, "dana") == kept
    assert await store.unpark(later) == 0
    assert await claim(store, time.time()) == kept
