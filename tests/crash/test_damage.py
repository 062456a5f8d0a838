"""What befalls the store's files while nobody looks: the relay does not start on what it can't keep
its word with, says what is wrong and what to do, and touches nothing. What a crash may leave, it
takes; where one message is damaged, that one alone is concerned."""

import os
import re
import shutil
import smtplib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from crash.load import Letter, Load, until
from crash.premises import Place, place
from support.certificates import Certificates
from support.document import DOCS
from support.lives import queue_id_of
from support.need import need

from relay.model.identifiers import encode
from relay.queue.errors import StoreUnusable
from relay.queue.sqlite.log import check_log

_SMALL, _LARGE = 40, 3
_PAGE = 4096


@dataclass(frozen=True)
class Stores:
    """What a relay left that was killed, and one that was stopped; and what they had promised."""

    killed: Path
    stopped: Path
    promised: Mapping[str, Letter]


@pytest.fixture(scope="module")
def stores(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("left")
    with place(certificates, folder) as here:
        for upstream in here.upstreams:
            upstream.down()
        load = Load(here.port, 0, 0)
        here.relay.start()
        _send(load)
        here.relay.kill()
        shutil.copytree(here.store.parent, folder / "killed")
        here.relay.start()
        here.relay.stop()
        shutil.copytree(here.store.parent, folder / "stopped")
        yield Stores(folder / "killed", folder / "stopped", load.promised)


def _send(load: Load) -> None:
    with smtplib.SMTP("127.0.0.1", load.port, timeout=30) as client:
        for number in range(_SMALL + _LARGE):
            large = number % (_SMALL // _LARGE) == 1
            body = (b"y" * 70 + b"\r\n") * (16_000 if large else 20)
            letter = Letter("app@acme.example", ("r@recipient.example",), f"{number}", body)
            assert load.send(client, letter)


@pytest.fixture
def here(certificates: Certificates, tmp_path: Path) -> Iterator[Place]:
    with place(certificates, tmp_path) as here:
        here.store.parent.rmdir()
        yield here


# -- what was done to them


def flip(file: Path, at: int, count: int = 8) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        octets = opened.read(count)
        opened.seek(at)
        opened.write(bytes(octet ^ 0xFF for octet in octets))


def _half(file: Path) -> int:
    return file.stat().st_size // 2


def is_a_directory(store: Path) -> None:
    store.unlink()
    store.mkdir()


def is_empty(store: Path) -> None:
    os.truncate(store, 0)


def is_cut_in_half(store: Path) -> None:
    os.truncate(store, _half(store) // _PAGE * _PAGE)


def has_no_magic(store: Path) -> None:
    flip(store, 0, 16)


def has_a_bad_header(store: Path) -> None:
    flip(store, 16, 80)


def has_bad_pages(store: Path) -> None:
    for page in range(5, store.stat().st_size // _PAGE, 3):
        flip(store, page * _PAGE, 300)


def is_gone(store: Path) -> None:
    store.unlink()


def is_of_another_program(store: Path) -> None:
    store.unlink()
    with closing(sqlite3.connect(store)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")


def is_of_a_newer_relay(store: Path) -> None:
    with closing(sqlite3.connect(store)) as newer:
        newer.execute("PRAGMA user_version = 99")


def is_a_script(store: Path) -> None:
    store.write_text("#!/bin/sh\n")


def has_a_log_changed_in_the_middle(store: Path) -> None:
    log = store.with_name("relay.db-wal")
    flip(log, _half(log))


def has_a_log_without_a_header(store: Path) -> None:
    flip(store.with_name("relay.db-wal"), 16)


def has_lost_its_log(store: Path) -> None:
    store.with_name("relay.db-wal").unlink()


_DAMAGED = r"is damaged \(.*copy all of .* aside; then put a backup in its place.*\.spool aside"
REFUSED: dict[Callable[[Path], None], tuple[str, str]] = {
    is_a_directory: ("stopped", r"relay\.db: Is a directory"),
    is_empty: ("stopped", r"relay\.db is empty, it was truncated; .*backup"),
    is_cut_in_half: ("stopped", rf"relay\.db {_DAMAGED}"),
    has_no_magic: ("stopped", r"relay\.db is no store of a relay: name another file"),
    has_a_bad_header: ("stopped", rf"relay\.db {_DAMAGED}"),
    has_bad_pages: ("stopped", rf"relay\.db {_DAMAGED}"),
    is_gone: ("stopped", r"relay\.db is gone, but relay\.db\.spool beside it holds large messages"),
    is_of_another_program: ("stopped", r"relay\.db is a database of another program"),
    is_of_a_newer_relay: ("stopped", r"made by a newer relay \(schema 99.*install that version"),
    is_a_script: ("stopped", r"relay\.db is no store of a relay"),
    has_a_log_changed_in_the_middle: (
        "killed", r"relay\.db-wal is damaged \(\d+ transactions .*holds mail .*truncate -s \d+ /"
    ),
    has_a_log_without_a_header: ("killed", r"relay\.db-wal is damaged .*truncate -s 0 /"),
    has_lost_its_log: ("killed", r"relay\.db-wal is gone, .*put it back.*remove relay\.db-shm"),
}  # fmt: skip


@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
def test_it_does_not_start_says_why_and_touches_nothing(
    stores: Stores, here: Place, damage: Callable[[Path], None]
) -> None:
    left, told = REFUSED[damage]
    shutil.copytree(getattr(stores, left), here.store.parent)
    damage(here.store)
    before = _contents(here.store.parent)
    status = here.relay.begin().wait(20)
    # 78: no manager tries again what another try does not mend. A directory is no store at all.
    assert (status, here.relay.stdout_lines) == (1 if damage is is_a_directory else 78, [])
    [line] = here.relay.stderr_lines
    assert line.startswith(f"relay: {here.store.parent}/relay.db")
    assert re.search(told, line), line
    assert _contents(here.store.parent) == before
    # The verbs, too, leave it alone.
    assert here.relay.verb("queue", "list").returncode == 1
    assert _contents(here.store.parent) == before


def _contents(folder: Path) -> dict[str, str]:
    """But for what SQLite makes anew whenever it looks, and the lock."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", ".lock"))
    }


def test_a_store_that_it_may_not_read_is_named(stores: Stores, here: Place) -> None:
    shutil.copytree(stores.stopped, here.store.parent)
    here.store.chmod(0)
    # Root, but as bound by modes as anybody.
    here.relay.before = [need("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() != 0:
        here.relay.before = []
    assert here.relay.begin().wait(20) == 1
    assert here.relay.stderr_lines == [f"relay: {here.store}: Permission denied"]


@pytest.mark.parametrize(
    "damage", [has_a_log_changed_in_the_middle, has_a_log_without_a_header, has_lost_its_log]
)
def test_the_log_is_looked_at_before_sqlite_forgets_it(
    stores: Stores, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """It forgot 31 of 60 messages that had their 250, and the relay started without a word."""
    shutil.copytree(stores.killed, tmp_path / "store")
    store = tmp_path / "store" / "relay.db"
    check_log(store)
    damage(store)
    with pytest.raises(StoreUnusable, match=r"relay\.db-wal is"):
        check_log(store)


# -- what a crash may leave


def has_a_torn_log(store: Path) -> None:
    log = store.with_name("relay.db-wal")
    os.truncate(log, log.stat().st_size - 1000)


def has_a_last_transaction_that_is_not_whole(store: Path) -> None:
    log = store.with_name("relay.db-wal")
    flip(log, log.stat().st_size - 1000)


def has_junk_for_an_index(store: Path) -> None:
    store.with_name("relay.db-shm").write_bytes(os.urandom(32768))


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        # What was written last were the events of a stop that never came, or an attempt.
        (has_a_torn_log, 1),
        (has_a_last_transaction_that_is_not_whole, 1),
        (has_junk_for_an_index, 0),
    ],
)
def test_what_a_crash_leaves_is_taken(
    stores: Stores, here: Place, damage: Callable[[Path], None], lost: int
) -> None:
    shutil.copytree(stores.killed, here.store.parent)
    damage(here.store)
    least = len(stores.promised) - lost
    here.relay.start()
    until(lambda: len({queue_id_of(t.header) for t in here.arrived()}) >= least)


def test_it_goes_on_without_the_end_of_its_log_when_told_so(stores: Stores, here: Place) -> None:
    shutil.copytree(stores.killed, here.store.parent)
    has_a_log_changed_in_the_middle(here.store)
    assert here.relay.begin().wait(20) == 78
    command = here.relay.stderr_lines[-1].partition("by truncate ")[2]
    subprocess.run(["truncate", *command.split()], check=True)
    here.relay.start()
    until(lambda: len(here.arrived()) > 10)
    here.relay.stop()
    assert len(here.arrived()) < len(stores.promised)


_STEPS = re.compile(r"(?:^       .*\n)+", re.MULTILINE)


def test_what_can_be_read_of_a_damaged_store_is_saved(stores: Stores, here: Place) -> None:
    """By the commands of docs/operations.md, as they stand there."""
    shutil.copytree(stores.stopped, here.store.parent)
    damaged = _pages_of(here.store, "content")
    for page in damaged[len(damaged) // 2 :]:
        flip(here.store, (page - 1) * _PAGE, 300)
    assert here.relay.begin().wait(20) == 78
    chapter = (DOCS / "operations.md").read_text().partition("\n## The store is damaged\n")[2]
    first, second = _STEPS.findall(chapter)
    script = (first + second).replace("systemctl stop relay.socket relay.service", "")
    script = script.replace("/var/lib/relay", str(here.store.parent))
    done = subprocess.run(
        ["sh", "-ec", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    here.relay.start()
    until(lambda: len(here.arrived()) > 5)
    until(lambda: here.relay.events("email.deferred"))
    waiting = {row["queue_id"] for row in here.relay.listing("queue", "list")}
    arrived = {queue_id_of(t.header) for t in here.arrived()}
    assert arrived | waiting == stores.promised.keys()
    assert {e["cause"] for e in here.relay.events("email.deferred")} == {"local_error"}


def _pages_of(store: Path, table: str) -> list[int]:
    """Its leaves; Python's SQLite need not be able to tell."""
    command = f"SELECT pageno FROM dbstat WHERE name = '{table}' AND pagetype = 'leaf'"
    done = subprocess.run(
        [need("sqlite3"), store, command], capture_output=True, text=True, check=True
    )
    return [int(line) for line in done.stdout.split()]


# -- one message


@pytest.mark.parametrize("what", ["gone", "short"])
def test_content_that_is_not_whole_concerns_that_message_alone(
    stores: Stores, here: Place, what: str
) -> None:
    shutil.copytree(stores.stopped, here.store.parent)
    queue_id, name = _soon_too_old(here.store)
    file = here.store.with_name("relay.db.spool") / name
    os.truncate(file, 1000) if what == "short" else file.unlink()
    here.relay.start()
    [dead] = here.relay.wait_for_event("email.dead_lettered")
    [expired] = here.relay.events("email.expired")
    [row] = here.relay.listing("dead", "list")
    assert (dead["queue_id"], row["queue_id"]) == (queue_id, queue_id)
    assert expired["last_cause"] == "local_error"
    deferred = [e for e in here.relay.events("email.deferred") if e["cause"] == "local_error"]
    assert {e["queue_id"] for e in deferred} == {queue_id}
    assert all(str(file) in e["detail"] for e in deferred)
    until(lambda: len(here.arrived()) >= len(stores.promised) - 1)
    assert queue_id not in {queue_id_of(t.header) for t in here.arrived()}


def _soon_too_old(store: Path) -> tuple[str, str]:
    """A large message, and the name of its file."""
    with closing(sqlite3.connect(store)) as connection, connection:
        [[number, name]] = connection.execute(
            "SELECT id, spool FROM message WHERE spool IS NOT NULL LIMIT 1"
        )
        from_us = (time.time_ns() - (300 - 5) * 10**9) // 1000
        connection.execute("UPDATE message SET expires_from = ? WHERE id = ?", [from_us, number])
    return encode(number), name


# -- while it runs


def test_while_the_disk_reads_badly_nothing_is_promised(stores: Stores, here: Place) -> None:
    shutil.copytree(stores.stopped, here.store.parent)
    for upstream in here.upstreams:
        upstream.down()
    here.relay.start()
    for page in range(1, here.store.stat().st_size // _PAGE):
        flip(here.store, page * _PAGE, 300)
    load = Load(here.port, 0, 0)
    with smtplib.SMTP("127.0.0.1", here.port, timeout=30) as client:
        for number in range(30):
            letter = Letter("app@acme.example", ("r@recipient.example",), f"{number}", b"x\r\n")
            load.send(client, letter)
    assert not load.promised
    assert {reply[:9] for reply in load.refused} == {"452 4.3.1"}
    assert "relay.db is damaged" in here.relay.diagnostics
