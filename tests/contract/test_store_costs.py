"""What must stay cheap, counted in steps rather than measured, so that it holds on any machine."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, settlement

from relay.model.events import email_accepted
from relay.model.message import Ending
from relay.model.ports import Also, Retention, Spent
from relay.queue.sqlite import claiming, connecting
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.store import SqliteStore

_connect = connecting.connect


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path)


async def backlog(store: SqliteStore, tenants: int, each: int, due: float = NOW) -> None:
    for number in range(tenants):
        some = [
            message(tenant=f"t{number}", priority=n % 3, arrived_at=due, chunks=(b"x",))
            for n in range(each)
        ]
        await asyncio.gather(*(store.add(m, claimed=False, events=[]) for m in some))


def instructions(connection: Connection, work: Callable[[Connection], Any]) -> int:
    """Of SQLite's virtual machine."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 1)
    work(connection)
    connection.set_progress_handler(None, 0)
    return count


async def test_due_costs_by_tenants_and_not_by_messages(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    with closing(_connect(backend.path)) as connection:
        await backlog(store, tenants=4, each=10)
        few = instructions(connection, lambda c: claiming.due(c, NOW))
        await backlog(store, tenants=4, each=1000)
        many = instructions(connection, lambda c: claiming.due(c, NOW))
        await backlog(store, tenants=8, each=10)
        more_tenants = instructions(connection, lambda c: claiming.due(c, NOW))
    assert many <= few * 1.1
    assert more_tenants <= few * 2.2
    await store.close()


@pytest.mark.parametrize(("due", "limit"), [(NOW - 10, 5), (NOW + 10, 50)], ids=["due", "not due"])
async def test_a_claim_costs_by_what_it_takes(
    backend: SqliteBackend, due: float, limit: int
) -> None:
    store = backend.store()
    await store.open()

    def claim_nothing_kept(connection: Connection) -> None:
        connection.execute("BEGIN")
        claiming.claim(connection, "t0", "", limit, NOW)
        connection.execute("ROLLBACK")

    with closing(_connect(backend.path)) as connection:
        await backlog(store, tenants=1, each=30)
        few = instructions(connection, claim_nothing_kept)
        await backlog(store, tenants=1, each=3000, due=due)
        many = instructions(connection, claim_nothing_kept)
    assert many <= few * 1.1 + 100
    await store.close()


async def test_due_reads_its_index_alone(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    await store.close()
    with closing(_connect(backend.path)) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + SQL["due"]).fetchall()
    of_messages = [detail for *_, detail in plan if "message" in detail]
    assert len(of_messages) == 3
    assert all("SEARCH message USING COVERING INDEX message_pending" in d for d in of_messages)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those of all connections of the store."""
    traced: list[str] = []

    def connect(path: Path, **how: Any) -> Connection:
        connection = _connect(path, **how)
        connection.set_trace_callback(traced.append)
        return connection

    monkeypatch.setattr(connecting, "connect", connect)
    return traced


def steps(statements: list[str]) -> list[str]:
    """What triggers do within a step is traced as if the step came again."""
    return [statement for statement, _ in groupby(statements)]


async def test_unchanged_orders_cost_one_pragma(
    backend: SqliteBackend, statements: list[str]
) -> None:
    store = backend.store()
    await store.open()
    store.orders()
    statements.clear()
    for _ in range(3):
        assert store.orders() is None
    assert statements == ["PRAGMA data_version"] * 3
    await store.close()


async def test_an_empty_list_of_suppressions_costs_nothing(
    backend: SqliteBackend, statements: list[str]
) -> None:
    store = backend.store()
    await store.open()
    store.orders()
    assert store.suppressed("acme", ["a@c.example"]) == {}
    statements.clear()
    await store.add(message(), claimed=True, events=[])
    asked = [s for s in statements if "suppression" in s]
    for _ in range(3):
        assert store.suppressed("acme", ["a@c.example"]) == {}
    assert asked == [s for s in statements if "suppression" in s] == []
    await store.close()


async def test_nothing_parked_is_nothing_written(
    backend: SqliteBackend, statements: list[str]
) -> None:
    store = backend.store()
    await store.open()
    await store.add(message(), claimed=False, events=[])
    statements.clear()
    await store.unpark(NOW)
    assert len(statements) == 1
    await store.close()


@pytest.mark.parametrize(
    ("query", "parameters", "index"),
    [
        ("parked_until", {"after": 0, "most": 9}, "COVERING INDEX message_parked"),
        ("unpark", {"after": 0, "last": 9, "now": 0}, "INDEX message_parked"),
        ("untold", {"purge_soon": 0}, "INDEX message_told"),
        ("tell", {"until": 0, "stage": 1, "tenants": "[]"}, "INDEX message_told"),
        ("expire_suppressions", {"now": 0, "most": 9}, "INDEX suppression_until"),
        ("forget_old_strikes", {"before": 0, "most": 9}, "INDEX strike_day"),
        ("suppressed", {"tenant": "", "addresses": "[]", "now": 0}, "PRIMARY KEY"),
    ],
)
async def test_few_are_found_among_many(
    backend: SqliteBackend, query: str, parameters: dict[str, Any], index: str
) -> None:
    store = backend.store()
    await store.open()
    await store.close()
    with closing(_connect(backend.path)) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + SQL[query], parameters).fetchall()
    details = [detail for *_, detail in plan]
    assert any(index in detail for detail in details), details
    scanned = [detail for detail in details if detail.startswith("SCAN")]
    assert all("json_each" in d or "subquery" in d or "SUBQUERY" in d for d in scanned), details


async def test_quotas_of_many_are_charged_by_one_statement(
    backend: SqliteBackend, statements: list[str]
) -> None:
    store = backend.store()
    await store.open()
    kept = [message() for _ in range(32)]
    await asyncio.gather(*(store.add(m, claimed=True, events=[]) for m in kept))
    statements.clear()
    spent = Also(spent=[Spent("ses", 7, 1)])
    await asyncio.gather(
        *(store.settle([settlement(m, Ending.DONE)], [email_accepted(m)], spent) for m in kept)
    )
    assert len(steps(statements)) == 6
    assert await store.spent(0) == [Spent("ses", 7, 32)]
    await store.close()


async def test_many_messages_are_stored_by_few_statements(
    backend: SqliteBackend, statements: list[str]
) -> None:
    """Each statement costs a wait for the interpreter lock while the loop is busy."""
    store = backend.store()
    await store.open()
    kept = [message() for _ in range(32)]
    await store.add(message(), claimed=True, events=[])
    statements.clear()
    adding = [store.add(m, claimed=True, events=[email_accepted(m)]) for m in kept]
    await asyncio.gather(*adding)
    assert len(steps(statements)) == 7
    statements.clear()
    settling = [store.settle([settlement(m, Ending.DONE)], [email_accepted(m)]) for m in kept]
    await asyncio.gather(*settling)
    assert len(steps(statements)) == 5
    await store.close()


async def test_space_is_given_back(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    kept = [message(chunks=(b"x" * 30_000,)) for _ in range(400)]
    await asyncio.gather(*(store.add(m, claimed=True, events=[]) for m in kept))
    await asyncio.gather(*(store.settle([settlement(m, Ending.DONE)], []) for m in kept))
    await store.close()
    full = backend.path.stat().st_size
    store = backend.store()
    await store.open()
    await store.purge(Retention(1e9, 10**12, 1e9, 10**12), NOW)
    await store.close()
    assert full > 12_000_000
    # About 4 MiB are kept for the mail to come.
    assert backend.path.stat().st_size < 5_000_000


async def test_a_commit_waits_for_the_disk(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    await store.close()
    with closing(_connect(backend.path)) as connection:
        for pragma, value in (("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1)):
            assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)
