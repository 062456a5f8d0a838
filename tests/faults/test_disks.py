"""The disk fills up, or is found read-only, while mail is under way: new mail is put off with 452,
what was relayed is never sent twice, the rest waits, and all goes on by itself."""

import contextlib
import json
import smtplib
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from crash.load import until
from crash.premises import Victim
from crash.reckoning import Reckoning
from faults.premises import fill, mounted, relay
from support.configs import upstream_entry
from support.lives import queue_id_of
from support.mail import send
from support.need import need
from support.ports import free_port
from support.upstream import Slowly, ThreadedUpstream

_SENDER, _RECIPIENT = "a@acme.example", "b@recipient.example"
_LARGE = (b"x" * 70 + b"\r\n") * 22_000
_MIB = 1 << 20


@contextlib.contextmanager
def _on(
    disk: Path, folder: Path, upstream: ThreadedUpstream, free: str
) -> Iterator[tuple[Victim, int]]:
    """The relay, and where it shows how it is."""
    port = free_port()
    with relay(
        folder,
        {"up": upstream_entry(upstream)},
        store=f"sqlite://{disk}/relay.db",
        queue={"min_free_disk": free},
        http={"listen": f"127.0.0.1:{port}"},
    ) as program:
        yield program, port


def _refused(program: Victim, body: bytes = b"hello\r\n") -> tuple[int, bytes] | None:
    try:
        send(program.port, _SENDER, _RECIPIENT, body=body)
    except smtplib.SMTPSenderRefused as error:
        return error.smtp_code, error.smtp_error
    except smtplib.SMTPDataError as error:
        return error.smtp_code, error.smtp_error
    return None


def _page(http: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=15) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _check(disk: Path, upstream: ThreadedUpstream, accepted: int) -> None:
    """Each that had its 250 has arrived, once, and ended, once."""
    reckoning = Reckoning(disk / "relay.db", upstream.transactions)
    assert reckoning.verdict == "ok"
    assert not reckoning.waiting
    told = Counter(e["queue_id"] for e in reckoning.events if e["event"] == "email.accepted")
    sent = Counter(e["queue_id"] for e in reckoning.events if e["event"] == "email.sent")
    arrived = Counter(queue_id_of(t.header) for t in upstream.transactions)
    assert told == sent == arrived
    assert len(arrived) == accepted
    assert set(arrived.values()) == {1}


def test_a_full_disk_puts_mail_off_and_sends_nothing_twice(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "tmpfs", 24) as disk, ThreadedUpstream() as upstream:
        with _on(disk, tmp_path, upstream, "64KiB") as (program, http):
            program.start()
            send(program.port, _SENDER, _RECIPIENT)
            upstream.wait_for(1)
            program.wait_for_event("email.sent")
            # Relayed, and then there is no room to say so.
            upstream.script["dot"] = Slowly(1.5)
            for _ in range(3):
                send(program.port, _SENDER, _RECIPIENT)
            until(lambda: upstream.open_connections, every_s=0.01)
            filler = fill(disk)
            upstream.wait_for(4)
            upstream.script.clear()
            until(lambda: "can't settle" in program.diagnostics)
            code, text = _refused(program)
            assert (code, text[:5]) == (452, b"4.3.1")
            assert _refused(program, _LARGE)[0] == 452
            status, page = _page(http, "/readyz")
            assert (status, "full" in page or "room" in page) == (503, True)
            assert _page(http, "/healthz")[0] == 200
            assert len(upstream.transactions) == 4
            filler.unlink()
            until(lambda: _refused(program) is None)
            until(lambda: _refused(program, _LARGE) is None)
            upstream.wait_for(6)
            until(lambda: len(program.events("email.sent")) == 6)
            assert _page(http, "/readyz")[0] == 200
            assert [e["limit"] for e in program.events("queue.full")] == ["queue.min_free_disk"]
            assert program.stop() == 0
        _check(disk, upstream, accepted=6)


def test_a_disk_that_fills_up_under_load_loses_nothing(tmp_path: Path) -> None:
    """No room is kept, so that every write may be the one that fails."""
    with mounted(tmp_path / "disk", "tmpfs", 16) as disk, ThreadedUpstream() as upstream:
        with _on(disk, tmp_path, upstream, "0MiB") as (program, _):
            program.start()
            accepted = 0
            for _ in range(3):
                filler = fill(disk)
                with filler.open("r+b") as file:
                    file.truncate(filler.stat().st_size - 2 * _MIB)
                for body in [b"small\r\n", _LARGE, b"y" * 900 + b"\r\n"] * 12:
                    accepted += _refused(program, body) is None
                filler.unlink()
                until(lambda: _refused(program) is None)
                accepted += 1
            upstream.wait_for(accepted)
            until(lambda: len(program.events("email.sent")) == accepted)
            assert program.stop() == 0
        _check(disk, upstream, accepted)


def test_a_disk_found_read_only_is_told_of_and_survived(tmp_path: Path) -> None:
    """As ext4 does when its journal fails. The way back is a remount, and a start."""
    with mounted(tmp_path / "disk", "ext4", 24) as disk, ThreadedUpstream() as upstream:
        with _on(disk, tmp_path, upstream, "64KiB") as (program, http):
            program.start()
            send(program.port, _SENDER, _RECIPIENT)
            upstream.wait_for(1)
            program.wait_for_event("email.sent")
            subprocess.run([need("mount"), "-o", "remount,abort", disk], check=True)
            assert _refused(program)[0] == 452
            assert _refused(program, _LARGE)[0] == 452
            status, page = _page(http, "/readyz")
            assert (status, "the store failed" in page) == (503, True)
            assert _page(http, "/healthz")[0] == 200
            assert "the store failed" in program.diagnostics
            program.stop()
            process = program.begin()
            assert process.wait(20) == 1
            assert "relay.db" in program.stderr_lines[-1]


def test_a_store_on_a_read_only_disk_is_refused_in_words_and_taken_when_it_is_writable(
    tmp_path: Path,
) -> None:
    with mounted(tmp_path / "disk", "tmpfs", 16) as disk, ThreadedUpstream() as upstream:
        with _on(disk, tmp_path, upstream, "64KiB") as (program, _):
            program.start()
            upstream.down()
            send(program.port, _SENDER, _RECIPIENT)
            assert program.stop() == 0
            subprocess.run([need("mount"), "-o", "remount,ro", disk], check=True)
            process = program.begin()
            assert process.wait(20) == 1
            said = program.diagnostics
            assert str(disk) in said
            assert "Traceback" not in said
            subprocess.run([need("mount"), "-o", "remount,rw", disk], check=True)
            upstream.up()
            program.start()
            upstream.wait_for(1)


def test_standard_output_on_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """The line that was torn stays the only one that can't be read."""
    with mounted(tmp_path / "disk", "tmpfs", 1) as disk, ThreadedUpstream() as upstream:
        with _on(tmp_path, tmp_path, upstream, "64KiB") as (program, http):
            program._stdout = disk / "relay.stdout"
            program.start()
            filler = fill(disk)
            for _ in range(20):
                send(program.port, _SENDER, _RECIPIENT)
            upstream.wait_for(20)
            until(lambda: _dropped(http) >= 10)
            filler.unlink()
            for _ in range(3):
                send(program.port, _SENDER, _RECIPIENT)
            upstream.wait_for(23)
            program.wait_for_event("email.sent", 3)
            assert program.stop() == 0
            lines = program.stdout_lines
            torn = [line for line in lines if not _is_event(line)]
            assert len(torn) <= 1
            assert all(line.startswith('{"ts"') for line in torn)
            assert not any(line.count('{"ts"') > 1 for line in lines)
            listed = program.listing("audit", "--event", "email.sent")
            assert len(listed) == 23


def _dropped(http: int) -> float:
    lines = _page(http, "/metrics")[1].splitlines()
    (line,) = [line for line in lines if line.startswith("relay_audit_lines_dropped_total")]
    return float(line.split()[-1])


def _is_event(line: str) -> bool:
    try:
        return bool(json.loads(line)["event"])
    except ValueError:
        return False
