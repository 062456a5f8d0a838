"""A store that an older relay made: it opens, and everything in it is kept."""

import asyncio
import itertools
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, orders, parsed, settlement

from relay.model.causes import REMEDIES, Cause
from relay.model.figures import Figures, octave
from relay.model.identifiers import encode, first_at
from relay.model.message import Ending, Kind, Message, Origin, Recipient, State
from relay.model.pause import Held, Pause
from relay.model.ports import Also, Share, Stage, Usage
from relay.model.reply import Reply
from relay.model.toggle import Toggle
from relay.queue.sqlite.opening import latest_version

_ROOT = Path(__file__).parents[2]
_US = 1_000_000
WAITING, CLAIMED, DEAD = 11, 12, 13

# As the relay with the first schema left it: stopped in the middle of a message.
_LEFT = f"""
INSERT INTO message VALUES
    ({WAITING}, 'acme', 1, {int(NOW) * _US}, 0, NULL, 2, {int(NOW) * _US}, {int(NOW) * _US},
     'a@acme.example', 'b@acme.example', '<1@x>', 1, 0, '127.0.0.1', 'web', 'crm', '["acme"]',
     9, 4, NULL),
    ({CLAIMED}, 'globex', 0, 5, 1, NULL, 1, 5, 5, '', '', '<2@x>', 0, 1, '::1', 'web', NULL, NULL,
     700, 4, 'SPOOLED'),
    ({DEAD}, 'acme', 2, 5, 0, NULL, 3, 5, 5, '', '', '<3@x>', 0, 0, '::1', 'web', NULL, NULL,
     5, 4, NULL);
UPDATE message SET dead_since = 77 WHERE id = {DEAD};
INSERT INTO recipient VALUES
    ({WAITING}, 0, 'c@d.example', 0, 'pending', 2, 'rate_limited', 450, '4.2.1', 'später', 'ses'),
    ({CLAIMED}, 0, 'e@f.example', 1, 'pending', 0, NULL, NULL, NULL, NULL, NULL),
    ({DEAD}, 0, 'g@h.example', 1, 'relayed', 0, NULL, 250, NULL, 'ok', 'ses'),
    ({DEAD}, 1, 'i@j.example', 1, 'failed', 1, 'recipient_refused', 550, '5.1.1', 'no', 'ses');
INSERT INTO content VALUES ({WAITING}, CAST('waiting' || x'0d0a' AS BLOB)), ({DEAD}, x'6465616421');
INSERT INTO event VALUES (1, 'email.accepted', 'acme', {WAITING}, '{{"event":"email.accepted"}}');
UPDATE ledger SET audit_bytes = 26;
INSERT INTO toggle VALUES ('acme', 0, 'moving', 'dana', {int(NOW) * _US}, NULL);
"""


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    """With the store of an older relay."""
    backend = SqliteBackend(tmp_path)
    spool = backend.path.with_name("relay.db.spool")
    spool.mkdir(parents=True)
    (spool / "SPOOLED").write_bytes(b"s" * 700)
    with closing(sqlite3.connect(backend.path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate_to(connection, 1)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_LEFT)
    return backend


def migrate_to(connection: sqlite3.Connection, version: int) -> None:
    """From the schema before it, as the relay of that time did."""
    script = files("relay.queue.sqlite.migrations").joinpath(f"{version:04}.sql").read_text()
    connection.executescript(f"BEGIN; {script} PRAGMA user_version = {version}; COMMIT;")


async def test_everything_in_an_older_store_is_kept(backend: SqliteBackend) -> None:
    await check_everything_is_kept(backend)


async def check_everything_is_kept(backend: SqliteBackend) -> None:
    store = backend.store()
    assert await store.open() == 1
    assert store.usage == Usage(2, 714, 1, 5)
    assert store.orders() == orders(acme=Toggle("acme", False, "moving", "dana", NOW))
    assert await store.shares() == {"acme": Share(1, 9), "globex": Share(1, 700)}
    [waiting] = await store.claim("acme", 10, NOW)
    assert waiting.queue_id == encode(WAITING)
    assert waiting.origin == Origin("127.0.0.1", "web", "crm", ("acme",))
    later = Reply(450, "4.2.1", "später")
    assert waiting.recipients == (
        Recipient(0, "c@d.example", False, State.PENDING, 2, Cause.RATE_LIMITED, later, "ses"),
    )
    assert (waiting.attempt, waiting.smtputf8) == (3, True)
    assert as_an_applications(waiting)
    [claimed] = await store.claim("globex", 10, NOW)
    assert (claimed.queue_id, claimed.attempt) == (encode(CLAIMED), 2)
    for kept, octets in ((waiting, b"waiting\r\n"), (claimed, b"s" * 700)):
        read = [piece async for piece in store.read(kept.queue_id, kept.content)]
        assert b"".join(read) == octets
    with backend.administration() as administration:
        [dead] = administration.messages(dead=True)
        assert b"".join(administration.content(encode(DEAD))) == b"dead!"
        assert [event["event"] for event in parsed(list(administration.events()))] == [
            "email.accepted"
        ]
    assert (dead.message.queue_id, dead.dead_since) == (encode(DEAD), 77 / _US)
    assert [r.state for r in dead.message.recipients] == [State.RELAYED, State.FAILED]
    assert as_an_applications(dead.message)
    # Of what died before, the owner hears once.
    [untold] = await store.untold(0)
    assert (untold.tenant, untold.stage, untold.queue_id) == ("acme", Stage.DEAD, encode(DEAD))
    await store.settle([settlement(waiting, Ending.DONE)], [], Also())
    assert store.usage.messages == 1
    await store.close()


def as_an_applications(kept: Message) -> bool:
    unknown = any(recipient.unknown for recipient in kept.recipients)
    described = (kept.kind, kept.message_class, kept.classes_key)
    return not unknown and described == (Kind.MAIL, "", "")


# The crash comes when all but the commit is done; with a cache of one page, the changed pages are
# in the log already.
_KILLED = """
import os, signal, sys
from pathlib import Path
from relay.queue.sqlite import connecting, opening

connect = connecting.connect

def connect_to_die(path):
    connection = connect(path)
    connection.execute("PRAGMA cache_size = 1")
    connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return connection

connecting.connect = connect_to_die
known = opening._migrations()
opening._migrations = lambda: known | {max(known): known[max(known)] + "SELECT die();"}
opening.prepare(Path(sys.argv[1]))
print("not killed")
"""


def migrate_and_be_killed(path: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(path)],
        capture_output=True,
        timeout=30,
        check=False,
        cwd=_ROOT,
    )


async def test_a_crash_interrupts_the_migration(backend: SqliteBackend) -> None:
    log = backend.path.with_name("relay.db-wal")
    for _ in range(2):
        killed = await asyncio.to_thread(migrate_and_be_killed, backend.path)
        assert (killed.returncode, killed.stdout) == (-9, b""), killed.stderr
        assert log.stat().st_size > 0
    await check_everything_is_kept(backend)
    with closing(sqlite3.connect(backend.path)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [verdict] = connection.execute("PRAGMA integrity_check").fetchone()
    assert (version, verdict) == (latest_version(), "ok")


_NUMBERS = itertools.count()


def told(name: str, age_s: float, **fields: object) -> tuple[int, str, str]:
    """An event's row, as an older relay told it."""
    line = {
        "event": name,
        "upstream": "ses",
        "route": "tenant",
        "recipients": ["a@b.example"],
        "queued_ms": 100.0,
    }
    number = first_at(time.time() - age_s) + next(_NUMBERS)
    return number, name, json.dumps(line | fields)


async def test_the_last_day_is_summed_up(backend: SqliteBackend) -> None:
    rows = [
        told("email.sent", 60, recipients=["a@b.example", "c@b.example"], queued_ms=1500.5),
        told("email.sent", 120),
        told("email.sent", 7200, queued_ms=0.4),
        told("email.sent", 60, kind="dsn"),
        told("email.sent", 26 * 3600),
        told("email.deferred", 60),
        told("email.send_failed", 60, route="pilot", upstream="new"),
        told("email.expired", 60, upstream=None, route=None),
        told("email.accepted", 60),
    ]
    with closing(sqlite3.connect(backend.path)) as connection:
        connection.executemany(
            "INSERT INTO event (id, name, tenant, body) VALUES (?1, ?2, 'acme', ?3)", rows
        )
        connection.commit()
    store = backend.store()
    await store.open()
    await store.close()
    with backend.administration() as administration:
        by_way = administration.tallies(time.time() - 86400).by_way
        [(tenant, sent_at)] = administration.last_sent().items()
    assert {(tally.tenant, tally.upstream, tally.route): tally.figures for tally in by_way} == {
        ("acme", "ses", "tenant"): Figures(
            4, 1, 0, 0, 3101.4, {octave(1500.5): 2, octave(100): 1, octave(0.4): 1}
        ),
        ("acme", "new", "pilot"): Figures(failed=1),
        ("acme", "", ""): Figures(expired=1),
    }
    assert tenant == "acme"
    assert sent_at == pytest.approx(time.time() - 60, abs=30)


async def test_what_waited_behind_a_pause_has_the_remedies_of_its_causes(
    backend: SqliteBackend,
) -> None:
    """A relay with the third schema knew no others."""
    pause = Pause(Held("ses"), NOW, NOW + 30, Cause.REPLY_TIMEOUT, "no answer in time (banner)", 3)
    with closing(sqlite3.connect(backend.path)) as connection:
        migrate_to(connection, 2)
        migrate_to(connection, 3)
        connection.execute(
            "INSERT INTO pause VALUES ('ses', '', '', ?, ?, 'reply_timeout', ?, 3, NULL, '')",
            (int(NOW) * _US, int(NOW + 30) * _US, pause.detail),
        )
        connection.commit()
    store = backend.store()
    await store.open()
    orders = store.orders()
    assert orders is not None
    assert orders.pauses == {pause.held: pause}
    assert pause.remedy == REMEDIES[Cause.REPLY_TIMEOUT]
    [waiting] = await store.claim("acme", 10, NOW)
    assert [one.remedy for one in waiting.recipients] == [REMEDIES[Cause.RATE_LIMITED]]
    await store.close()
