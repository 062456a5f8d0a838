"""The running sums of what mail came to: charged with the events that tell of it, once, cheaply,
and read without looking at the trail.
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import orjson
import pytest
from contract.conftest import SqliteBackend
from contract.letters import message, settlement

from relay.model.causes import Cause, Scope
from relay.model.events import Event, Way, email_accepted, email_expired, of_attempt
from relay.model.figures import Figures, octave
from relay.model.identifiers import encode, first_at
from relay.model.message import Ending, Kind, Message, Recipient
from relay.model.ports import Also, Retention
from relay.model.reply import Reply
from relay.model.result import Attempt, Deferred, Failed, Relayed, Result
from relay.queue.sqlite import tallying
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.store import SqliteStore

OWN = Way("acme-mail", "tenant")
SENT = Relayed(Reply(250, "2.0.0", "ok"))
TWO = (Recipient(0, "ann@customer.example"), Recipient(1, "bob@customer.example"))
FOR_EVER = Retention(1e9, 10**12, 1e9, 10**12)
HOUR_S = 3600.0
NOON = 1_800_000_000.0


def came_to(
    one: Message, result: Result = SENT, way: Way = OWN, queued_ms: float | None = None
) -> Event:
    event = of_attempt(one, way, one.recipients, result, Attempt((result,), "mx", None, 0.1))
    if queued_ms is not None:
        event.fields["queued_ms"] = queued_ms
    return event


async def settle(store: SqliteStore, *events: Event) -> None:
    one = message()
    await store.settle([settlement(one, Ending.DONE)], events)


def tallied(backend: SqliteBackend, since: float = 0.0) -> dict[tuple[str, str, str], Figures]:
    with backend.administration() as administration:
        by_way = administration.tallies(since).by_way
    return {(tally.tenant, tally.upstream, tally.route): tally.figures for tally in by_way}


async def test_recipients_are_counted_by_what_became_of_them(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    pair, one = message(recipients=TWO), message()
    refused = Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT)
    deferred = Deferred(Cause.RATE_LIMITED, Scope.UPSTREAM)
    await settle(store, came_to(pair, queued_ms=100.0), came_to(one, queued_ms=400.0))
    await settle(store, came_to(pair, deferred), came_to(pair, deferred))
    await settle(store, came_to(one, refused))
    await settle(store, email_expired(pair, Way(None, None), pair.recipients, "wait"))
    await settle(store, came_to(message(tenant=""), way=Way("ses", "default"), queued_ms=7.5))
    assert tallied(backend) == {
        ("acme", "acme-mail", "tenant"): Figures(
            3, 4, 1, 0, 600.0, {octave(100): 2, octave(400): 1}
        ),
        ("acme", "", ""): Figures(expired=2),
        ("", "ses", "default"): Figures(1, 0, 0, 0, 7.5, {octave(7.5): 1}),
    }


async def test_the_relays_own_mail_is_not_counted(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    await settle(store, came_to(message(kind=Kind.DSN)), came_to(message(kind=Kind.ALERT)))
    assert tallied(backend) == {}


async def test_a_settle_that_is_repeated_counts_once(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    one, other = message(), message()
    first, second = came_to(one, queued_ms=1.0), came_to(other, queued_ms=1.0)
    before = store.usage
    await store.settle([settlement(one, Ending.DONE)], [first])
    octets = ledger(backend, "audit_bytes")
    # Alone, beside something new, and twice at once.
    await store.settle([settlement(one, Ending.DONE)], [first])
    assert ledger(backend, "audit_bytes") == octets
    again = [
        store.settle([settlement(one, Ending.DONE)], [first]),
        store.settle([settlement(other, Ending.DONE)], [second]),
        store.settle([settlement(other, Ending.DONE)], [second]),
    ]
    await asyncio.gather(*again)
    assert [figures.sent for figures in tallied(backend).values()] == [2]
    assert len(backend.trail()) == 2
    assert ledger(backend, "audit_bytes") == sum(map(len, backend.trail()))
    assert store.usage == before


def ledger(backend: SqliteBackend, column: str) -> Any:
    with closing(sqlite3.connect(backend.path)) as connection:
        return connection.execute(f"SELECT {column} FROM ledger").fetchone()[0]


async def test_what_is_stored_beside_a_first_way_is_stored_once(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    """The transaction is made anew when mail takes a way for the first time."""
    alert = message(kind=Kind.ALERT)
    one = message()
    await store.add(one, claimed=True, events=[email_accepted(one)])
    await store.settle([settlement(one, Ending.DONE)], [came_to(one)], Also(messages=[alert]))
    assert store.usage.messages == 1
    assert len(backend.trail()) == 2
    assert [figures.sent for figures in tallied(backend).values()] == [1]


async def test_many_are_charged_by_one_statement(
    store: SqliteStore, backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[int] = []
    add = tallying._add_tallies

    def counting(connection: sqlite3.Connection, rows: Any) -> int:
        charged.append(len(rows))
        return add(connection, rows)

    await settle(store, came_to(message(), queued_ms=5.0))
    monkeypatch.setattr(tallying, "_add_tallies", counting)
    await asyncio.gather(*(settle(store, came_to(message(), queued_ms=5.0)) for _ in range(50)))
    assert charged == [1]
    assert [figures.sent for figures in tallied(backend).values()] == [51]


async def test_odd_names_are_counted_too(store: SqliteStore, backend: SqliteBackend) -> None:
    await settle(store, came_to(message(tenant="a\udce9"), way=Way("ü", "tenant")))
    await settle(store, came_to(message(tenant="a\udce9"), way=Way("ü", "tenant")))
    assert {way: f.sent for way, f in tallied(backend).items()} == {("a\\udce9", "ü", "tenant"): 2}


def at(moment: float, event: Event) -> Event:
    """The event as if it were told then."""
    return replace(event, ts=moment, event_id=encode(first_at(moment) + 1))


async def test_figures_begin_with_the_half_hour_that_was_asked_for(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    assert NOON % 1800 == 0
    one = message()
    await settle(store, *(at(NOON + minutes * 60, came_to(one)) for minutes in (-1, 1, 29, 31)))
    [(_, since_quarter_past)] = tallied(backend, NOON + 900).items()
    assert since_quarter_past.sent == 3
    with backend.administration() as administration:
        assert administration.tallies(NOON + 900).since == NOON
    assert sum(figures.sent for figures in tallied(backend, NOON + 1800).values()) == 1


async def test_last_sent_is_by_tenant(store: SqliteStore, backend: SqliteBackend) -> None:
    refused = Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT)
    await settle(
        store,
        at(NOON + 1, came_to(message())),
        at(NOON + 2.5, came_to(message(), way=Way("ses", "failover"))),
        at(NOON + 3, came_to(message(), refused)),
        at(NOON - 7200, came_to(message())),
        came_to(message(tenant="globex"), refused),
    )
    with backend.administration() as administration:
        assert administration.last_sent() == {"acme": NOON + 2.5}


# -- retention


async def test_sums_go_with_the_trail(store: SqliteStore, backend: SqliteBackend) -> None:
    now = time.time()
    ages = (30 * HOUR_S, 100 * HOUR_S, HOUR_S)
    await settle(store, *(at(now - age, came_to(message())) for age in ages))
    await store.purge(replace(FOR_EVER, audit_s=90 * HOUR_S), now)
    assert sum(figures.sent for figures in tallied(backend).values()) == 2
    await store.purge(replace(FOR_EVER, audit_s=20 * HOUR_S), now)
    assert sum(figures.sent for figures in tallied(backend).values()) == 1


async def test_the_last_day_is_known_however_short_the_trail_is(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    now = time.time()
    await settle(store, *(at(now - h * HOUR_S, came_to(message())) for h in (1, 23, 40)))
    await store.purge(replace(FOR_EVER, audit_bytes=0), now)
    assert backend.trail() == []
    assert sum(figures.sent for figures in tallied(backend).values()) == 2


# -- what it costs to read


async def explained(backend: SqliteBackend, query: str, parameters: Any) -> list[str]:
    with closing(sqlite3.connect(backend.path)) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + SQL[query], parameters).fetchall()
    return [detail for *_, detail in plan]


@pytest.mark.usefixtures("store")
async def test_figures_never_look_at_the_trail(backend: SqliteBackend) -> None:
    details = await explained(backend, "tallies", (1,))
    assert "SEARCH tally USING PRIMARY KEY (slot>?)" in details
    assert not any("event" in detail for detail in details)
    details = await explained(backend, "last_sent", ())
    assert "SEARCH tally USING COVERING INDEX tally_sent (way=?)" in details
    assert not any("event" in detail or "SCAN tally" in detail for detail in details)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("query", "index"),
    [("latest", "event_rare (name=?)"), ("latest_of_tenant", "event_rare_tenant (name=? AND")],
)
async def test_the_latest_event_is_one_seek(backend: SqliteBackend, query: str, index: str) -> None:
    details = await explained(backend, query, {"names": '["test.sent"]', "tenant": "acme"})
    assert any(f"SEARCH event USING COVERING INDEX {index}" in detail for detail in details)
    assert not any(detail.startswith("SCAN event") for detail in details)


def instructions(backend: SqliteBackend, work: Any) -> int:
    """Of SQLite's virtual machine."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with backend.administration() as administration:
        connection = administration._connection
        connection.set_progress_handler(step, 1)
        work(administration)
        connection.set_progress_handler(None, 0)
    return count


async def test_a_longer_trail_costs_status_and_inventory_nothing(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    def all_that_is_asked(administration: Any) -> None:
        administration.tallies(time.time() - 24 * HOUR_S)
        administration.last_sent()
        administration.counts()
        administration.toggles()
        administration.pauses()
        administration.latest(["email.send_failed", "email.expired"], "acme")
        administration.latest(["drill.run"])

    refused = Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT)

    def some() -> list[Event]:
        return [came_to(message(), queued_ms=5.0), came_to(message(), refused)]

    await settle(store, *some())
    short = instructions(backend, all_that_is_asked)
    for _ in range(20):
        await settle(store, *(event for _ in range(50) for event in some()))
    assert instructions(backend, all_that_is_asked) <= short * 1.1


# -- the latest event


async def test_the_latest_of_some_events(store: SqliteStore, backend: SqliteBackend) -> None:
    def told(name: Any, tenant: str | None, number: int) -> Event:
        return at(NOON + number, Event(name, {"number": number}, tenant))

    with backend.administration() as administration:
        assert administration.latest(["test.sent"]) is None
        administration.tell(
            told("test.sent", "acme", 1),
            told("test.failed", "acme", 3),
            told("test.sent", "globex", 4),
            told("drill.run", None, 5),
        )

        def number(*names: str, tenant: str | None = None) -> Any:
            line = administration.latest(names, tenant)
            return line and orjson.loads(line)["number"]

        assert number("test.sent", "test.failed", tenant="acme") == 3
        assert number("test.sent", tenant="acme") == 1
        assert number("test.sent", "test.failed") == 4
        assert number("drill.run") == 5
        assert number("drill.run", tenant="acme") is None
        with pytest.raises(ValueError, match="frequent"):
            administration.latest(["email.sent"])
