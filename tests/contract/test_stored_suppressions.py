"""The suppression list: what the relay asks of it, what strikes and administrators put on it."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, parsed

from relay.model.address import canonical
from relay.model.ports import Also, Retention
from relay.model.suppression import Source, Strike, Suppression
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore

DAY = 86400.0
GONE = "gone@customer.example"
LONG = Retention(dead_s=1e6, dead_bytes=10**9, audit_s=1e9, audit_bytes=10**9)


@pytest.fixture
def administration(store: SqliteStore, backend: SqliteBackend) -> Iterator[Administration]:
    with backend.administration() as administration:
        yield administration


def entry(
    address: str = GONE,
    tenant: str = "acme",
    source: Source = Source.MANUAL,
    until: float | None = None,
    reason: str = "asked for it",
) -> Suppression:
    return Suppression(tenant, address, source, reason, "dana", at=NOW, until=until)


async def strike(
    store: SqliteStore,
    day: float,
    address: str = GONE,
    tenant: str = "acme",
    after: int = 2,
    expire_s: float = 30 * DAY,
) -> None:
    # Now that time.time() rules what is in force, days are counted from the present.
    at = time.time() + day * DAY
    struck = Strike(tenant, address, "550 5.1.1 no such user", at, after, expire_s)
    await store.settle([], [], Also(strikes=[struck]))


def events(backend: SqliteBackend) -> list[tuple[str, str, str, str]]:
    told = parsed(backend.trail(names=["suppression.added", "suppression.removed"]))
    return [(e["event"], e.get("tenant", ""), e["address"], e["actor"]) for e in told]


# -- asking


async def test_nothing_is_suppressed_at_first(store: SqliteStore) -> None:
    assert store.suppressed("acme", [GONE]) == {}


async def test_suppressed_for_the_tenant_or_for_all(
    store: SqliteStore, administration: Administration
) -> None:
    mine, everyones = entry(), entry("all@customer.example", tenant="")
    theirs = entry("theirs@customer.example", tenant="globex")
    administration.suppress([mine, everyones, theirs])
    store.orders()
    asked = [GONE, everyones.address, theirs.address, "good@customer.example"]
    assert store.suppressed("acme", asked) == {GONE: mine, everyones.address: everyones}
    assert store.suppressed("", asked) == {everyones.address: everyones}
    assert store.suppressed("acme", []) == {}


async def test_spelling_does_not_matter(store: SqliteStore, administration: Administration) -> None:
    administration.suppress([entry("Jürgen@GRÖSSE.example")])
    store.orders()
    spelled = "JÜRGEN@größe.example"
    [found] = store.suppressed("acme", [spelled]).items()
    assert found[0] == spelled
    assert found[1].address == canonical(spelled)
    assert administration.unsuppress("acme", "jürgen@Grösse.example", "dana", "back")


async def test_octets_that_are_no_utf8_are_no_error(
    store: SqliteStore, administration: Administration
) -> None:
    administration.suppress([entry()])
    store.orders()
    odd = "gr\udcfc\udcdfe@c.example"
    assert store.suppressed("acme", [odd, GONE]) == {GONE: entry()}
    await strike(store, 0, address=odd, after=1)
    assert set(store.suppressed("acme", [odd])) == {odd}


async def test_what_has_expired_does_not_count(
    store: SqliteStore, administration: Administration
) -> None:
    now = time.time()
    administration.suppress([entry(until=now - 1), entry("b@c.example", until=now + 100)])
    store.orders()
    assert list(store.suppressed("acme", [GONE, "b@c.example"])) == ["b@c.example"]
    assert [e.address for e in administration.suppressions()] == ["b@c.example"]


async def test_an_automatic_entry_does_not_hide_one_that_nothing_passes_over(
    store: SqliteStore, administration: Administration
) -> None:
    by_hand = entry(tenant="")
    administration.suppress([by_hand, entry(source=Source.AUTOMATIC)])
    store.orders()
    assert store.suppressed("acme", [GONE]) == {GONE: by_hand}
    assert store.suppressed("globex", [GONE]) == {GONE: by_hand}


async def test_a_list_of_a_former_life_is_known_at_once(
    store: SqliteStore, administration: Administration, backend: SqliteBackend
) -> None:
    administration.suppress([entry()])
    await store.close()
    again = backend.store()
    await again.open()
    assert again.suppressed("acme", [GONE]) == {GONE: entry()}
    await again.close()


# -- strikes


async def test_strikes_on_different_days_suppress(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    store.orders()
    await strike(store, 0)
    await strike(store, 0)
    assert store.suppressed("acme", [GONE]) == {}
    await strike(store, 1, address="GONE@Customer.Example")
    found = store.suppressed("acme", [GONE])[GONE]
    assert (found.source, found.actor) == (Source.AUTOMATIC, "relay")
    assert found.reason == "550 5.1.1 no such user"
    assert found.until == pytest.approx(found.at + 30 * DAY)
    assert store.suppressed("globex", [GONE]) == {}
    assert list(administration.suppressions()) == [found]
    assert events(backend) == [("suppression.added", "acme", GONE, "relay")]
    assert store.orders() is None, "only administrators' changes are orders"


async def test_strikes_of_others_do_not_add_up(store: SqliteStore) -> None:
    await strike(store, 0)
    await strike(store, 1, tenant="globex")
    await strike(store, 1, address="other@customer.example")
    for tenant in ("acme", "globex"):
        assert store.suppressed(tenant, [GONE, "other@customer.example"]) == {}


async def test_one_strike_may_do(store: SqliteStore) -> None:
    await strike(store, 0, after=1)
    assert set(store.suppressed("acme", [GONE])) == {GONE}


@pytest.mark.parametrize("tenant", ["acme", ""])
async def test_strikes_do_not_change_what_a_person_has_said(
    store: SqliteStore, administration: Administration, tenant: str
) -> None:
    administration.suppress([entry(tenant=tenant)])
    await strike(store, 0, after=1)
    assert list(administration.suppressions()) == [entry(tenant=tenant)]


async def test_an_expired_entry_is_replaced_by_new_strikes(store: SqliteStore) -> None:
    await strike(store, -9, after=1, expire_s=DAY)
    assert store.suppressed("acme", [GONE]) == {}
    await strike(store, 0)
    assert store.suppressed("acme", [GONE]) == {}, "the old strikes have done their work"
    await strike(store, 1)
    assert set(store.suppressed("acme", [GONE])) == {GONE}


async def test_who_is_taken_off_the_list_begins_anew(
    store: SqliteStore, administration: Administration
) -> None:
    await strike(store, 0, after=1)
    await strike(store, 1)
    assert administration.unsuppress("acme", GONE, "dana", "mailbox is back")
    await strike(store, 2)
    assert store.orders() is not None
    assert store.suppressed("acme", [GONE]) == {}


# -- administrators


async def test_a_running_relay_notices_the_list(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    store.orders()
    assert store.suppressed("acme", [GONE]) == {}
    assert administration.suppress([entry()]) == 1
    store.orders()
    assert store.suppressed("acme", [GONE]) == {GONE: entry()}
    assert administration.unsuppress("acme", GONE, "dana", "back") is True
    store.orders()
    assert store.suppressed("acme", [GONE]) == {}
    assert administration.unsuppress("acme", GONE, "dana", "back") is False
    assert events(backend) == [
        ("suppression.added", "acme", GONE, "dana"),
        ("suppression.removed", "acme", GONE, "dana"),
    ]


async def test_what_is_on_the_list_already_is_nothing_new(
    administration: Administration, backend: SqliteBackend
) -> None:
    assert administration.suppress([entry(), entry(), entry("b@c.example")]) == 2
    assert administration.suppress([entry(), replace(entry("b@c.example"), at=NOW + 5)]) == 0
    assert administration.suppress([entry(reason="again"), entry("b@c.example", until=NOW)]) == 2
    assert administration.suppress([entry("b@c.example", source=Source.IMPORT, until=NOW)]) == 1
    assert len(events(backend)) == 5


async def test_a_long_list_goes_in_and_comes_out_in_parts(administration: Administration) -> None:
    def made() -> Iterator[Suppression]:
        for n in range(1600):
            yield entry(f"a{n:04}@c.example", tenant=("", "acme", "globex", "globex")[n % 4])

    assert administration.suppress(made()) == 1600
    listed = list(administration.suppressions())
    assert listed == sorted(made(), key=lambda e: (e.tenant, e.address))
    assert next(administration.suppressions()) == listed[0]
    for tenant, count in (("", 400), ("acme", 400), ("globex", 800), ("nobody", 0)):
        of_one = list(administration.suppressions(tenant))
        assert of_one == [e for e in listed if e.tenant == tenant]
        assert len(of_one) == count


async def test_an_address_is_found_on_the_list(administration: Administration) -> None:
    administration.suppress([entry(), entry(tenant="globex"), entry("b@c.example")])
    assert [e.tenant for e in administration.suppressions(address=GONE.upper())] == [
        "acme",
        "globex",
    ]
    assert list(administration.suppressions("globex", GONE)) == [entry(tenant="globex")]
    assert list(administration.suppressions("globex", "b@c.example")) == []


# -- retention


async def test_expired_entries_go_and_it_is_told(
    store: SqliteStore, backend: SqliteBackend, administration: Administration
) -> None:
    until = time.time() + 100
    lasting = entry("lasting@c.example", tenant="")
    passing = [entry(f"a{n}@c.example", until=until) for n in range(450)]
    administration.suppress([lasting, *passing])
    await store.purge(LONG, until - 1)
    assert len(list(administration.suppressions())) == 451
    await store.purge(LONG, until)
    assert list(administration.suppressions()) == [lasting]
    removed = parsed(backend.trail(names=["suppression.removed"]))
    assert len(removed) == 450
    assert {(e["actor"], e["reason"], e["tenant"]) for e in removed} == {
        ("relay", "expired", "acme")
    }


async def test_old_strikes_are_forgotten(store: SqliteStore) -> None:
    await strike(store, 0)
    await store.purge(LONG, time.time() + 29 * DAY)
    await strike(store, 29, address="b@c.example")
    await store.purge(LONG, time.time() + 31 * DAY + 1)
    await strike(store, 32)
    assert store.suppressed("acme", [GONE]) == {}
    await strike(store, 32, address="b@c.example")
    assert set(store.suppressed("acme", [GONE, "b@c.example"])) == {"b@c.example"}
