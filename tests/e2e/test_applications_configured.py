"""The recipes of docs/applications.md that configure the relay, too, or a Postfix before it: each
with a relay that has the page's own YAML.

The LAN is loopback here: its addresses are put in the place of the page's.
"""

import errno
import smtplib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
import yaml
from support.applications import PAGE, RECIPIENT, Place, configured
from support.certificates import Certificates
from support.ports import free_port
from support.postfix import Postfix
from support.program import RELAY_SENDMAIL, Program
from support.upstream import ThreadedUpstream

from relay.sendmail.addresses import host_name

Start = Callable[..., Program]


@pytest.fixture(scope="module")
def upstream(certificates: Certificates) -> Iterator[ThreadedUpstream]:
    users = {"acme": "acme's password"}
    with ThreadedUpstream(certificates.good(), tls="implicit", users=users) as upstream:
        yield upstream


@pytest.fixture
def start(
    upstream: ThreadedUpstream, certificates: Certificates, tmp_path: Path
) -> Iterator[Start]:
    """Start a relay with a block of the page, in which words are replaced by others."""
    relays: list[Program] = []
    upstream.transactions.clear()

    def run(page: str = "", **replaced: str) -> Program:
        port = free_port()
        for word, other in {"127.0.0.1:25": f"127.0.0.1:{port}", **replaced}.items():
            page = page.replace(word, other)
        more: Any = yaml.safe_load(page)
        relay = configured(tmp_path, port, upstream, certificates.ca_file, more)
        relays.append(relay)
        relay.start()
        return relay

    yield run
    for relay in relays:
        relay.end()


def send(host: str, port: int, sender: str, source: str = "127.0.0.1") -> None:
    with smtplib.SMTP(host, port, timeout=30, source_address=(source, 0)) as client:
        client.sendmail(sender, [RECIPIENT], b"Subject: scan\r\n\r\nbody\r\n")


# What Debian's cron 3.0 writes, and how it calls sendmail.
CRON = ["-FCronDaemon", "-i", "-B8BITMIME", "-oem"]
CRON_MAIL = """\
From: {MAILFROM}
To: {MAILTO}
Subject: Cron <root@web01> report
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
X-Cron-Env: <SHELL=/bin/sh>

out
"""


def test_cron(start: Start, upstream: ThreadedUpstream, tmp_path: Path):
    """Without MAILFROM its From is no address; and this relay has no default."""
    place = Place(start(PAGE.block("cron", "yaml")), tmp_path)
    crontab = place.recipe("cron", "crontab")
    names = dict(line.split("=") for line in crontab.splitlines())
    done = cron(place, names)
    assert (done.returncode, done.stdout) == (0, "")
    transaction = upstream.wait_for(1)[0]
    assert transaction.recipients == ("ops@acme.example",)
    assert transaction.reverse_path == "app@acme.example"
    accepted = place.relay.wait_for_event("email.accepted")[0]
    assert accepted["reverse_path"].endswith(f"@{host_name().decode()}")
    done = cron(place, names | {"MAILFROM": "root (Cron Daemon)"})
    assert (done.returncode, "550 5.7.1 no tenant sends as" in done.stdout) == (69, True)


def cron(place: Place, names: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(RELAY_SENDMAIL), *CRON, names["MAILTO"]]
    return place.run(*command, stdin=CRON_MAIL.format(**names))


def test_an_old_printer(start: Start, upstream: ThreadedUpstream):
    port = free_port()
    replaced = {
        "10.0.0.5:25": f"127.0.0.5:{port}",
        "10.0.0.64/27": "127.0.1.64/27",
        "127.0.0.0/8": "127.0.0.0/24",
    }
    relay = start(PAGE.block("Printers, scanners, NAS", "yaml"), **replaced)
    with socket.create_connection(("127.0.0.5", port), 30, ("127.0.1.70", 0)) as printer:
        replies = printer.makefile("rb")
        assert replies.readline().startswith(b"220 ")
        for line, reply in [
            (b"HELO printer\n", b"250 "),
            (b"MAIL FROM: scanner@printer.local\n", b"250 "),
            (f"RCPT TO: {RECIPIENT}\n".encode(), b"250 "),
            (b"DATA\n", b"354 "),
            (b"Subject: scan\n\nbody\n.\n", b"250 "),
        ]:
            printer.sendall(line)
            assert replies.readline().startswith(reply)
    transaction = upstream.wait_for(1)[0]
    assert transaction.reverse_path == "app@acme.example"
    assert b"\r\nFrom: Acme <app@acme.example>\r\n" in transaction.header
    assert b"\r\nDate: " in transaction.header
    with pytest.raises(smtplib.SMTPConnectError, match=r"5\.7\.1 this address may not send here"):
        send("127.0.0.5", port, "app@acme.example", "127.0.3.1")
    assert relay.wait_for_event("client.refused")[0]["client"] == "127.0.3.1"


def test_a_device_that_logs_in(
    start: Start, upstream: ThreadedUpstream, certificates: Certificates, tmp_path: Path
):
    quick = argon2.PasswordHasher(time_cost=1, memory_cost=64)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/scanner").write_text(quick.hash("the scanner's"))
    (tmp_path / "tls").mkdir()
    certificates.write_leaf(tmp_path / "tls/fullchain.pem", tmp_path / "tls/privkey.pem")
    port = free_port()
    replaced = {"10.0.0.5:587": f"127.0.0.1:{port}", "/etc/relay": str(tmp_path)}
    relay = start(PAGE.block("Devices that log in", "yaml"), **replaced)
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as device:
        device.starttls(context=certificates.client())
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"530, b'5\.7\.0 authentication"):
            device.sendmail("scanner@printer.local", [RECIPIENT], b"Subject: scan\r\n\r\n")
        with pytest.raises(
            smtplib.SMTPAuthenticationError, match=r"535, b'5\.7\.8 wrong user name"
        ):
            device.login("scanner", "another")
        device.login("scanner", "the scanner's")
        device.sendmail("scanner@printer.local", [RECIPIENT], b"Subject: scan\r\n\r\n")
    assert upstream.wait_for(1)[0].reverse_path == "app@acme.example"
    assert relay.wait_for_event("client.auth_failed")[0]["user"] == "scanner"
    assert relay.wait_for_event("client.authenticated")[0]["user"] == "scanner"


def test_a_container(start: Start, upstream: ThreadedUpstream):
    port = free_port()
    replaced = {
        "172.17.0.1:25": f"127.0.0.7:{port}",
        "172.17.0.0/16": "127.17.0.0/16",
        "127.0.0.0/8": "127.0.0.0/16",
    }
    relay = start(PAGE.block("Containers", "yaml"), **replaced)
    send("127.0.0.7", port, "www-data@0d1f2a3b4c5d", "127.17.0.2")
    assert upstream.wait_for(1)[0].user == "acme"
    assert relay.wait_for_event("email.sent")[0]["tenant"] == "acme"


@pytest.fixture
def postfix() -> Iterator[Postfix]:
    with Postfix() as postfix:
        yield postfix


def postfix_sendmail(
    place: Place, postfix: Postfix, sender: str
) -> subprocess.CompletedProcess[str]:
    mail = f"From: {sender}\nTo: {RECIPIENT}\nSubject: Hello\n\nIt works.\n"
    return place.run(postfix.sendmail, "-t", "-f", sender, stdin=mail, **postfix.environment)


def test_postfix_that_listens_nowhere(
    start: Start, upstream: ThreadedUpstream, postfix: Postfix, tmp_path: Path
):
    place = Place(start(), tmp_path)
    postfix.configure(place.recipe("Postfix in front", "postfix", 0))
    commands = place.recipe("Postfix in front", "sh").replace("smtp/inet", postfix.listener)
    done = place.run("sh", "-c", commands, **postfix.environment)
    assert done.returncode == 0, done.stdout
    postfix.start()
    assert postfix_sendmail(place, postfix, "app@acme.example").returncode == 0
    assert upstream.wait_for(1)[0].reverse_path == "app@acme.example"
    assert postfix_sendmail(place, postfix, "app@stranger.example").returncode == 0
    refused = postfix.wait_for_log("status=bounced")
    assert "said: 550 5.7.1 no tenant sends as app@stranger.example" in refused
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", postfix.port)) == errno.ECONNREFUSED


def test_postfix_that_has_port_25(
    start: Start, upstream: ThreadedUpstream, postfix: Postfix, tmp_path: Path
):
    place = Place(start(), tmp_path)
    recipe = place.recipe("Postfix in front", "postfix", 1)
    postfix.configure(recipe.replace("2525", str(place.relay.port)))
    postfix.start()
    send("127.0.0.1", postfix.port, "app@acme.example")
    transaction = upstream.wait_for(1)[0]
    assert (transaction.reverse_path, transaction.user) == ("app@acme.example", "acme")
