"""Toggles that end by themselves, the generation that every order raises, how far a relay has come
with them, and requests to reload.
"""

import time
from typing import Any

from contract.conftest import SqliteBackend
from contract.letters import orders, parsed

from relay.model.toggle import Toggle
from relay.queue.sqlite.store import SqliteStore

NOW = 1_800_000_000.0


def toggle(tenant: str = "acme", until: float | None = None) -> Toggle:
    return Toggle(tenant, False, "moving", "dana", at=NOW, until=until)


async def test_every_order_raises_the_generation_that_the_relay_is_told(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    first = store.orders()
    assert first
    with backend.administration() as administration:
        disabled = administration.set_toggle(toggle())
        told = store.orders()
        assert told
        assert told.generation == disabled == first.generation + 1
        reset = administration.reset_toggle("acme", "dana", "done")
        told = store.orders()
        assert told
        assert told.generation == reset == disabled + 1
    assert store.orders() is None


async def test_what_the_relay_has_reached_is_known_to_the_verbs(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    with backend.administration() as administration:
        generation = administration.set_toggle(toggle())
        assert administration.reached() < generation
        await store.reached(generation)
        assert administration.reached() == generation
        # A late word does not take it back.
        await store.reached(generation - 1)
        assert administration.reached() == generation


async def test_nothing_is_under_way_when_a_relay_begins(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    with backend.administration() as administration:
        generation = administration.set_toggle(toggle())
        assert administration.reached() < generation
        await store.close()
        again = backend.store()
        await again.open()
        assert administration.reached() == generation
        await again.close()


async def test_a_toggle_ends_by_itself(store: SqliteStore, backend: SqliteBackend) -> None:
    now = time.time()
    with backend.administration() as administration:
        administration.set_toggle(toggle("acme", until=now + 60))
        administration.set_toggle(toggle("globex", until=now + 600))
        administration.set_toggle(toggle("initech"))
        before = store.orders()
        assert before
        assert await store.end_toggles(now + 59) == 0
        assert store.orders() is None
        assert await store.end_toggles(now + 60) == 1
        after = store.orders()
        assert after
        assert set(after.toggles) == {"globex", "initech"}
        assert after.generation == before.generation + 1
        assert set(administration.toggles()) == {"globex", "initech"}
    assert await store.end_toggles(now + 60) == 0
    *_, event = parsed(backend.trail())
    assert (event["event"], event["tenant"], event["actor"], event["until"]) == (
        "tenant.reset",
        "acme",
        "relay",
        None,
    )
    assert "over" in event["reason"]


async def test_one_that_is_over_is_ended_for_the_verbs_before_it_is_forgotten(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    with backend.administration() as administration:
        administration.set_toggle(toggle(until=time.time() - 1))
        assert administration.toggles() == {}
    assert store.orders() == orders()


async def test_a_reload_is_asked_for(store: SqliteStore, backend: SqliteBackend) -> None:
    before = store.orders()
    assert before
    assert (before.reload_asked, before.reload_actor) == (0, "")
    with backend.administration() as administration:
        assert administration.ask_reload("dana") == 1
        assert administration.ask_reload("root") == 2
    told = store.orders()
    assert told
    assert (told.reload_asked, told.reload_actor) == (2, "root")
    assert told.generation == before.generation + 2


async def test_an_unstored_pause_leaves_the_other_orders(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    """While the relay's own pause is being stored, orders are put together from both."""
    store.orders()
    with backend.administration() as administration:
        generation = administration.set_toggle(toggle())
        administration.ask_reload("dana")
    store._unstored.append(([], []))
    told: Any = store.orders()
    store._unstored.clear()
    assert (told.generation, told.reload_asked) == (generation + 1, 1)
