"""What dispatch and accept may rely on, whatever store is behind it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, parsed, settlement

from relay.model.causes import Cause
from relay.model.events import Event, config_loaded, email_accepted
from relay.model.message import Ending, Kind, Message, Origin, Recipient, State
from relay.model.ports import Retention, Store, StoreError
from relay.model.reply import Reply
from relay.record.audit import json_line

MIB = 1024 * 1024


async def keep(
    store: Store, *messages: Message, claimed: bool = False, told: bool = False
) -> tuple[Message, ...]:
    for kept in messages:
        events = [email_accepted(kept)] if told else []
        await store.add(kept, claimed=claimed, events=events)
    return messages


async def octets(store: Store, kept: Message) -> bytes:
    pieces = [piece async for piece in store.read(kept.queue_id, kept.without_chunks().content)]
    assert all(len(piece) <= MIB for piece in pieces)
    return b"".join(pieces)


async def claimed(store: Store, tenant: str = "acme", now: float = NOW) -> list[Message]:
    return await store.claim(tenant, 100, now)


# -- a message comes back as it was given


async def test_every_field_comes_back(store: Store) -> None:
    reply = Reply(451, "4.7.1", "greylisted, bitte später")
    kept = replace(
        message(
            arrived_at=1_799_999_999.123456,
            recipients=[
                Recipient(0, "jürgen@größe.example", notify=False),
                Recipient(1, "b@c.example", True, State.RELAYED, 0, None, Reply(250, None, "ok")),
                Recipient(
                    2, "d@e.example", True, State.PENDING, 3, Cause.RATE_LIMITED, reply, "ses"
                ),
                Recipient(3, "f@g.example", unknown=True, own_remedy="wait über Nacht"),
            ],
        ),
        expires_from=1_800_000_000.5,
        reverse_path="",
        header_from="",
        message_id="<ünïcode@x>",
        smtputf8=True,
        body_8bit=True,
        kind=Kind.ALERT,
        message_class="otp",
        classes_key="1b2c",
        origin=Origin("2001:db8::1", 'he said "hello"', "crm", ("acme", "globex")),
    )
    await keep(store, kept)
    [found] = await claimed(store)
    assert found == replace(kept.without_chunks(), attempt=1)


@pytest.mark.parametrize("bound", [None, (), ("acme",)])
async def test_an_unbound_client_is_not_one_bound_to_nothing(
    store: Store, bound: tuple[str, ...] | None
) -> None:
    await keep(store, replace(message(), origin=Origin("127.0.0.1", "x", bound=bound)))
    [found] = await claimed(store)
    assert found.origin.bound == bound


async def test_octets_that_are_no_utf8_do_not_stop_a_message(store: Store) -> None:
    """A reply or HELO in Latin-1 is decoded with lone surrogates, which SQLite refuses."""
    odd = "gr\udcfc\udcdfe"
    kept = replace(message(), origin=Origin("127.0.0.1", odd))
    await keep(store, kept)
    [found] = await claimed(store)
    news = replace(found.recipients[0], reply=Reply(450, None, odd), cause=Cause.RATE_LIMITED)
    await store.settle([settlement(found, Ending.WAITS, recipients=[news])], [])
    [found] = await claimed(store)
    assert found.recipients[0].reply == Reply(450, None, r"gr\udcfc\udcdfe")


@pytest.mark.parametrize(
    "chunks",
    [(), (b"",), (b"a", b"b" * 100), (b"c" * 20_000,) * 3, (b"d" * MIB,)],
    ids=["none", "empty", "small", "large", "largest"],
)
async def test_content_is_read_as_it_was_given(store: Store, chunks: tuple[bytes, ...]) -> None:
    [kept] = await keep(store, message(chunks=chunks))
    assert await octets(store, kept) == b"".join(chunks)


async def test_chunks_in_memory_are_read_from_there(store: Store) -> None:
    never_stored = message(chunks=(b"a", b"b"))
    pieces = [p async for p in store.read(never_stored.queue_id, never_stored.content)]
    assert pieces == [b"a", b"b"]


async def test_large_content_goes_through_the_spool(store: Store) -> None:
    file = store.new_spool_file()
    for number in range(5):
        await file.write(b"%d" % number * 500_000)
    await file.sync()
    kept = message(spool=file.name, spooled_bytes=2_500_000)
    await keep(store, kept)
    [found] = await claimed(store)
    assert found.content == kept.content
    assert await octets(store, found) == b"".join(b"%d" % n * 500_000 for n in range(5))


async def test_a_message_without_its_octets_is_not_kept(store: Store) -> None:
    with pytest.raises(ValueError, match="octets"):
        await keep(store, message().without_chunks())
    assert store.usage.messages == 0


async def test_a_spool_file_that_is_not_synced_can_not_be_named(store: Store) -> None:
    file = store.new_spool_file()
    await file.write(b"x" * 100)
    with pytest.raises(StoreError, match="not synced"):
        await keep(store, message(spool=file.name, spooled_bytes=100))
    file.discard()
    file.discard()


async def test_discarded_spool_file_takes_no_more(store: Store) -> None:
    file = store.new_spool_file()
    await file.write(b"x")
    file.discard()
    with pytest.raises(StoreError):
        await file.write(b"y")


# -- due and claims


async def test_an_empty_store_has_nothing_due(store: Store) -> None:
    due = await store.due(NOW)
    assert (due.tenants, due.next_at) == ((), None)


async def test_due_names_tenants_and_the_next_moment(store: Store) -> None:
    await keep(
        store,
        *(message(tenant="acme", arrived_at=NOW + 500 * n) for n in range(3)),
        message(tenant="globex", priority=2),
        message(tenant="", priority=0),
        message(tenant="later", arrived_at=NOW + 60),
        message(tenant="latest", arrived_at=NOW + 90),
    )
    due = await store.due(NOW)
    assert sorted(due.tenants) == ["", "acme", "globex"]
    assert due.next_at == NOW + 60
    due = await store.due(NOW + 90)
    assert sorted(due.tenants) == ["", "acme", "globex", "later", "latest"]
    assert due.next_at is None


async def test_a_tenant_is_due_for_any_of_its_priorities(store: Store) -> None:
    await keep(store, message(priority=0, arrived_at=NOW + 60), message(priority=2))
    due = await store.due(NOW)
    assert due.tenants == ("acme",)


async def test_claims_go_by_priority_then_by_the_longest_due(store: Store) -> None:
    kept = await keep(
        store,
        message(priority=2, arrived_at=NOW - 50),
        message(priority=1, arrived_at=NOW - 10),
        message(priority=1, arrived_at=NOW - 20),
        message(priority=0, arrived_at=NOW),
        message(priority=0, arrived_at=NOW + 1),
        message(tenant="globex", priority=0),
    )
    expected = [kept[3], kept[2], kept[1], kept[0]]
    first = await store.claim("acme", 3, NOW)
    rest = await store.claim("acme", 3, NOW)
    assert [m.queue_id for m in first + rest] == [m.queue_id for m in expected]
    assert await claimed(store) == []


async def test_no_message_is_claimed_twice(store: Store) -> None:
    kept = await keep(store, *(message() for _ in range(30)))
    batches = await asyncio.gather(*(store.claim("acme", 7, NOW) for _ in range(8)))
    found = [m.queue_id for batch in batches for m in batch]
    assert sorted(found) == sorted(m.queue_id for m in kept)


async def test_a_message_kept_as_claimed_is_under_way(store: Store) -> None:
    [kept] = await keep(store, message(), claimed=True)
    assert (await store.due(NOW + 1)).tenants == ()
    assert await claimed(store, now=NOW + 1) == []
    await store.settle([settlement(kept, Ending.WAITS, due=NOW)], [])
    [found] = await claimed(store)
    assert found.attempt == 2


async def test_a_released_claim_is_no_attempt_and_keeps_its_place(store: Store) -> None:
    await keep(store, message(arrived_at=NOW - 2), message(arrived_at=NOW - 1))
    before = await claimed(store)
    await store.release([m.queue_id for m in before])
    assert await claimed(store) == before
    assert before[0].attempt == 1


async def test_a_cancelled_claim_is_given_back(store: Store) -> None:
    """A claim that nobody knows of would lie claimed until the next start."""
    await keep(store, message())
    claiming = asyncio.create_task(claimed(store))
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    async with asyncio.timeout(5):
        while not (found := await claimed(store)):
            await asyncio.sleep(0.01)
    assert found[0].attempt == 1


async def test_claims_of_a_former_life_are_due_and_counted(backend: SqliteBackend) -> None:
    former = backend.store()
    await former.open()
    await keep(former, message(), message(), claimed=True)
    await keep(former, message(tenant="globex"))
    await former.close()
    store = backend.store()
    assert await store.open() == 2
    assert sorted((await store.due(NOW)).tenants) == ["acme", "globex"]
    assert [m.attempt for m in await claimed(store)] == [2, 2]
    await store.close()


# -- settling


async def test_a_deferred_message_waits_with_its_news(store: Store) -> None:
    two = [Recipient(0, "a@c.example"), Recipient(1, "b@c.example")]
    [kept] = await keep(store, message(recipients=two), claimed=True)
    news = replace(
        two[1],
        attempts=1,
        cause=Cause.RECIPIENT_REFUSED,
        reply=Reply(450, "4.2.1", "later"),
        upstream="acme-sendgrid",
        unknown=True,
        own_remedy="that mailbox receives too much",
    )
    await store.settle([settlement(kept, Ending.WAITS, due=NOW + 30, recipients=[news])], [])
    due = await store.due(NOW)
    assert (due.tenants, due.next_at) == ((), NOW + 30)
    [found] = await claimed(store, now=NOW + 30)
    assert found.recipients == (two[0], news)


async def test_a_message_that_is_done_is_gone(store: Store) -> None:
    [kept] = await keep(store, message(), claimed=True)
    await store.settle([settlement(kept, Ending.DONE)], [])
    assert store.usage.messages == 0
    with pytest.raises(StoreError, match=kept.queue_id):
        await octets(store, kept)


async def test_a_dead_letter_is_kept_whole_and_not_tried(
    store: Store, backend: SqliteBackend
) -> None:
    [kept] = await keep(store, message(), claimed=True)
    failed = replace(kept.recipients[0], state=State.FAILED, cause=Cause.RECIPIENT_REFUSED)
    await store.settle([settlement(kept, Ending.DEAD, recipients=[failed])], [])
    assert (await store.due(NOW + 1e6)).tenants == ()
    assert await octets(store, kept) == b"".join(kept.content.chunks or ())
    with backend.administration() as administration:
        [dead] = administration.messages(dead=True)
    assert dead.message.recipients == (failed,)
    assert dead.dead_since is not None


async def test_many_are_settled_at_once(store: Store) -> None:
    kept = await keep(store, *(message() for _ in range(9)), claimed=True)
    endings = [Ending.WAITS, Ending.DONE, Ending.DEAD] * 3
    await store.settle([settlement(m, e) for m, e in zip(kept, endings, strict=True)], [])
    usage = store.usage
    assert (usage.messages, usage.dead_messages) == (3, 3)
    assert len(await claimed(store)) == 3


async def test_what_has_vanished_is_no_error(store: Store) -> None:
    gone = message()
    news = [replace(gone.recipients[0], attempts=1)]
    for ending in Ending:
        await store.settle([settlement(gone, ending, recipients=news)], [])
    await store.release([gone.queue_id])
    assert (await store.due(NOW + 1)).tenants == ()
    assert store.usage.messages == 0


async def test_a_repeated_settle_tells_its_events_once(
    store: Store, backend: SqliteBackend
) -> None:
    """Dispatch repeats a settle of which it does not know whether it was stored."""
    [kept] = await keep(store, message(), claimed=True)
    event = email_accepted(kept)
    for _ in range(2):
        await store.settle([settlement(kept, Ending.DONE)], [event])
    assert len(backend.trail()) == 1


# -- failing and cancelling


async def test_only_the_guilty_one_fails(store: Store, backend: SqliteBackend) -> None:
    [twin] = await keep(store, message())
    good = [message() for _ in range(10)]
    adding = [
        store.add(m, claimed=False, events=[email_accepted(m)])
        for m in [*good[:5], twin, *good[5:]]
    ]
    results = await asyncio.gather(*adding, return_exceptions=True)
    failures = [result for result in results if result is not None]
    assert len(failures) == 1
    assert isinstance(results[5], StoreError)
    assert len(await claimed(store)) == 11
    told = [event["queue_id"] for event in parsed(backend.trail())]
    assert sorted(told) == sorted(m.queue_id for m in good)


async def test_a_cancelled_add_is_carried_out(store: Store) -> None:
    kept = message()
    adding = asyncio.create_task(store.add(kept, claimed=False, events=[]))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    await keep(store, message(tenant="globex"))
    assert [m.queue_id for m in await claimed(store)] == [kept.queue_id]


async def test_what_was_submitted_is_stored_at_close(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    adding = [asyncio.create_task(keep(store, message())) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*adding)
    with pytest.raises(StoreError, match="not open"):
        await keep(store, message())
    again = backend.store()
    await again.open()
    assert again.usage.messages == 50
    await again.close()


# -- the trail


async def test_events_are_committed_with_what_they_tell_of(backend: SqliteBackend) -> None:
    committed: list[tuple[Event, bytes]] = []
    store = backend.store(committed.extend)
    await store.open()
    kept = [message() for _ in range(20)]
    await asyncio.gather(*(keep(store, m, told=True) for m in kept))
    store.tell(config_loaded(None, 1, 1))
    await store.close()
    names = [(event.name, event.queue_id) for event, _ in committed]
    assert names == [("email.accepted", m.queue_id) for m in kept] + [("config.loaded", None)]
    assert backend.trail() == [line for _, line in committed]


async def test_what_is_mirrored_is_already_stored(backend: SqliteBackend) -> None:
    seen: list[int] = []

    def committed(told: Sequence[tuple[Event, bytes]]) -> None:
        seen.append(len(backend.trail()))

    store = backend.store(committed)
    await store.open()
    await keep(store, message(), message(), told=True)
    await store.close()
    assert seen == [1, 2]


async def test_a_mirror_that_fails_fails_nothing_else(backend: SqliteBackend) -> None:
    def committed(told: Sequence[tuple[Event, bytes]]) -> None:
        raise OSError("nobody reads")

    store = backend.store(committed)
    await store.open()
    await keep(store, message(), message(), told=True)
    assert store.usage.messages == 2
    await store.close()


async def test_tell_never_raises(backend: SqliteBackend) -> None:
    def render(event: Event) -> bytes:
        if "unrenderable" in event.fields:
            raise TypeError("no JSON")
        return json_line(event)

    store = backend.store(render=render)
    store.tell(config_loaded(None, 0, 0))
    await store.open()
    store.tell(Event("config.loaded", {"unrenderable": 1}))
    store.tell(Event("config.loaded", {}, queue_id="no identifier"))
    store.tell(config_loaded(None, 2, 2))
    await store.close()
    store.tell(config_loaded(None, 3, 3))
    assert [event["tenants"] for event in parsed(backend.trail())] == [2]
    assert store.lost_events == 4


# -- what there is


async def test_usage_follows_every_change(store: Store) -> None:
    kept = await keep(store, *(message(chunks=(b"x" * 1000,)) for _ in range(4)), claimed=True)
    assert (store.usage.messages, store.usage.content_bytes) == (4, 4000)
    await store.settle([settlement(kept[0], Ending.DONE)], [])
    await store.settle([settlement(kept[1], Ending.DEAD)], [])
    await store.settle([settlement(kept[2], Ending.WAITS)], [])
    usage = store.usage
    assert (usage.messages, usage.dead_messages) == (2, 1)
    # The content of dead letters takes room, too.
    assert (usage.content_bytes, usage.dead_bytes) == (3000, 1000)


async def test_usage_is_known_after_a_start(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    kept = await keep(store, message(), message(), message(), claimed=True)
    await store.settle([settlement(kept[0], Ending.DEAD)], [])
    before = store.usage
    await store.close()
    again = backend.store()
    await again.open()
    assert again.usage == before
    await again.close()


# -- retention

LONG = Retention(dead_s=1e6, dead_bytes=10**9, audit_s=1e6, audit_bytes=10**9)


async def dead_letters(store: Store, count: int, octets: int = 100) -> tuple[Message, ...]:
    kept = await keep(
        store, *(message(chunks=(b"x" * octets,)) for _ in range(count)), claimed=True
    )
    for dead in kept:
        failed = replace(dead.recipients[0], state=State.FAILED)
        await store.settle([settlement(dead, Ending.DEAD, recipients=[failed])], [])
    return kept


async def test_dead_letters_go_when_their_time_is_up(store: Store, backend: SqliteBackend) -> None:
    kept = await dead_letters(store, 3)
    waiting = await keep(store, message())
    with backend.administration() as administration:
        dead_since = [listed.dead_since for listed in administration.messages(dead=True)]
    assert dead_since[1] is not None
    await store.purge(replace(LONG, dead_s=100), dead_since[1] + 100.00001)
    told = parsed(backend.trail(names=["email.purged"]))
    assert [event["queue_id"] for event in told] == [m.queue_id for m in kept[:2]]
    assert told[0]["recipients"] == ["someone@customer.example"]
    assert (store.usage.dead_messages, store.usage.messages) == (1, 1)
    assert [m.queue_id for m in await claimed(store)] == [m.queue_id for m in waiting]


async def test_the_oldest_dead_letters_go_when_there_is_no_room(
    store: Store, backend: SqliteBackend
) -> None:
    kept = await dead_letters(store, 120, octets=1000)
    await store.purge(replace(LONG, dead_bytes=10_500), time.time())
    assert (store.usage.dead_messages, store.usage.dead_bytes) == (10, 10_000)
    with backend.administration() as administration:
        left = [listed.message.queue_id for listed in administration.messages(dead=True)]
    assert left == [m.queue_id for m in kept[-10:]]
    assert len(backend.trail(names=["email.purged"])) == 110


async def test_a_purged_dead_letter_takes_its_spool_file(
    store: Store, backend: SqliteBackend
) -> None:
    file = store.new_spool_file()
    await file.write(b"x" * 100)
    await file.sync()
    [kept] = await keep(store, message(spool=file.name, spooled_bytes=100), claimed=True)
    await store.settle([settlement(kept, Ending.DEAD)], [])
    await store.purge(replace(LONG, dead_bytes=0), time.time())
    with pytest.raises(StoreError):
        await octets(store, kept)


async def test_the_trail_is_kept_for_its_time(store: Store, backend: SqliteBackend) -> None:
    await keep(store, *(message() for _ in range(20)), told=True)
    lines = backend.trail()
    await store.purge(LONG, time.time())
    assert backend.trail() == lines
    await store.purge(LONG, time.time() + LONG.audit_s + 1)
    assert backend.trail() == []
    assert store.usage.messages == 20


async def test_the_trail_is_kept_to_its_length(store: Store, backend: SqliteBackend) -> None:
    for _ in range(5000):
        store.tell(config_loaded("/etc/relay/config.yaml", 1, 1))
    await keep(store, message())
    lines = backend.trail()
    half = sum(map(len, lines)) // 2
    await store.purge(replace(LONG, audit_bytes=half), time.time())
    left = backend.trail()
    assert 0 < sum(map(len, left)) <= half
    assert left == lines[-len(left) :]
