"""Too few descriptors, too little memory: those who are served are served as ever, the others are
put off, and nobody spins."""

import contextlib
import socket
import threading
import time
from pathlib import Path

from faults.premises import cpu_s, descriptors, relay
from support.configs import upstream_entry
from support.mail import send
from support.need import need
from support.upstream import ThreadedUpstream

_SENDER, _RECIPIENT = "a@acme.example", "b@recipient.example"
_LARGE = (b"x" * 70 + b"\r\n") * 30_000
_MOST_DESCRIPTORS = 96


def _memory_mib(pid: int, what: str = "VmHWM") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(what + ":")]
    return int(line.split()[1]) / 1024


def test_without_descriptors_clients_wait_and_those_that_have_one_are_served(
    tmp_path: Path,
) -> None:
    limit = [need("prlimit"), f"--nofile={_MOST_DESCRIPTORS}:{_MOST_DESCRIPTORS}"]
    with contextlib.ExitStack() as stack, ThreadedUpstream() as upstream:
        program = stack.enter_context(
            relay(tmp_path, {"up": upstream_entry(upstream)}, before=limit)
        )
        program.start()
        for _ in range(3 * _MOST_DESCRIPTORS):
            client = socket.create_connection(("127.0.0.1", program.port), 10)
            stack.callback(client.close)
        before = cpu_s(program.pid)
        time.sleep(1)
        assert cpu_s(program.pid) - before < 0.5, "it spins"
        # There is room for what mail itself needs: a session, since one that idles makes room; a
        # spool file; a connection to the upstream.
        for _ in range(3):
            send(program.port, _SENDER, _RECIPIENT, body=_LARGE)
        upstream.wait_for(3)
        assert descriptors(program.pid) < _MOST_DESCRIPTORS
        assert not program.events("email.deferred")
        assert "too few descriptors" in program.diagnostics


def test_as_many_descriptors_as_the_system_allows(tmp_path: Path) -> None:
    """Shells and init scripts begin with 1,024, and allow far more to whoever asks."""
    limit = [need("prlimit"), "--nofile=256:4096"]
    with ThreadedUpstream() as upstream:
        with relay(tmp_path, {"up": upstream_entry(upstream)}, before=limit) as program:
            program.start()
            limits = Path(f"/proc/{program.pid}/limits").read_text().splitlines()
            (line,) = [line for line in limits if line.startswith("Max open files")]
            assert line.split()[3:5] == ["4096", "4096"]


def test_many_large_senders_share_a_small_memory(tmp_path: Path) -> None:
    """Twenty messages of 2 MiB at once, where 4 MiB may be held."""
    with ThreadedUpstream() as upstream:
        with relay(
            tmp_path, {"up": upstream_entry(upstream)}, limits={"memory": "4MiB"}
        ) as program:
            program.start()
            send(program.port, _SENDER, _RECIPIENT)
            upstream.wait_for(1)
            before = _memory_mib(program.pid)
            senders = [
                threading.Thread(
                    target=send, args=(program.port, _SENDER, _RECIPIENT, str(n), _LARGE)
                )
                for n in range(20)
            ]
            for sender in senders:
                sender.start()
            # Small mail goes on beside them.
            began = time.monotonic()
            for _ in range(5):
                send(program.port, _SENDER, _RECIPIENT)
            took_s = time.monotonic() - began
            for sender in senders:
                sender.join(60)
            arrived = upstream.wait_for(26, 60)
            assert sum(t.body == _LARGE for t in arrived) == 20
            assert took_s < 10
            assert _memory_mib(program.pid) - before < 4 + 16
            assert not program.events("email.rejected")
