"""Age goes on behind a pause: what is too old can be claimed whatever its way, and only that."""

from dataclasses import replace

from contract.conftest import SqliteBackend
from contract.letters import NOW, message, settlement

from relay.model.message import Ending, Message, State
from relay.model.ports import Treatment
from relay.queue.sqlite.store import SqliteStore


def aging(*, expires_at: float, message_class: str = "") -> Message:
    return replace(message(), expires_at=expires_at, message_class=message_class)


async def added(store: SqliteStore, *messages: Message) -> None:
    for one in messages:
        await store.add(one, claimed=False, events=())


async def test_only_what_is_too_old_is_claimed_the_oldest_first(store: SqliteStore) -> None:
    old, older, young = (aging(expires_at=NOW + s) for s in (-1, -5, 5))
    await added(store, old, older, young)
    assert await store.claim_expired(10, NOW - 6) == []
    claimed = await store.claim_expired(10, NOW)
    assert [m.queue_id for m in claimed] == [older.queue_id, old.queue_id]
    assert [m.attempt for m in claimed] == [1, 1]
    assert await store.claim_expired(10, NOW) == []


async def test_parked_ones_too_but_none_that_is_under_way_or_dead(store: SqliteStore) -> None:
    parked, under_way, dead = (aging(expires_at=NOW) for _ in range(3))
    await added(store, parked, under_way, dead)
    for one in await store.claim("acme", 10, NOW):
        if one.queue_id == parked.queue_id:
            await store.release([one.queue_id], NOW + 900)
        elif one.queue_id == dead.queue_id:
            gone = replace(one.recipients[0], state=State.EXPIRED)
            await store.settle([settlement(one, Ending.DEAD, recipients=[gone])], [])
    assert [m.queue_id for m in await store.claim_expired(10, NOW)] == [parked.queue_id]


async def test_another_configuration_counts_for_what_is_queued(store: SqliteStore) -> None:
    otp, gone, other = (
        aging(expires_at=NOW, message_class="otp"),
        aging(expires_at=NOW, message_class="no more"),
        aging(expires_at=NOW),
    )
    await added(store, otp, gone, other)
    by_class = {"otp": Treatment(0, 600.0), "bulk": Treatment(2, 5.0)}
    await store.apply_classes(by_class, Treatment(1, 3600.0))
    assert await store.claim_expired(10, NOW + 599) == []
    (claimed,) = await store.claim_expired(10, NOW + 600)
    assert (claimed.queue_id, claimed.priority) == (otp.queue_id, 0)
    assert len(await store.claim_expired(10, NOW + 3600)) == 2


async def test_a_class_found_anew_is_kept(store: SqliteStore) -> None:
    await added(store, message(), message())
    one, _ = await store.claim("acme", 10, NOW)
    anew = replace(one, message_class="otp", classes_key="k1", priority=0, expires_at=NOW + 7)
    await store.reclassify(anew)
    await store.release([one.queue_id])
    (claimed,) = await store.claim("acme", 1, NOW)
    assert (claimed.queue_id, claimed.message_class, claimed.classes_key) == (
        one.queue_id,
        "otp",
        "k1",
    )
    assert (claimed.priority, claimed.expires_at) == (0, NOW + 7)


async def test_a_revived_dead_letter_has_its_whole_time_again(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    await added(store, aging(expires_at=NOW + 600))
    (one,) = await store.claim("acme", 1, NOW)
    gone = replace(one.recipients[0], state=State.EXPIRED)
    await store.settle([settlement(one, Ending.DEAD, recipients=[gone])], [])
    with backend.administration() as administration:
        assert administration.retry([one.queue_id], "dana") == [one.queue_id]
        listed = administration.message(one.queue_id)
    assert listed is not None
    assert listed.message.expires_at - listed.message.expires_from == 600


async def test_one_class_is_claimed_by_itself_by_priority_and_then_the_longest_due(
    store: SqliteStore,
) -> None:
    codes = [replace(aging(expires_at=NOW + 9, message_class="otp"), priority=p) for p in (1, 0, 1)]
    await added(store, aging(expires_at=NOW + 9), *codes, aging(expires_at=NOW, message_class="b"))
    claimed = await store.claim("acme", 2, NOW, "otp")
    assert [m.queue_id for m in claimed] == [codes[1].queue_id, codes[0].queue_id]
    assert len(await store.claim("acme", 9, NOW, "otp")) == 1
    assert len(await store.claim("acme", 9, NOW)) == 2
