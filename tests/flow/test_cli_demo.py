"""relay demo, as one types it: real processes, real TLS, and nothing left behind."""

import os
import re
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from support.program import RELAY

# The demo takes some seconds; a machine that runs other tests beside it takes longer.
PATIENCE_S = 100


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """It has its temporary folder in ``folder``, and variables of another relay to mislead it."""
    misleading = {"RELAY_CONFIG": "/absent", "RELAY_STORE": "bogus", "RELAY_LISTEN": "[1]"}
    environ = os.environ | misleading | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        [str(RELAY), "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    ) as process:
        try:
            yield process
        finally:
            # Not by SIGKILL: it has a relay to end.
            process.terminate()


def serving(folder: Path) -> list[int]:
    """The processes that serve a store in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"\0serve\0" in command and os.fsencode(folder) in command:
            found.append(int(process.name))
    return found


def until(text: str, stream: IO[str]) -> str:
    """What is read up to the line with this text."""
    read = []
    for line in stream:
        read.append(line)
        if text in line:
            break
    return "".join(read)


def test_demo_shows_every_route_and_leaves_nothing(tmp_path: Path):
    with demo(tmp_path) as process:
        told, complaints = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, complaints) == (0, "")
    assert "NOT SO" not in told
    for shown in (
        r"came out at +acme-mail \(implicit TLS, TLSv1.[23], logged in as acme\)",
        r"came out at +globex-mail \(STARTTLS, TLSv1.[23], logged in as globex\)",
        r"came out at +platform \(STARTTLS, TLSv1.[23], logged in as platform\)",
        r"From +Acme Shop <noreply@platform.example>\n +Reply-To +Acme Shop <shop@acme.example>",
        r"\$ relay tenant disable acme --reason 'account suspended'",
        r"cause +connection_refused\n +remedy +check the upstream's host",
        r"email.deferred +ann@customer.example by acme-mail: connection_refused",
        r"the trail has 5 messages sent, the upstreams have 5 received",
        r"All of it came out as said, in \d",
    ):
        assert re.search(shown, told), shown
    assert list(tmp_path.iterdir()) == []
    assert serving(tmp_path) == []


def test_keep_takes_mail_of_ones_own_until_ctrl_c(tmp_path: Path):
    with demo(tmp_path, "--keep") as process:
        assert process.stdout
        told = until("shown here", process.stdout)
        port = re.search(r"127\.0\.0\.1, port (\d+)", told)
        assert port
        with smtplib.SMTP("127.0.0.1", int(port[1]), timeout=30) as client:
            content = "From: Me <me@globex.example>\r\nSubject: mine\r\n\r\nhello\r\n"
            client.sendmail("me@globex.example", ["you@customer.example"], content)
        assert "you@customer.example: mine" in until("mine", process.stdout)
        assert "globex-mail" in until("came out at", process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert list(tmp_path.iterdir()) == []
    assert serving(tmp_path) == []


def test_ctrl_c_in_the_middle_ends_all_that_it_started(tmp_path: Path):
    with demo(tmp_path) as process:
        assert process.stdout
        until("Three applications send", process.stdout)
        assert len(serving(tmp_path)) == 1
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(PATIENCE_S) == 130
    assert list(tmp_path.iterdir()) == []
    assert serving(tmp_path) == []


def test_a_relay_that_dies_is_status_1(tmp_path: Path):
    with demo(tmp_path) as process:
        assert process.stdout
        assert process.stderr
        until("Three applications send", process.stdout)
        [relay] = serving(tmp_path)
        os.kill(relay, signal.SIGKILL)
        process.stdout.read()
        complaints = process.stderr.read()
        assert process.wait(PATIENCE_S) == 1
    assert "Traceback" not in complaints
    assert list(tmp_path.iterdir()) == []
