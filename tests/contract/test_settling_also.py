"""What is stored beside a settlement: whole or not at all, and once however often repeated."""

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, parsed, settlement

from relay.model.causes import Cause
from relay.model.events import Event, email_accepted, email_dsn_sent
from relay.model.message import Ending, Kind, Message, Recipient, State
from relay.model.ports import Also, Share, Spent, Stage, Store, StoreError, Told, Untold
from relay.model.suppression import Strike
from relay.record.audit import json_line

STRIKE = Strike("acme", "gone@c.example", "550 no such user", NOW, after=1, expire_s=60)


async def under_way(store: Store, count: int = 1, tenant: str = "acme") -> list[Message]:
    kept = [message(tenant=tenant) for _ in range(count)]
    for each in kept:
        await store.add(each, claimed=True, events=[])
    return kept


async def die(store: Store, *dying: Message, causes: Sequence[Cause] = ()) -> None:
    """One after the other."""
    for each in dying:
        cause = causes[0] if causes else Cause.RECIPIENT_REFUSED
        failed = [replace(r, state=State.FAILED, cause=cause) for r in each.recipients]
        await store.settle([settlement(each, Ending.DEAD, recipients=failed)], [])


# -- messages of the relay's own


async def test_a_message_beside_a_settlement_is_due_at_once(
    store: Store, backend: SqliteBackend
) -> None:
    [kept] = await under_way(store)
    dsn = message(kind=Kind.DSN, chunks=(b"a\r\n", b"b\r\n"))
    told = email_dsn_sent(kept, kept.recipients, dsn)
    await store.settle([settlement(kept, Ending.DONE)], [told], Also(messages=[dsn]))
    assert store.usage.messages == 1
    [found] = await store.claim("acme", 10, NOW)
    assert found == replace(dsn.without_chunks(), attempt=1)
    assert [piece async for piece in store.read(found.queue_id, found.content)] == [b"a\r\nb\r\n"]
    assert [event["event"] for event in parsed(backend.trail())] == ["email.dsn_sent"]


async def test_a_message_beside_a_settlement_has_its_octets_with_it(store: Store) -> None:
    [kept] = await under_way(store)
    with pytest.raises(ValueError, match="octets"):
        await store.settle(
            [settlement(kept, Ending.DONE)], [], Also(messages=[message().without_chunks()])
        )
    assert store.usage.messages == 1


async def test_a_repeated_settle_adds_nothing_again(store: Store, backend: SqliteBackend) -> None:
    """Dispatch repeats one of which it does not know whether it was stored. What it added may have
    been handed over meanwhile."""
    [kept] = await under_way(store)
    dsn = message(kind=Kind.DSN)
    also = Also(messages=[dsn], spent=[Spent("ses", 7, 3)], strikes=[STRIKE])
    told = [email_dsn_sent(kept, kept.recipients, dsn)]
    await store.settle([settlement(kept, Ending.DONE)], told, also)
    await store.settle([settlement(dsn, Ending.DONE)], [])
    await store.settle([settlement(kept, Ending.DONE)], told, also)
    assert store.usage.messages == 0
    assert await store.spent(0) == [Spent("ses", 7, 3)]
    assert len(backend.trail()) == 2


async def test_a_repeated_settle_without_events_is_not_refused_for_ever(store: Store) -> None:
    [kept] = await under_way(store)
    also = Also(messages=[message()])
    for _ in range(2):
        await store.settle([settlement(kept, Ending.DONE)], [], also)
    assert store.usage.messages == 1


async def test_all_of_it_or_nothing(backend: SqliteBackend) -> None:
    def render(event: Event) -> bytes:
        if event.name == "suppression.added":
            raise TypeError("no JSON")
        return json_line(event)

    store = backend.store(render=render)
    await store.open()
    [kept] = await under_way(store)
    also = Also(
        messages=[message()],
        spent=[Spent("ses", 7, 3)],
        strikes=[STRIKE],
    )
    with pytest.raises(StoreError, match="no JSON"):
        await store.settle([settlement(kept, Ending.DONE)], [email_accepted(kept)], also)
    assert store.usage.messages == 1
    assert await store.spent(0) == []
    assert store.suppressed("acme", [STRIKE.address]) == {}
    assert backend.trail() == []
    await store.settle([settlement(kept, Ending.DONE)], [])
    assert store.usage.messages == 0
    await store.close()


# -- quotas


async def test_what_was_spent_adds_up_and_survives(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    for spent in (
        [Spent("ses", 7, 3), Spent("ses", 7, 2), Spent("ses", 8, 1)],
        [Spent("ses", 8, 10), Spent("default/größe", 8, 1)],
    ):
        [kept] = await under_way(store)
        settled = [settlement(kept, Ending.DONE)]
        await store.settle(settled, [email_accepted(kept)], Also(spent=spent))
    await store.close()
    again = backend.store()
    await again.open()
    found = await again.spent(0)
    assert sorted(found, key=lambda s: (s.subject, s.slot)) == [
        Spent("default/größe", 8, 1),
        Spent("ses", 7, 5),
        Spent("ses", 8, 11),
    ]
    assert {s.slot for s in await again.spent(8)} == {8}
    assert {s.slot for s in await again.spent(0)} == {8}, "what is older is forgotten"
    await again.close()


# -- what owners know of their dead letters


async def test_owners_have_yet_to_hear_of_dead_letters(store: Store) -> None:
    mine = await under_way(store, 3)
    [theirs] = await under_way(store, tenant="globex")
    await under_way(store)
    await die(store, theirs, causes=[Cause.MESSAGE_REFUSED])
    await die(store, *mine)
    assert await store.untold(NOW - 1e9) == [
        Untold("globex", Stage.DEAD, 1, theirs.queue_id, Cause.MESSAGE_REFUSED),
        Untold("acme", Stage.DEAD, 3, mine[0].queue_id, Cause.RECIPIENT_REFUSED),
    ]


async def test_the_cause_is_that_of_a_recipient_who_lacks_it(store: Store) -> None:
    two = [
        Recipient(0, "a@c.example", state=State.RELAYED, cause=Cause.RATE_LIMITED),
        Recipient(1, "b@c.example", state=State.EXPIRED, cause=Cause.EXPIRED, own_remedy="do it"),
    ]
    kept = message(recipients=two)
    await store.add(kept, claimed=True, events=[])
    await store.settle([settlement(kept, Ending.DEAD)], [])
    [untold] = await store.untold(0)
    assert (untold.cause, untold.own_remedy) == (Cause.EXPIRED, "do it")


async def test_what_was_told_is_told_once_for_each_stage(store: Store) -> None:
    early, late = await under_way(store, 2)
    [theirs] = await under_way(store, tenant="globex")
    await die(store, early, theirs)
    between = time.time()
    await die(store, late)

    async def tell(stage: Stage, until: float) -> None:
        await store.settle([], [], Also(told=[Told(["acme", "nobody"], until, stage)]))

    async def mine(purge_soon: float) -> list[tuple[Stage, int, str]]:
        found = await store.untold(purge_soon)
        return [(u.stage, u.messages, u.queue_id) for u in found if u.tenant == "acme"]

    await tell(Stage.DEAD, between)
    assert await mine(0) == [(Stage.DEAD, 1, late.queue_id)]
    assert await mine(between) == [
        (Stage.PURGE_SOON, 1, early.queue_id),
        (Stage.DEAD, 1, late.queue_id),
    ]
    await tell(Stage.PURGE_SOON, between)
    assert await mine(between) == [(Stage.DEAD, 1, late.queue_id)]
    await tell(Stage.DEAD, between)
    await tell(Stage.DEAD, time.time())
    assert await mine(between) == []
    assert await mine(time.time()) == [(Stage.PURGE_SOON, 1, late.queue_id)]
    assert [u.tenant for u in await store.untold(0)] == ["globex"]


async def test_nobody_is_told_of_the_relays_own_messages(store: Store) -> None:
    for kind in (Kind.DSN, Kind.ALERT):
        own = message(kind=kind)
        await store.add(own, claimed=True, events=[])
        await die(store, own)
    assert await store.untold(time.time()) == []


async def test_who_dies_again_is_told_of_again(store: Store, backend: SqliteBackend) -> None:
    [kept] = await under_way(store)
    await die(store, kept)
    told = [Told(["acme"], time.time(), Stage.PURGE_SOON)]
    await store.settle([], [], Also(told=told))
    assert await store.untold(time.time()) == []
    with backend.administration() as administration:
        administration.retry([kept.queue_id], "dana")
    [found] = await store.claim("acme", 1, time.time())
    await die(store, found)
    assert [u.stage for u in await store.untold(0)] == [Stage.DEAD]


# -- what each tenant holds


async def test_shares_count_what_is_queued(store: Store) -> None:
    assert await store.shares() == {}
    for tenant, octets, claimed in (("acme", 10, False), ("acme", 5, True), ("", 7, False)):
        kept = message(tenant=tenant, chunks=(b"x" * octets,))
        await store.add(kept, claimed=claimed, events=[])
    await die(store, *await under_way(store))
    assert await store.shares() == {"acme": Share(2, 15), "": Share(1, 7)}
