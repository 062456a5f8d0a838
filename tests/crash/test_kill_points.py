"""The relay is killed at moments that we choose: as it enters a system call of a commit, of a spool
file's way to the disk, of a settle, of a migration; and between its commit and its 250."""

import shutil
import smtplib
import threading
import time
from pathlib import Path

import pytest
from contract.conftest import SqliteBackend
from contract.test_store_migration import backend as older_store
from contract.test_store_migration import check_everything_is_kept
from crash.load import Letter, Load, until
from crash.premises import Place, place
from crash.reckoning import Reckoning
from crash.recording import ended
from support.certificates import Certificates
from support.need import need

backend = older_store

_SESSIONS = 4
# By name: the call, which of a thread's, and the weights of the letters' sizes.
_POINTS = {
    "the log's first page": ("pwrite64", 3, (1, 0, 0)),
    "in the middle of a group commit's pages": ("pwrite64", 61, (8, 2, 0)),
    "before a group commit's sync": ("fdatasync", 6, (1, 0, 0)),
    "before a spool file's sync": ("fsync", 1, (0, 0, 1)),
    "between a spool file's sync and its directory's": ("fsync", 2, (0, 0, 1)),
    "before the file of a relayed message goes": ("unlink", 4, (0, 0, 1)),
}


@pytest.fixture(scope="module")
def empty(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a relay leaves that was started and stopped."""
    folder = tmp_path_factory.mktemp("empty")
    with place(certificates, folder) as here:
        here.relay.start()
        here.relay.stop()
    return here.store.parent


def _killing(trace: Path, call: str, number: int) -> list[str]:
    """With --seccomp-bpf strace 6.1 does not count the calls for ``when``."""
    return [
        need("strace"), "-D", "-f", "-o", str(trace), "-e", f"trace={call}",
        "-e", f"inject={call}:signal=KILL:when={number}",
    ]  # fmt: skip


@pytest.mark.parametrize("point", _POINTS)
def test_nothing_is_lost_when_it_dies(
    certificates: Certificates, empty: Path, tmp_path: Path, point: str
) -> None:
    call, number, weights = _POINTS[point]
    with place(certificates, tmp_path) as here:
        shutil.copytree(empty, here.store.parent, dirs_exist_ok=True)
        here.relay.before = _killing(tmp_path / "trace", call, number)
        with Load(here.port, _SESSIONS, 1, weights=weights) as load:
            process = here.relay.begin()
            assert process.wait(20) == -9
        assert "killed by SIGKILL" in ended(tmp_path / "trace").read_text()
        _live_on(here)
        reckoning = Reckoning(here.store, here.arrived())
        reckoning.check(load.promised)
        assert here.spooled() == reckoning.spools


def _live_on(here: Place) -> None:
    here.relay.before = []
    here.relay.start()
    until(lambda: not here.waiting())
    assert here.relay.stop() == 0


def test_a_message_that_was_kept_and_not_yet_promised_arrives_once(
    certificates: Certificates, empty: Path, tmp_path: Path
) -> None:
    """The application will send it again, and that can't be helped; we do not."""
    with place(certificates, tmp_path) as here:
        shutil.copytree(empty, here.store.parent, dirs_exist_ok=True)
        # What was synced is not told for a while.
        here.relay.before = [
            need("strace"), "-D", "-f", "--seccomp-bpf", "-o", str(tmp_path / "trace"),
            "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_exit=400000",
        ]  # fmt: skip
        here.relay.start()
        # What the start tells has been stored.
        until(lambda: len(here.relay.events()) >= 2)
        time.sleep(0.8)
        load = Load(here.port, 0, 0)
        letter = Letter("app@acme.example", ("r@recipient.example",), "kept", b"kept\r\n")
        sender = threading.Thread(target=_try_to_send, args=(load, letter))
        syncs = _syncs(tmp_path)
        sender.start()
        until(lambda: _syncs(tmp_path) > syncs, every_s=0.01)
        here.relay.kill()
        sender.join(20)
        assert (len(load.promised), load.unanswered) == (0, 1)
        _live_on(here)
        [arrived] = here.arrived()
        assert arrived.body == letter.body
        reckoning = Reckoning(here.store, here.arrived())
        [accepted] = [e for e in reckoning.events if e["event"] == "email.accepted"]
        assert reckoning.flagged == {accepted["queue_id"]}


def _syncs(folder: Path) -> int:
    """How many the trace tells of; strace does when the call is over, before the delay."""
    return (folder / "trace").read_text().count("fdatasync")


def _try_to_send(load: Load, letter: Letter) -> None:
    try:
        with smtplib.SMTP("127.0.0.1", load.port, timeout=30) as client:
            load.send(client, letter)
    except (OSError, smtplib.SMTPException):
        pass


@pytest.mark.parametrize(
    ("call", "number"), [("pwrite64", 12), ("pwrite64", 40), ("fdatasync", 1), ("fdatasync", 2)]
)
async def test_a_migration_that_is_killed_is_begun_anew(
    backend: SqliteBackend, certificates: Certificates, tmp_path: Path, call: str, number: int
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    with place(certificates, folder, store=f"sqlite://{backend.path}") as here:
        here.relay.before = _killing(folder / "trace", call, number)
        assert here.relay.begin().wait(20) == -9
    await check_everything_is_kept(backend)
