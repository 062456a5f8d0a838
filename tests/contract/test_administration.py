"""What the verbs do to a store that a relay serves at the same time, or that lies still."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, orders, parsed, settlement

from relay.model.causes import Cause
from relay.model.events import Event, email_accepted
from relay.model.message import Ending, Message, Recipient, State
from relay.model.ports import StoreError
from relay.model.reply import Reply
from relay.model.toggle import Toggle
from relay.queue.errors import NoSuchMessage, StoreMissing, UnderWay
from relay.queue.lock import ServeLock
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.connecting import connect
from relay.queue.sqlite.listing import Selection
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import rfc3339


@pytest.fixture
def administration(store: SqliteStore, backend: SqliteBackend) -> Iterator[Administration]:
    with backend.administration() as administration:
        yield administration


def toggle(tenant: str = "acme", *, enabled: bool = False, until: float | None = None) -> Toggle:
    return Toggle(tenant, enabled, "bounces, s. Ticket 12", "dana", at=NOW, until=until)


async def dead_letter(store: SqliteStore, tenant: str = "acme", arrived_at: float = NOW) -> Message:
    """Relayed to the first of three recipients; the second failed, the third expired."""
    recipients = [Recipient(n, f"r{n}@customer.example") for n in range(3)]
    kept = message(tenant=tenant, arrived_at=arrived_at, recipients=recipients)
    await store.add(kept, claimed=True, events=[])
    news = [
        replace(recipients[0], state=State.RELAYED, reply=Reply(250, None, "ok")),
        replace(recipients[1], state=State.FAILED, attempts=2, cause=Cause.RECIPIENT_REFUSED),
        replace(recipients[2], state=State.EXPIRED, attempts=9, cause=Cause.RATE_LIMITED),
    ]
    await store.settle([settlement(kept, Ending.DEAD, recipients=news)], [])
    return kept


# -- toggles


async def test_a_running_relay_notices_a_toggle(
    store: SqliteStore, administration: Administration
) -> None:
    assert store.orders() == orders()
    assert store.orders() is None
    administration.set_toggle(toggle())
    assert store.orders() == orders(acme=toggle())
    assert store.orders() is None
    administration.set_toggle(toggle("globex", enabled=True))
    assert store.orders() == orders(acme=toggle(), globex=toggle("globex", enabled=True))
    administration.set_toggle(toggle(enabled=True))
    administration.reset_toggle("globex", "dana", "done")
    assert store.orders() == orders(acme=toggle(enabled=True))
    assert administration.toggles() == {"acme": toggle(enabled=True)}


async def test_a_change_of_messages_is_no_change_of_toggles(store: SqliteStore) -> None:
    assert store.orders() == orders()
    await store.add(message(), claimed=False, events=[])
    assert store.orders() is None


async def test_toggles_are_told_of(administration: Administration) -> None:
    administration.set_toggle(toggle(until=NOW + 60))
    administration.set_toggle(toggle(enabled=True))
    administration.reset_toggle("acme", "dana", "done")
    told = parsed(list(administration.events(tenant="acme")))
    assert [event["event"] for event in told] == [
        "tenant.disabled",
        "tenant.enabled",
        "tenant.reset",
    ]
    assert (told[0]["actor"], told[0]["until"]) == ("dana", rfc3339(NOW + 60))


async def test_a_toggle_ends_by_itself(store: SqliteStore, administration: Administration) -> None:
    passing = toggle(until=time.time() + 0.3)
    administration.set_toggle(passing)
    administration.set_toggle(toggle("globex"))
    found = store.orders()
    assert found is not None
    assert set(found.toggles) == {"acme", "globex"}
    assert store.orders() is None
    await asyncio.sleep(0.35)
    assert store.orders() == orders(globex=toggle("globex"))
    assert administration.toggles() == {"globex": toggle("globex")}
    assert store.orders() is None


async def test_a_toggle_and_its_event_are_one(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    def unrenderable(event: Event) -> bytes:
        raise TypeError("no JSON")

    with Administration(backend.path, unrenderable) as broken, pytest.raises(TypeError):
        broken.set_toggle(toggle())
    assert administration.toggles() == {}
    administration.set_toggle(toggle())


# -- listing


async def test_messages_are_listed_as_they_stand(
    store: SqliteStore, administration: Administration
) -> None:
    waiting, under_way = message(), message(tenant="globex", arrived_at=NOW + 5)
    await store.add(waiting, claimed=False, events=[])
    await store.add(under_way, claimed=True, events=[])
    dead = await dead_letter(store)
    first, second = administration.messages(dead=False)
    assert (first.message, first.claimed, first.due, first.dead_since) == (
        waiting.without_chunks(),
        False,
        NOW,
        None,
    )
    assert (second.message.queue_id, second.claimed) == (under_way.queue_id, True)
    [found] = administration.messages(dead=True)
    assert found.message.queue_id == dead.queue_id
    assert found.dead_since == pytest.approx(time.time(), abs=10)
    assert administration.message(dead.queue_id) == found
    assert administration.message(dead.queue_id.lower()) == found


async def test_a_listing_streams_page_by_page(
    store: SqliteStore, administration: Administration
) -> None:
    kept = [message(tenant=("acme", "globex")[n % 2]) for n in range(450)]
    await asyncio.gather(*(store.add(m, claimed=True, events=[]) for m in kept))
    queued = [listed.message.queue_id for listed in administration.messages(dead=False)]
    assert queued == [m.queue_id for m in kept]
    of_one = list(administration.messages(dead=False, tenant="globex", limit=210))
    assert [listed.message.queue_id for listed in of_one] == [m.queue_id for m in kept[1::2]][:210]
    # All at the same moment, so that the pages must tell them apart by more than that.
    await store.settle([settlement(m, Ending.DEAD) for m in kept], [])
    dead = [listed.message.queue_id for listed in administration.messages(dead=True)]
    assert dead == queued
    assert list(administration.messages(dead=False)) == []


async def test_content_is_read_in_wire_form(
    store: SqliteStore, administration: Administration
) -> None:
    small = message(chunks=(b"a\r\n", b"..\r\n"))
    await store.add(small, claimed=False, events=[])
    file = store.new_spool_file()
    await file.write(b"x" * 700_000)
    await file.sync()
    large = message(spool=file.name, spooled_bytes=700_000)
    await store.add(large, claimed=False, events=[])
    assert b"".join(administration.content(small.queue_id)) == b"a\r\n..\r\n"
    assert b"".join(administration.content(large.queue_id)) == b"x" * 700_000
    with pytest.raises(NoSuchMessage, match="nonsense"):
        next(administration.content("nonsense"))


async def test_counts(store: SqliteStore, administration: Administration) -> None:
    assert administration.counts().oldest_at is None
    await dead_letter(store, arrived_at=NOW - 10)
    for tenant, claimed in (("acme", False), ("acme", True), ("globex", False), ("", False)):
        await store.add(message(tenant=tenant), claimed=claimed, events=[])
    counts = administration.counts()
    assert counts == await store.counts()
    assert (counts.pending, counts.claimed, counts.dead, counts.oldest_at) == (3, 1, 1, NOW)
    assert counts.pending_of == {"": 1, "acme": 1, "globex": 1}


# -- retry


async def test_a_waiting_message_is_retried_now(
    store: SqliteStore, administration: Administration
) -> None:
    await store.add(message(arrived_at=NOW * 2), claimed=False, events=[])
    store.orders()
    [listed] = administration.messages(dead=False)
    queue_id = listed.message.queue_id
    assert administration.retry([queue_id, "0" * 13, "nonsense"], "dana") == [queue_id]
    assert store.orders() is not None, "a running relay must look"
    [found] = await store.claim("acme", 10, time.time())
    assert found.attempt == 1
    [told] = parsed(list(administration.events(queue_id=queue_id)))
    assert (told["event"], told["actor"]) == ("email.retried", "dana")


async def test_a_dead_letter_lives_again_for_those_who_lack_it(
    store: SqliteStore, administration: Administration
) -> None:
    dead = await dead_letter(store)
    before = store.usage
    assert administration.retry([dead.queue_id], "dana") == [dead.queue_id]
    [found] = await store.claim("acme", 10, time.time())
    assert [r.state for r in found.recipients] == [State.RELAYED, State.PENDING, State.PENDING]
    assert [r.attempts for r in found.recipients] == [0, 0, 0]
    assert (found.attempt, found.arrived_at) == (1, NOW)
    assert found.expires_from == pytest.approx(time.time(), abs=10)
    assert b"".join([p async for p in store.read(found.queue_id, found.content)])
    [told] = parsed(list(administration.events(names=["email.retried"])))
    assert told["recipients"] == ["r1@customer.example", "r2@customer.example"]
    after = store.usage
    assert (before.dead_messages, after.dead_messages, after.messages) == (1, 0, 1)


async def test_all_of_a_tenant_are_retried(
    store: SqliteStore, administration: Administration
) -> None:
    mine = [await dead_letter(store) for _ in range(3)]
    await dead_letter(store, tenant="globex")
    many = [message(arrived_at=NOW * 2) for _ in range(450)]
    await asyncio.gather(*(store.add(m, claimed=False, events=[]) for m in many))
    retried = administration.retry(Selection(dead=True, tenant="acme"), "dana")
    assert retried == [m.queue_id for m in mine]
    assert len(administration.retry(Selection(dead=False, tenant="acme"), "dana")) == 453
    assert len(await store.claim("acme", 1000, time.time())) == 453
    assert store.usage.dead_messages == 1


async def test_what_a_relay_is_trying_is_not_retried(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    kept = message()
    await store.add(kept, claimed=True, events=[])
    with ServeLock(backend.path):
        assert administration.retry([kept.queue_id], "dana") == []
    assert administration.retry([kept.queue_id], "dana") == [kept.queue_id]


# -- drop


async def test_a_dropped_message_is_gone_with_its_content(
    store: SqliteStore, administration: Administration
) -> None:
    dead = await dead_letter(store)
    administration.drop(dead.queue_id, "dana")
    assert administration.message(dead.queue_id) is None
    [told] = parsed(list(administration.events(queue_id=dead.queue_id)))
    assert (told["event"], told["actor"]) == ("email.dropped", "dana")
    assert told["recipients"] == ["r1@customer.example", "r2@customer.example"]
    with pytest.raises(NoSuchMessage, match=dead.queue_id):
        administration.drop(dead.queue_id, "dana")
    with pytest.raises(NoSuchMessage, match="nonsense"):
        administration.drop("nonsense", "dana")


async def test_a_message_under_way_is_dropped_only_without_a_relay(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    kept = message()
    await store.add(kept, claimed=True, events=[])
    with (
        ServeLock(backend.path),
        pytest.raises(UnderWay, match=rf"{kept.queue_id}.*process \d+"),
    ):
        administration.drop(kept.queue_id, "dana")
    assert list(administration.events(queue_id=kept.queue_id)) == []
    administration.drop(kept.queue_id, "dana")
    # The relay whose message it was knows nothing of that.
    await store.settle([settlement(kept, Ending.WAITS)], [])
    assert store.usage.messages == 0


async def test_usage_follows_what_others_do_while_nothing_is_asked(
    store: SqliteStore, administration: Administration
) -> None:
    """A full queue that an administrator has emptied must take mail again by itself."""
    kept = message()
    await store.add(kept, claimed=False, events=[])
    assert store.usage.messages == 1
    administration.drop(kept.queue_id, "dana")
    await asyncio.sleep(0.15)
    assert store.usage.messages == 0


# -- the trail


@pytest.fixture
async def trail(store: SqliteStore) -> list[Event]:
    """1,200 events, two seconds apart; every third tenant's and every hundredth rare."""
    events = []
    for number in range(1200):
        kept = message(tenant=("acme", "globex", "")[number % 3])
        event = email_accepted(kept)
        if number % 100 == 0:
            event = replace(event, name="email.dropped")
        events.append(event)
    await store.settle([], events)
    return events


def ids(lines: Iterator[bytes]) -> list[str]:
    return [event["event_id"] for event in parsed(list(lines))]


async def test_the_trail_is_read_in_order(
    trail: list[Event], administration: Administration
) -> None:
    everything = [event.event_id for event in trail]
    assert ids(administration.events()) == everything
    assert ids(administration.events(limit=700)) == everything[:700]
    assert ids(administration.events(limit=0)) == []
    assert ids(administration.events(after_id=everything[1100])) == everything[1101:]


async def test_the_trail_is_read_by_time(
    trail: list[Event], administration: Administration
) -> None:
    begin, end = trail[300].ts, trail[900].ts
    found = set(ids(administration.events(since=begin, until=end)))
    # An identifier is made some microseconds after or before the moment of its event.
    surely = {e.event_id for e in trail if begin + 0.001 < e.ts < end - 0.001}
    perhaps = {e.event_id for e in trail if begin - 0.001 < e.ts < end + 0.001}
    assert surely <= found <= perhaps
    assert ids(administration.events(since=time.time() + 60)) == []


@pytest.mark.parametrize("names", [(), ("email.accepted",), ("email.dropped", "email.expired")])
@pytest.mark.parametrize("tenant", [None, "globex", "nobody"])
async def test_the_trail_is_read_by_name_and_tenant(
    trail: list[Event],
    administration: Administration,
    names: tuple[str, ...],
    tenant: str | None,
) -> None:
    expected = [
        event.event_id
        for event in trail
        if (not names or event.name in names) and tenant in (None, event.tenant)
    ]
    assert ids(administration.events(names=names, tenant=tenant)) == expected


async def test_the_trail_of_one_message(trail: list[Event], administration: Administration) -> None:
    wanted = trail[77]
    assert ids(administration.events(queue_id=wanted.queue_id)) == [wanted.event_id]
    assert ids(administration.events(queue_id=wanted.queue_id, names=["email.sent"])) == []


# -- opening


def test_a_store_that_does_not_exist_yet(backend: SqliteBackend) -> None:
    with pytest.raises(StoreMissing, match=r"no store at .*relay\.db; has `relay serve` run\?"):
        backend.administration()
    assert not backend.path.parent.exists()


async def test_a_store_at_rest_can_be_administered(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    await store.add(message(), claimed=True, events=[])
    await store.close()
    with backend.administration() as administration:
        administration.set_toggle(toggle())
        [listed] = administration.messages(dead=False)
        administration.drop(listed.message.queue_id, "root")
    store = backend.store()
    assert await store.open() == 0
    assert store.orders() == orders(acme=toggle())
    await store.close()


async def test_administration_says_when_the_store_is_kept_locked(
    backend: SqliteBackend, administration: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.queue.sqlite.connecting._BUSY_S", 0.1)
    with closing(connect(backend.path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process keeps it locked"):
            administration.set_toggle(toggle())
        holder.execute("ROLLBACK")
        administration.set_toggle(toggle())
