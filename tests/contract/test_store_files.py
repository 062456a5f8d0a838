"""The SQLite store's files: how they are made, whose they are, and what is refused at start."""

import asyncio
import grp
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, settlement

from relay.model.message import Ending
from relay.model.ports import StoreError
from relay.queue.errors import StoreMissing, StoreUnusable
from relay.queue.sqlite import opening


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path)


@pytest.fixture(params=[0o000, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def filled(backend: SqliteBackend, messages: int = 20) -> None:
    store = backend.store()
    await store.open()
    for _ in range(messages):
        await store.add(message(chunks=(b"x" * 5000,)), claimed=True, events=[])
    await store.close()


# -- making


@pytest.mark.usefixtures("umask")
async def test_the_group_may_use_what_is_made(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    await store.add(message(), claimed=False, events=[])
    file = store.new_spool_file()
    await file.write(b"x")
    path = backend.path
    spool = path.with_name("relay.db.spool")
    assert (mode(path.parent), mode(spool)) == (0o2770, 0o2770)
    for made in (path, path.with_name("relay.db-wal"), path.with_name("relay.db-shm")):
        assert mode(made) == 0o660
    assert [mode(made) for made in spool.iterdir()] == [0o660]
    file.discard()
    await store.close()
    assert list(spool.iterdir()) == []


async def test_a_directory_that_exists_keeps_its_mode(backend: SqliteBackend) -> None:
    backend.path.parent.mkdir(mode=0o750)
    store = backend.store()
    await store.open()
    await store.close()
    assert mode(backend.path.parent) == 0o750


async def test_a_parent_that_is_missing_is_named(tmp_path: Path) -> None:
    store = SqliteBackend(tmp_path / "not" / "there").store()
    with pytest.raises(StoreError, match="not/there"):
        await store.open()
    await store.close()


async def test_a_closed_store_is_one_file(backend: SqliteBackend) -> None:
    await filled(backend)
    assert sorted(p.name for p in backend.path.parent.iterdir()) == ["relay.db", "relay.db.spool"]


async def test_a_making_that_was_cut_short_is_begun_anew(backend: SqliteBackend) -> None:
    backend.path.parent.mkdir()
    backend.path.with_name("relay.db.new").write_bytes(b"SQLite format 3\0 and no more")
    backend.path.with_name("relay.db.new-journal").write_bytes(b"junk")
    store = backend.store()
    assert await store.open() == 0
    await store.close()


async def test_spool_files_that_no_message_names_go_at_start(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    kept, lost = store.new_spool_file(), store.new_spool_file()
    for file in (kept, lost):
        await file.write(b"x" * 100)
        await file.sync()
    await store.add(message(spool=kept.name, spooled_bytes=100), claimed=True, events=[])
    await store.close()
    again = backend.store()
    assert await again.open() == 1
    spool = backend.path.with_name("relay.db.spool")
    assert [entry.name for entry in spool.iterdir()] == [kept.name]
    await again.close()


@pytest.mark.parametrize("claimed", [True, False], ids=["new", "claimed later"])
async def test_a_spool_file_goes_with_its_message(backend: SqliteBackend, claimed: bool) -> None:
    store = backend.store()
    await store.open()
    file = store.new_spool_file()
    await file.write(b"x" * 100)
    await file.sync()
    kept = message(spool=file.name, spooled_bytes=100)
    await store.add(kept, claimed=claimed, events=[])
    if not claimed:
        await store.claim("acme", 1, NOW)
    await store.settle([settlement(kept, Ending.WAITS)], [])
    spool = backend.path.with_name("relay.db.spool")
    assert [entry.name for entry in spool.iterdir()] == [file.name]
    await store.claim("acme", 1, NOW)
    await store.settle([settlement(kept, Ending.DONE)], [])
    await store.close()
    assert list(spool.iterdir()) == []


async def test_a_spool_file_that_lost_its_end_is_not_handed_over(backend: SqliteBackend) -> None:
    store = backend.store()
    await store.open()
    file = store.new_spool_file()
    await file.write(b"x" * 100)
    await file.sync()
    kept = message(spool=file.name, spooled_bytes=100)
    await store.add(kept, claimed=True, events=[])
    os.truncate(backend.path.with_name("relay.db.spool") / file.name, 99)
    with pytest.raises(StoreError, match="shorter"):
        [_ async for _ in store.read(kept.queue_id, kept.content)]
    await store.close()


# -- refusing


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_a_page(path: Path) -> None:
    os.truncate(path, 4096)


def scribble(path: Path) -> None:
    """Over every page but the first."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        for start in range(4096, size, 4096):
            file.seek(start)
            file.write(b"\xa5" * 200)


def scribble_header(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(16)
        file.write(b"\xff" * 80)


def scribble_freelist(path: Path) -> None:
    """What no query meets: 99 free pages that there are not."""
    with open(path, "r+b") as file:
        file.seek(36)
        file.write((99).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "damage", [truncate, cut_to_a_page, scribble, scribble_header, scribble_freelist]
)
async def test_a_damaged_store_is_refused_with_the_way_to_recover(
    backend: SqliteBackend, damage: Callable[[Path], None]
) -> None:
    await filled(backend)
    damage(backend.path)
    store = backend.store()
    with pytest.raises(StoreUnusable) as refused:
        await store.open()
    text = str(refused.value)
    assert str(backend.path) in text
    assert "The store is damaged" in text
    assert "aside" in text
    await store.close()


async def test_an_emptied_store_is_not_taken_for_a_new_one(backend: SqliteBackend) -> None:
    await filled(backend)
    os.truncate(backend.path, 0)
    with pytest.raises(StoreUnusable, match=r"relay\.db is empty, it was truncated"):
        await backend.store().open()
    with pytest.raises(StoreUnusable, match="truncated"):
        backend.administration()


async def test_a_store_that_is_replaced_takes_no_mail(backend: SqliteBackend) -> None:
    """What SQLite went on writing to the file that was moved away would be lost with it."""
    store = backend.store()
    await store.open()
    await store.add(message(), claimed=False, events=[])
    aside = backend.path.with_name("aside")
    backend.path.rename(aside)
    with pytest.raises(StoreError, match=r"relay\.db: No such file"):
        await store.add(message(), claimed=False, events=[])
    shutil.copy(aside, backend.path)
    with pytest.raises(StoreError, match="was replaced while the relay has it open"):
        await store.add(message(), claimed=False, events=[])
    aside.rename(backend.path)
    await store.add(message(), claimed=False, events=[])
    assert store.usage.messages == 2
    await store.close()


async def test_a_log_without_its_store_is_not_buried(backend: SqliteBackend) -> None:
    """A new store beside an old -wal would take its pages for its own."""
    store = backend.store()
    await store.open()
    await store.add(message(), claimed=False, events=[])
    backend.path.rename(backend.path.with_name("elsewhere"))
    with pytest.raises(StoreUnusable, match=r"relay\.db is gone, but relay\.db-wal"):
        await backend.store().open()
    backend.path.with_name("elsewhere").rename(backend.path)
    await store.close()


@pytest.mark.parametrize("octets", [b"#!/bin/sh\n", b"x", b"SQLite format 2\0" + b"x" * 9000])
async def test_a_file_that_is_no_database_is_refused(backend: SqliteBackend, octets: bytes) -> None:
    backend.path.parent.mkdir()
    backend.path.write_bytes(octets)
    with pytest.raises(StoreUnusable, match=r"relay\.db is no store of a relay"):
        await backend.store().open()
    assert backend.path.read_bytes() == octets


async def test_a_database_of_another_program_is_refused(backend: SqliteBackend) -> None:
    backend.path.parent.mkdir()
    with closing(sqlite3.connect(backend.path)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    before = backend.path.read_bytes()
    with pytest.raises(StoreUnusable, match="of another program"):
        await backend.store().open()
    with pytest.raises(StoreUnusable, match="of another program"):
        backend.administration()
    assert backend.path.read_bytes() == before


async def test_a_store_of_a_newer_relay_is_refused(backend: SqliteBackend) -> None:
    await filled(backend)
    with closing(sqlite3.connect(backend.path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnusable, match=r"made by a newer relay \(schema 99"):
        await backend.store().open()
    with pytest.raises(StoreUnusable, match="newer relay"):
        backend.administration()


async def test_an_older_store_is_migrated_by_serve_alone(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(backend, messages=3)
    known = opening._migrations()
    newer = known | {max(known) + 1: "ALTER TABLE toggle ADD COLUMN extra TEXT;"}
    monkeypatch.setattr(opening, "_migrations", lambda: newer)
    with pytest.raises(StoreUnusable, match="start `relay serve`"):
        backend.administration()
    store = backend.store()
    assert await store.open() == 3
    await store.close()
    with backend.administration() as administration:
        assert len(list(administration.messages(dead=False))) == 3


async def test_a_migration_that_fails_changes_nothing(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(backend, messages=3)
    known = opening._migrations()
    broken = known | {
        max(known) + 1: "ALTER TABLE toggle ADD COLUMN extra TEXT;",
        max(known) + 2: "ALTER TABLE nonsense ADD COLUMN extra TEXT;",
    }
    with monkeypatch.context() as patch:
        patch.setattr(opening, "_migrations", lambda: broken)
        with pytest.raises(StoreError, match="nonsense"):
            await backend.store().open()
    with closing(sqlite3.connect(backend.path)) as connection:
        columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(toggle)")}
    assert "extra" not in columns
    store = backend.store()
    assert await store.open() == 3
    await store.close()


# -- people


_AS_NOBODY = """
import os, sys
from pathlib import Path
import encodings.idna, grp, pwd
from relay.queue.sqlite.admin import Administration
from relay.queue.errors import StoreForbidden
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    Administration(Path(sys.argv[1]), lambda event: b"")
except StoreForbidden as error:
    print(error)
"""


def as_nobody(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/",
        check=False,
    )


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="relay-contract-"))
    directory.chmod(0o755)
    yield directory
    for entry in directory.rglob("*"):
        entry.chmod(0o700)
    shutil.rmtree(directory)


@pytest.mark.parametrize("closed", ["store", "store/relay.db"])
async def test_a_person_without_the_right_is_told_file_and_group(
    open_directory: Path, closed: str
) -> None:
    backend = SqliteBackend(open_directory)
    await filled(backend, messages=1)
    group = backend.path.parent.stat().st_gid
    backend.path.parent.chmod(0o755)
    (open_directory / closed).chmod(0o000 if os.geteuid() else 0o750)
    told = await asyncio.to_thread(as_nobody, backend.path)
    assert told.stderr == ""
    name = grp.getgrgid(group).gr_name
    assert str(backend.path) in told.stdout
    assert f"{open_directory / closed} belongs to group {name}" in told.stdout
    assert f"usermod -aG {name}" in told.stdout


def test_a_store_behind_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreMissing):
        SqliteBackend(tmp_path).administration()
