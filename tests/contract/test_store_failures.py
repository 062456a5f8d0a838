"""A full disk, a failing one, a lock that is not let go: StoreError now, and mail again after."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from sqlite3 import Connection
from threading import current_thread

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, orders, parsed, settlement

from relay.model.events import Event, config_loaded, email_accepted
from relay.model.message import Ending
from relay.model.ports import StoreError
from relay.queue.sqlite import connecting
from relay.queue.sqlite.store import SqliteStore

_connect = connecting.connect


@dataclass
class Disk:
    """The writer's disk: SQLite's own limit of pages makes it full for real."""

    writers: list[Connection] = field(default_factory=list)

    def connect(self, path: Path, *, patience_s: float = 1.0) -> Connection:
        connection = _connect(path, patience_s=patience_s)
        if current_thread().name == "store-writer":
            self.writers.append(connection)
        return connection

    def fill(self) -> None:
        """SQLite takes the present size where that is more."""
        self._limit(1)

    def clear(self) -> None:
        self._limit(2**30)

    def _limit(self, pages: int) -> None:
        self.writers[-1].execute(f"PRAGMA max_page_count = {pages}").fetchall()


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(connecting, "connect", disk.connect)
    return disk


@pytest.fixture
async def store(backend: SqliteBackend, disk: Disk) -> AsyncIterator[SqliteStore]:
    store = backend.store()
    await store.open()
    await store.add(message(tenant="first"), claimed=False, events=[])
    yield store
    await store.close()


async def fill_up(store: SqliteStore, disk: Disk) -> list[str]:
    """Keeps messages until no more go in; those that did."""
    disk.fill()
    kept: list[str] = []
    async with asyncio.timeout(20):
        while not (failure := await failure_to_keep(store, kept)):
            pass
    assert "relay.db: no room is left for it: free disk space" in str(failure)
    assert failure.__cause__ is not None
    return kept


async def failure_to_keep(store: SqliteStore, kept: list[str]) -> StoreError | None:
    large = message(chunks=(b"x" * 50_000,))
    try:
        await store.add(large, claimed=True, events=[email_accepted(large)])
    except StoreError as error:
        return error
    kept.append(large.queue_id)
    return None


async def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(
    store: SqliteStore, disk: Disk, backend: SqliteBackend
) -> None:
    await store.add(resident := message(chunks=(b"y" * 200_000,)), claimed=True, events=[])
    await fill_up(store, disk)
    large = [message(chunks=(b"x" * 50_000,)) for _ in range(5)]
    results = await asyncio.gather(
        store.add(large[0], claimed=True, events=[]),
        # What ends a message gives room instead.
        store.settle([settlement(resident, Ending.DONE)], []),
        store.add(large[1], claimed=True, events=[]),
        return_exceptions=True,
    )
    assert results[1] is None
    assert sum(isinstance(result, StoreError) for result in results) <= 2
    disk.clear()
    for again in large[2:]:
        await store.add(again, claimed=True, events=[])
    with backend.administration() as administration:
        found = {listed.message.queue_id for listed in administration.messages(dead=False)}
    assert {m.queue_id for m in large[2:]} <= found
    assert resident.queue_id not in found


async def test_a_full_disk_leaves_no_half_of_a_message(
    store: SqliteStore, disk: Disk, backend: SqliteBackend
) -> None:
    kept = await fill_up(store, disk)
    usage = store.usage
    disk.clear()
    with backend.administration() as administration:
        found = [listed.message.queue_id for listed in administration.messages(dead=False)]
    assert found[1:] == kept
    told = [event["queue_id"] for event in parsed(backend.trail())]
    assert told == kept
    assert usage.messages == len(kept) + 1


async def test_events_told_while_the_disk_is_full_are_stored_after(
    disk: Disk, backend: SqliteBackend
) -> None:
    committed: list[tuple[Event, bytes]] = []
    store = backend.store(committed.extend)
    await store.open()
    await store.add(message(), claimed=False, events=[])
    await fill_up(store, disk)
    before = len(backend.trail())
    long = "x" * 20_000
    for number in range(20):
        store.tell(config_loaded(long, number, 0))
    with pytest.raises(StoreError):
        await store.add(message(chunks=(b"x" * 50_000,)), claimed=True, events=[])
    assert len(backend.trail()) < before + 20
    disk.clear()
    await store.add(message(), claimed=False, events=[])
    assert [event["tenants"] for event in parsed(backend.trail()[before:])] == list(range(20))
    assert store.lost_events == 0
    await store.close()
    assert [line for _, line in committed] == backend.trail()


async def test_a_store_kept_locked_fails_in_time_and_not_for_good(
    store: SqliteStore, backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_BUSY_S", 0.2)
    with closing(_connect(backend.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        # Not five times as long for five who wait.
        async with asyncio.timeout(1):
            results = await asyncio.gather(
                *(store.add(message(), claimed=False, events=[]) for _ in range(20)),
                return_exceptions=True,
            )
        assert all("another process keeps it locked" in str(result) for result in results)
        assert (await store.due(NOW)).tenants == ("first",), "reading goes on"
        assert store.orders() == orders()
        other.execute("ROLLBACK")
    await store.add(message(), claimed=False, events=[])
    assert store.usage.messages == 2


async def test_a_fault_in_one_change_is_that_change_s(store: SqliteStore) -> None:
    """Anything at all that goes wrong for one must not stop the thread that writes for all."""
    odd = message()
    object.__setattr__(odd, "priority", {"not": "a number"})
    results = await asyncio.gather(
        store.add(message(), claimed=False, events=[]),
        store.add(odd, claimed=False, events=[]),
        store.add(message(), claimed=False, events=[]),
        return_exceptions=True,
    )
    assert [isinstance(result, StoreError) for result in results] == [False, True, False]
    await store.add(message(), claimed=False, events=[])


async def test_a_message_whose_event_can_not_be_stored_is_not_kept(
    store: SqliteStore, backend: SqliteBackend
) -> None:
    """And those that came with it are kept once."""
    kept = [message() for _ in range(3)]
    told = [email_accepted(kept[0]), replace(email_accepted(kept[1]), queue_id="no identifier")]
    results = await asyncio.gather(
        store.add(kept[0], claimed=True, events=told[:1]),
        store.add(kept[1], claimed=True, events=told[1:]),
        store.add(kept[2], claimed=True, events=[]),
        return_exceptions=True,
    )
    assert [isinstance(result, StoreError) for result in results] == [False, True, False]
    with backend.administration() as administration:
        under_way = [m.message.queue_id for m in administration.messages(False) if m.claimed]
    assert under_way == [kept[0].queue_id, kept[2].queue_id]
    assert len(backend.trail()) == 1


# RLIMIT_FSIZE makes writes fail for real (EFBIG), as a failing disk does, without being root.
_FAILING_WRITES = """
import asyncio, resource, sys
from pathlib import Path
from contract.conftest import SqliteBackend
from contract.letters import message, settlement
from relay.model.message import Ending
from relay.model.ports import StoreError

async def main():
    backend = SqliteBackend(Path(sys.argv[1]))
    store = backend.store()
    await store.open()
    resident = message()
    await store.add(resident, claimed=True, events=[])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    failures = 0
    while failures < 3:
        try:
            await store.add(message(chunks=(b"x" * 30_000,)), claimed=False, events=[])
        except StoreError as error:
            assert "the disk failed" in str(error) or "no room" in str(error), error
            failures += 1
    file = store.new_spool_file()
    try:
        await file.write(b"x" * 500_000)
    except StoreError as error:
        assert "relay.db.spool" in str(error), error
        failures += 1
        file.discard()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    before = store.usage.messages
    await store.settle([settlement(resident, Ending.DONE)], [])
    for _ in range(100):
        await store.add(message(chunks=(b"x" * 30_000,)), claimed=False, events=[])
    assert store.usage.messages == before + 99, store.usage
    await store.close()
    print(failures, before)

asyncio.run(main())
"""


def test_a_disk_that_fails_for_a_while(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _FAILING_WRITES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": "tests"},
    )
    assert ran.stderr == ""
    failures, kept = ran.stdout.split()
    assert failures == "4"
    with SqliteBackend(tmp_path).administration() as administration:
        assert len(list(administration.messages(dead=False))) == int(kept) + 99
