"""A 250 is kept when power is lost: the installed relay's every write, sync and name is recorded,
and the disk is built as it may be found at any moment of its life; it must open, be whole, and hold
all that had been promised until then.

RELAY_CRASH_MOMENTS is how many moments are tried (0: all), RELAY_CRASH_SEED repeats a run.
"""

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.disk import Disk, Luck
from crash.load import Letter, Load, until
from crash.premises import Place, place
from crash.recording import Call, calls, ended, strace
from support.certificates import Certificates
from support.need import need

from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

MOMENTS = int(os.environ.get("RELAY_CRASH_MOMENTS", "150"))
SEED = int(os.environ.get("RELAY_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
_KINDS = ("nothing", "some", "everything", "some")
# A large letter is as large as makes a spool file of it, and no larger.
_LINES, _WEIGHTS = (3, 600, 15_000), (92, 4, 4)


@dataclass(frozen=True)
class Recording:
    """``letters`` by queue_id: all that were taken, promised or not."""

    folder: Path
    calls: list[Call]
    letters: Mapping[str, Letter]

    def letter_of(self, call: Call) -> Letter:
        """Of a promise; the client may have been told in vain."""
        return self.letters.get(call.promised or "", Letter("", (), "", b""))


@pytest.fixture(scope="module")
def recording(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording]:
    """Two lives: the store is made, mail comes and goes until the log has been started over, the
    relay is killed under load; it starts again, mail comes and goes, and it stops in order."""
    need("strace")
    folder = tmp_path_factory.mktemp("recorded")
    with place(certificates, folder, seed=SEED) as here:
        load = Load(here.port, 3, SEED, lines=_LINES, weights=_WEIGHTS)
        one, two = folder / "one.trace", folder / "two.trace"
        here.relay.before = strace(one)
        here.relay.start()
        with load:
            begun = _salt(here)
            until(lambda: _salt(here) != begun, timeout_s=60)
            here.relay.kill()
            ended(one)
            here.relay.before = strace(two)
            here.relay.start()
            promised = len(load.promised)
            until(lambda: len(load.promised) > promised + 20)
        here.relay.stop()
        first = calls(one)
        second = calls(ended(two), first=1 << 30)
        yield Recording(here.store.parent, [*first, *second], load.promised)


def _salt(here: Place) -> bytes:
    """Another one, when the log is started over: all that it held has come into the file."""
    with here.store.with_name("relay.db-wal").open("rb") as log:
        return log.read(24)[16:]


@pytest.mark.timeout(900)
def test_whatever_power_loss_leaves_opens_and_holds_what_was_promised(
    recording: Recording, tmp_path: Path
) -> None:
    print(f"RELAY_CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    moments = [n for n, call in enumerate(recording.calls) if _matters(recording, call)]
    chosen = _chosen(recording, moments, chance)
    disk, promised, tried = Disk(recording.folder), set[str](), 0
    for number, call in enumerate(recording.calls):
        queue_id = call.promised
        if queue_id:
            # Before the octets leave: from here on they may have.
            promised.add(queue_id)
        disk.take(call)
        if number in chosen:
            # With nothing but what was synced, a promise is at its weakest.
            kind = "nothing" if queue_id else _KINDS[tried % len(_KINDS)]
            luck = Luck(kind, SEED + number)
            folder = tmp_path / "found"
            disk.after_power_loss(folder, luck)
            problem = asyncio.run(_problem(folder, promised, recording.letters))
            assert not problem, f"{kind} of the unsynced at {number}, {call.name}: {problem}"
            shutil.rmtree(folder)
            tried += 1
    print(
        f"{len(moments)} moments of {len(recording.letters)} messages' lives, {tried} tried: "
        "each opens, is whole, and holds what was promised"
    )


def _chosen(recording: Recording, moments: list[int], chance: random.Random) -> set[int]:
    """Of few, half are promises, when most is at stake; first those of large letters."""
    if not 0 < MOMENTS < len(moments):
        return set(moments)
    promises = [n for n in moments if recording.calls[n].promised]
    chance.shuffle(promises)
    promises.sort(key=lambda n: -len(recording.letter_of(recording.calls[n]).body))
    return {*promises[: MOMENTS // 2], *chance.sample(moments, MOMENTS // 2)}


def _matters(recording: Recording, call: Call) -> bool:
    """What a moment may differ by: anything that a disk is asked for, and a promise."""
    inside = str(recording.folder)
    touched = call.path.startswith(inside) or any(inside.encode() in t for t in call.texts[:1])
    return touched or call.promised is not None


async def _problem(folder: Path, promised: set[str], letters: Mapping[str, Letter]) -> str | None:
    path = folder / "relay.db"
    store = SqliteStore(path, render=json_line, committed=lambda told: None)
    try:
        await store.open()
        await store.close()
    except Exception as error:
        return f"it does not open: {error}"
    with closing(sqlite3.connect(path)) as connection:
        [verdict] = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            return verdict
    with Administration(path, json_line) as administration:
        return _missing(administration, promised, letters)


def _missing(
    administration: Administration, promised: set[str], letters: Mapping[str, Letter]
) -> str | None:
    kept = {
        listed.message.queue_id
        for dead in (False, True)
        for listed in administration.messages(dead=dead)
    }
    for queue_id in kept & letters.keys():
        content = b"".join(administration.content(queue_id))
        if not content.endswith(letters[queue_id].body):
            return f"{queue_id} is not whole"
    relayed = {
        line.partition(b'"queue_id":"')[2][:13].decode()
        for line in administration.events()
        if b'"email.sent"' in line
    }
    lost = promised - kept - relayed
    return f"lost: {sorted(lost)}" if lost else None
