"""Sockets that the relay is started with: whose settings they have, and what is bound beside them;
and the restart that nobody notices."""

import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.configs import relay_config, upstream_entry
from support.mail import message, send
from support.need import need, need_root
from support.ports import free_port
from support.program import RELAY
from support.supervisor import Supervisor
from support.upstream import Slowly, ThreadedUpstream

from relay.service.sockets import inherited

_SENDER = Path(__file__).parent / "within/send_all_the_time.py"
_SUBJECT = re.compile(rb"^Subject: (\S+)", re.MULTILINE)
_USERS = {"crm": {"password_hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$jM4ycmbxGN8TxhQ6"}}


@contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as one:
        yield one


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def connected(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, timeout=30)


def offers(port: int, host: str = "127.0.0.1") -> set[str]:
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.ehlo()
        return set(client.esmtp_features)


def config_at(folder: Path, *listen: object, upstream: ThreadedUpstream | None = None) -> str:
    listen = listen or ("127.0.0.1:0",)
    upstreams = {"platform": upstream_entry(upstream)} if upstream else {}
    more = {"default": {"upstream": "platform"}} if upstream else {}
    clients = {"users": _USERS}
    return relay_config(folder, 0, upstreams, listen=list(listen), clients=clients, **more)


def test_sockets_of_another_process_are_left_alone():
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert inherited({"LISTEN_FDS": "1"}) == []


def test_a_socket_has_the_settings_of_its_entry_else_the_defaults(tmp_path):
    beside = free_port()
    with listening() as named, listening("::1") as unnamed, ThreadedUpstream() as upstream:
        config = config_at(
            tmp_path,
            {"address": f"127.0.0.1:{port_of(named)}", "auth": "none"},
            f"127.0.0.1:{beside}",
            upstream=upstream,
        )
        with Supervisor(tmp_path, config, [named, unnamed], ["smtp", "smtp"]) as manager:
            manager.start()
            assert "auth" not in offers(port_of(named))
            assert "auth" in offers(port_of(unnamed), "::1")
            assert "auth" in offers(beside)
            manager.signal(signal.SIGHUP)
            manager.hear("RELOADING=1")
            manager.hear("READY=1")
            assert "auth" not in offers(port_of(named))
            assert "auth" in offers(port_of(unnamed), "::1")
            assert manager.stop() == 0


def test_a_unix_socket_takes_mail_from_this_machine(tmp_path):
    with ThreadedUpstream() as upstream, socket.socket(socket.AF_UNIX) as one:
        path = str(tmp_path / "smtp.sock")
        one.bind(path)
        one.listen()
        with Supervisor(tmp_path, config_at(tmp_path, upstream=upstream), [one]) as manager:
            manager.start()
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.connect(path)
                client = smtplib.SMTP()
                client.sock = connection
                client.getreply()
                content = message("app@acme.example", "joe@recipient.example")
                client.sendmail("app@acme.example", ["joe@recipient.example"], content)
                client.quit()
            upstream.wait_for(1)
            assert manager.stop() == 0
            assert f'"listeners":["unix:{path}",' in manager.output
            # The manager's socket is still there, for the next life.
            manager.start()
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.connect(path)
                assert connection.recv(3) == b"220"


def test_what_does_not_listen_is_refused_in_words(tmp_path):
    with socket.socket() as none, Supervisor(tmp_path, config_at(tmp_path), [none]) as manager:
        with pytest.raises(RuntimeError, match=r"descriptor 3 .* was handed over as a listening"):
            manager.start()


@pytest.mark.parametrize("managed", [True, False])
def test_a_port_that_nobody_handed_over_points_to_the_socket(tmp_path, managed):
    """Where Exim holds port 25, relay.socket fails, and the service spoke of its rights alone."""
    need_root()
    config = tmp_path / "config.yaml"
    config.write_text(config_at(tmp_path, "0.0.0.0:25"))
    # In a network of its own, where root without the capability is like anybody.
    powerless = [need("unshare"), "--net", need("setpriv"), "--bounding-set=-net_bind_service"]
    done = subprocess.run(
        [*powerless, str(RELAY), "--config", str(config), "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | ({"NOTIFY_SOCKET": "@nobody"} if managed else {}),
    )
    assert done.returncode == 1
    assert "can't listen on 0.0.0.0:25: Permission denied; ports below 1024" in done.stderr
    assert ("systemctl status relay.socket" in done.stderr) == managed
    assert ("ss -ltnp" in done.stderr) == managed


def test_a_restart_under_load_refuses_and_loses_nothing(tmp_path):
    with ThreadedUpstream() as upstream, listening() as one:
        config = config_at(tmp_path, upstream=upstream)
        enough = tmp_path / "enough"
        with Supervisor(tmp_path, config, [one]) as manager:
            manager.start()
            sending = subprocess.Popen(
                [sys.executable, str(_SENDER), str(enough)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PORT": str(port_of(one))},
            )
            for _ in range(3):
                upstream.wait_for(len(upstream.transactions) + 100)
                assert manager.stop() == 0
                manager.start()
            enough.touch()
            stdout, stderr = sending.communicate(timeout=60)
            assert stderr == ""
            taken = stdout.split()
            assert len(taken) > 300
            upstream.wait_for(len(taken))
            manager.stop()
        received = [_SUBJECT.findall(one.header)[0].decode() for one in upstream.transactions]
        assert sorted(received) == sorted(taken)


def test_content_that_is_arriving_may_end_while_it_stops(tmp_path):
    with ThreadedUpstream() as upstream, listening() as one:
        with Supervisor(tmp_path, config_at(tmp_path, upstream=upstream), [one]) as manager:
            manager.start()
            with closing(connected(port_of(one))) as client:
                client.ehlo()
                client.mail("app@acme.example")
                client.rcpt("joe@recipient.example")
                client.putcmd("data")
                assert client.getreply()[0] == 354
                client.send(b"Subject: slow\r\n\r\nHello")
                manager.signal(signal.SIGTERM)
                manager.hear("STOPPING=1")
                manager.listen(2.0)
                assert manager.process.poll() is None
                client.send(b"\r\n.\r\n")
                assert client.getreply()[0] == 250
                assert client.docmd("quit")[0] == 221
            assert manager.process.wait(20) == 0


def test_a_session_has_its_transaction_while_it_stops_and_no_second_one(tmp_path):
    with ThreadedUpstream() as upstream, listening() as one:
        with Supervisor(tmp_path, config_at(tmp_path, upstream=upstream), [one]) as manager:
            manager.start()
            with closing(connected(port_of(one))) as client:
                client.ehlo()
                manager.signal(signal.SIGTERM)
                manager.hear("STOPPING=1")
                content = message("app@acme.example", "joe@recipient.example")
                client.sendmail("app@acme.example", ["joe@recipient.example"], content)
                assert client.docmd("mail", "from:<app@acme.example>")[0] == 421
            assert manager.process.wait(20) == 0


def test_a_second_sigterm_hurries(tmp_path):
    """Neither who sends nor what is being handed over is waited for any more."""
    with ThreadedUpstream() as upstream, listening() as one:
        upstream.script["dot"] = Slowly(60)
        with Supervisor(tmp_path, config_at(tmp_path, upstream=upstream), [one]) as manager:
            manager.start()
            send(port_of(one), "app@acme.example", "joe@recipient.example")
            with closing(connected(port_of(one))) as client:
                client.ehlo()
                client.mail("app@acme.example")
                manager.signal(signal.SIGTERM)
                manager.hear("STOPPING=1")
                manager.listen(1.5)
                assert manager.process.poll() is None
                began = time.monotonic()
                manager.signal(signal.SIGTERM)
                assert manager.process.wait(20) == 0
                assert time.monotonic() - began < 8
                assert client.getreply()[0] == 421
            assert "outcome_unknown" in manager.output


def test_who_idles_does_not_hold_it_up(tmp_path):
    with listening() as one, Supervisor(tmp_path, config_at(tmp_path), [one]) as manager:
        manager.start()
        with closing(connected(port_of(one))) as client:
            began = time.monotonic()
            assert manager.stop() == 0
            assert time.monotonic() - began < 6
            assert client.getreply()[0] == 421
