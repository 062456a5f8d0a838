"""A 250 is said when all that it promises has been synced: each file, and each directory that names
one. Seen by strace, in the installed relay."""

import smtplib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.disk import Disk
from crash.load import Letter, Load
from crash.premises import place
from crash.recording import SYNCS, calls, ended, strace
from support.certificates import Certificates
from support.need import need
from support.upstream import SILENCE

_BODIES = {
    "the first": b"small\r\n",
    "small": b"small\r\n",
    "of many pages": (b"x" * 70 + b"\r\n") * 300,
    "large": (b"x" * 70 + b"\r\n") * 20_000,
}


@dataclass
class Promise:
    """What had been synced since the promise before, and what had not, when the 250 was said."""

    synced: list[str]
    unsynced: list[str]


@pytest.fixture(scope="module")
def promises(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Promise]]:
    """One letter at a time; no upstream says a word, so nothing else is written."""
    need("strace")
    folder = tmp_path_factory.mktemp("promises")
    with place(certificates, folder) as here:
        for upstream in here.upstreams:
            upstream.script = {"banner": SILENCE}
        trace = folder / "trace"
        here.relay.before = strace(trace)
        here.relay.start()
        load = Load(here.port, 0, 0)
        names = {}
        with smtplib.SMTP("127.0.0.1", here.port, timeout=30) as client:
            for name, body in _BODIES.items():
                letter = Letter("app@acme.example", ("r@recipient.example",), name, body)
                names[load.send(client, letter)] = name
        here.relay.kill()
        yield _promises(trace, here.store.parent, names)


def _promises(trace: Path, folder: Path, names: Mapping[str | None, str]) -> dict[str, Promise]:
    disk, synced, found = Disk(folder), list[str](), dict[str, Promise]()
    for call in calls(ended(trace)):
        if call.promised:
            found[names[call.promised]] = Promise(synced, disk.unsynced())
            synced = []
        disk.take(call)
        if call.name in SYNCS and call.path.startswith(str(folder)):
            synced.append(call.path.removeprefix(str(folder)).lstrip("/"))
    return found


@pytest.mark.parametrize("name", _BODIES)
def test_when_the_250_is_said_nothing_waits_for_a_sync(
    promises: Mapping[str, Promise], name: str
) -> None:
    assert promises[name].unsynced == []


def test_a_small_message_costs_one_sync(promises: Mapping[str, Promise]) -> None:
    assert promises["small"].synced == ["relay.db-wal"]
    assert promises["of many pages"].synced == ["relay.db-wal"]


def test_the_log_s_own_name_is_synced_with_the_first(promises: Mapping[str, Promise]) -> None:
    before = promises["the first"].synced
    # Above relay.db-wal, whose directory has no name here.
    assert "" in before[before.index("relay.db-wal") :]


def test_a_spool_file_then_its_name_then_the_message_that_names_it(
    promises: Mapping[str, Promise],
) -> None:
    file, directory, log = promises["large"].synced
    assert file.startswith("relay.db.spool/")
    assert (directory, log) == ("relay.db.spool", "relay.db-wal")
