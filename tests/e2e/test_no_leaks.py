"""Known secrets of every kind are nowhere but where they were put, whatever goes wrong.

A relay runs, is refused, misled, reloaded and asked by every verb; then all that it has written or
shown is searched for the secrets, as they are, in base64 at any offset, and in hex.
"""

import base64
import http.server
import io
import os
import signal
import smtplib
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import argon2
import pytest
from support.certificates import Certificates
from support.configs import relay_config, upstream_entry
from support.mail import message
from support.ports import free_port
from support.program import Program
from support.upstream import ThreadedUpstream
from support.verbs import Relay, command_line
from typer.main import get_command

from relay.cli import program
from relay.config.sealing import KeyFile, key_file_text

# Kind -> what is kept in that way. Each is a word of its own, so that a find tells which it was.
SECRETS = {
    "plain": "Plain-vx7Kq2",
    "env": "Env-vx7Kq2",
    "variable": "Variable-vx7Kq2",
    "file": "File-vx7Kq2",
    "credential": "Credential-vx7Kq2",
    "sealed": "Sealed-vx7Kq2",
}
REFUSED = "Refused-vx7Kq2"  # a password that the upstream does not take
HOOK = "Hook-vx7Kq2"
LOGIN, WRONG_LOGIN = "Login-vx7Kq2", "Wrong-vx7Kq2"
# What an environment holds by the operator's own will.
IN_ENVIRONMENT = ("env", "variable")


def forms(secret: str) -> set[bytes]:
    """How a secret may look: itself, quoted, in hex, and in base64 wherever it stands in a text."""
    octets = secret.encode()
    found = {octets, octets.hex().encode(), urllib.parse.quote(secret).encode(), octets[::-1]}
    for before in range(3):
        # Letters that hold bits of what stands before or behind are not told by the secret alone.
        encoded = base64.b64encode(bytes(before) + octets).rstrip(b"=")
        shared = 1 if (before + len(octets)) % 3 else 0
        found.add(encoded[(0, 2, 3)[before] : len(encoded) - shared])
    return found


def leaks(octets: bytes, secrets: Mapping[str, str]) -> list[str]:
    return [kind for kind, secret in secrets.items() if any(f in octets for f in forms(secret))]


def test_a_secret_is_found_in_all_its_forms() -> None:
    known = {"plain": SECRETS["plain"]}
    for user in ("", "u", "us", "use"):
        blob = base64.b64encode(f"\0{user}\0{SECRETS['plain']}".encode())
        assert leaks(b"AUTH PLAIN " + blob, known)
    assert leaks(b"x" + SECRETS["plain"].encode().hex().encode(), known)
    assert leaks(f'{{"a": "{SECRETS["plain"]}"}}'.encode(), known)
    assert not leaks(b"AUTH PLAIN " + base64.b64encode(b"\0u\0another"), known)


class _Hook(http.server.BaseHTTPRequestHandler):
    """Answers as rudely as can be: with the URL that it was asked for."""

    def do_POST(self) -> None:
        body = f"no such hook: {self.path}".encode()
        self.send_response(500, f"no {self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to the test's own output, which is searched."""


@pytest.fixture
def hook() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{HOOK}"
    server.shutdown()
    server.server_close()


@dataclass
class Place:
    """A relay that has a secret of every kind; ``shown`` is all that verbs have printed."""

    folder: Path
    relay: Program
    verbs: Relay
    upstream: ThreadedUpstream
    key_line: str
    shown: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> int:
        done = self.verbs(*arguments)
        self.shown += [done.out, done.err]
        return int(done.status or 0)

    def run_apart(self, *arguments: str) -> int:
        done = self.relay.verb(*arguments)
        self.shown += [done.stdout, done.stderr]
        return done.returncode

    @property
    def secrets(self) -> dict[str, str]:
        others = {"refused": REFUSED, "hook": HOOK, "login": LOGIN, "wrong login": WRONG_LOGIN}
        return SECRETS | others | {"key": self.key_line}


@pytest.fixture
def place(
    certificates: Certificates,
    tmp_path: Path,
    hook: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Place]:
    kept = tmp_path / "kept"
    kept.mkdir()
    environment = {
        "ENV_PASSWORD": SECRETS["env"],
        "RELAY_UPSTREAMS__VARIABLE__PASSWORD": SECRETS["variable"],
        "CREDENTIALS_DIRECTORY": str(kept),
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with ThreadedUpstream(certificates.good(), tls="implicit", users=SECRETS) as upstream:
        port = free_port()
        config = _config(tmp_path, kept, port, upstream, certificates.ca_file, hook)
        relay = Program(tmp_path, config, port, environment)
        verbs = command_line(relay.config_file, capsys)
        yield Place(tmp_path, relay, verbs, upstream, _key_line(kept))
        relay.end()


def _key_line(kept: Path) -> str:
    return (kept / "secret.key").read_text().splitlines()[1]


def _config(
    folder: Path, kept: Path, port: int, upstream: ThreadedUpstream, ca_file: Path, hook: str
) -> str:
    (kept / "secret.key").write_text(key_file_text())
    sealed = KeyFile(kept / "secret.key").seal("upstreams.sealed.password", SECRETS["sealed"])
    (kept / "file").write_text(SECRETS["file"] + "\n")
    (kept / "credential").write_text(SECRETS["credential"])
    (kept / "hash").write_text(argon2.PasswordHasher(1, 8, 1).hash(LOGIN))
    for path in kept.iterdir():
        path.chmod(0o600)
    references = {
        "plain": SECRETS["plain"],
        "env": "env:ENV_PASSWORD",
        "variable": "file:/none",
        "file": f"file:{kept}/file",
        "credential": "credential:credential",
        "sealed": sealed,
        "refused": REFUSED,
    }
    return relay_config(
        folder,
        port,
        upstreams={
            kind: upstream_entry(upstream, ca_file) | {"username": kind, "password": reference}
            for kind, reference in references.items()
        },
        tenants={
            kind: {"domains": [f"{kind}.example"], "upstream": kind, "owner": "o@x.example"}
            for kind in references
        },
        default={"upstream": "plain"},
        listen=[{"address": f"127.0.0.1:{port}", "auth": "optional"}],
        clients={"users": {"crm": {"password_hash": f"file:{kept}/hash"}}},
        secrets={"key_file": f"{kept}/secret.key"},
        alerts={"webhook": hook, "gather": "0s"},
        doctor={"nameservers": ["127.0.0.1:1"], "timeout": "200ms"},
    )


def _relay_mail(place: Place) -> None:
    for kind in SECRETS:
        _send(place, kind)
    place.upstream.wait_for(len(SECRETS))
    assert {t.user for t in place.upstream.transactions} == set(SECRETS)


def _send(place: Place, kind: str, content: bytes | None = None) -> None:
    sender = f"shop@{kind}.example"
    with smtplib.SMTP("127.0.0.1", place.relay.port, timeout=30) as client:
        client.sendmail(sender, ["a@x.example"], content or message(sender, "a@x.example"))


def _be_refused(place: Place) -> None:
    """By an upstream that repeats what it was given, as some have been seen to do."""
    blob = base64.b64encode(f"\0refused\0{REFUSED}".encode()).decode()
    place.upstream.script["auth"] = f"535 5.7.8 can't let you in: {blob} ({REFUSED})"
    _send(place, "refused")
    place.relay.wait_for_event("email.deferred")
    place.relay.wait_for_event("alert.failed")
    del place.upstream.script["auth"]
    _be_misled(place)


def _be_misled(place: Place) -> None:
    """By one that lets us in, and repeats it in its replies from then on, good and bad, and in what
    is no reply."""
    blob = base64.b64encode(f"\0plain\0{SECRETS['plain']}".encode()).decode()
    said = f"{blob} ({SECRETS['plain']})"
    for phase, reply in (
        ("mail", f"451 4.3.0 {said}"),
        ("rcpt", f"452 4.5.3 {said}"),
        ("data", f"451 4.3.0 {said}"),
        ("dot", f"250 2.0.0 taken from {said}"),
        ("dot", f"451 4.3.0 {said}"),
        ("mail", f"421 4.3.0 {said}"),
        ("rset", said),
        ("mail", said),
    ):
        place.upstream.script[phase] = [reply]
        before = len(place.relay.events("email.sent"))
        _send(place, "plain")
        place.relay.wait_for_event("email.sent", before + 1)
        place.upstream.script.pop(phase)


def _log_in(place: Place) -> None:
    with smtplib.SMTP("127.0.0.1", place.relay.port, timeout=30) as client:
        client.login("crm", LOGIN)
    blob = base64.b64encode(f"\0crm\0{WRONG_LOGIN}".encode()).decode()
    with smtplib.SMTP("127.0.0.1", place.relay.port, timeout=30) as client:
        client.ehlo()
        assert client.docmd("AUTH", f"PLAIN {blob}")[0] == 535
        client.docmd("AUTH", "LOGIN " + base64.b64encode(b"crm").decode())
        client.docmd(base64.b64encode(WRONG_LOGIN.encode()).decode())
    for torn in (f"PLAIN {blob}{blob}=", f"PLAIN {WRONG_LOGIN}", f"NONE {blob}", f"PLAIN {blob} x"):
        with smtplib.SMTP("127.0.0.1", place.relay.port, timeout=30) as client:
            client.ehlo()
            client.docmd("AUTH", torn)
    with smtplib.SMTP("127.0.0.1", place.relay.port, timeout=30) as client:
        client.docmd(blob)  # out of turn, as a client that is a step ahead


def _reload(place: Place) -> None:
    """What breaks a configuration: each is a fault at, or beside, a secret."""
    sound = place.relay.config_file.read_text()
    broken = (
        sound.replace("password: Plain", "pasword: Plain"),
        sound.replace("password: Plain", "password: [Plain"),
        sound.replace(f"password: {SECRETS['plain']}", f"password: {{{SECRETS['plain']}: 1}}"),
        sound.replace("host: localhost", f"host: smtp://u:{SECRETS['plain']}@localhost", 1),
        sound.replace("sealed:", "sealed:x"),
    )
    for count, text in enumerate(broken, 1):
        assert text != sound
        place.relay.config_file.write_text(text)
        assert place.run("check") == 78
        os.kill(place.relay.pid, signal.SIGHUP)
        place.relay.wait_for_event("config.rejected", count)
    place.relay.config_file.write_text(sound + "aliases: {root: o@x.example}\n")
    os.kill(place.relay.pid, signal.SIGHUP)
    place.relay.wait_for_event("config.reloaded")


def _misplace_secrets(place: Place) -> None:
    """So that reading one fails in each of its ways, under way and asked for."""
    kept = place.folder / "kept"
    (kept / "secret.key").write_text(f"{place.key_line}{place.key_line}\n")
    (kept / "file").write_text(f"{SECRETS['file']}\n{SECRETS['file']}\n")
    (kept / "credential").write_bytes(SECRETS["credential"].encode() + b"\xff")
    (kept / "hash").write_text(f"{LOGIN}\n")
    place.run("check")
    os.kill(place.relay.pid, signal.SIGHUP)
    place.relay.wait_for_event("config.rejected", 6)


_ARGUMENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("check",): ("--connect",),
    ("test",): ("refused", "--to", "a@x.example"),
    ("drill",): ("sealed",),
    ("route",): ("shop@plain.example",),
    ("queue", "show"): ("QUEUED",),
    ("queue", "retry"): ("QUEUED",),
    ("queue", "drop"): ("QUEUED",),
    ("dead", "show"): ("DEAD",),
    ("dead", "retry"): ("DEAD",),
    ("dead", "export"): ("DEAD",),
    ("dead", "drop"): ("DEAD",),
    ("tenant", "show"): ("refused",),
    ("tenant", "disable"): ("refused", "--reason", "test"),
    ("tenant", "enable"): ("refused", "--reason", "test"),
    ("tenant", "reset"): ("refused", "--reason", "test"),
    ("upstream", "pause"): ("env", "--reason", "test"),
    ("upstream", "resume"): ("env",),
    ("suppress", "add"): ("a@y.example", "--reason", "test"),
    ("suppress", "remove"): ("a@y.example",),
    ("suppress", "import"): ("/dev/null",),
    ("providers",): ("sendgrid",),
    ("completion",): ("bash",),
    ("complete",): ("--", "tenant", "show", ""),
    ("secret", "seal"): ("upstreams.plain.password",),
    ("secret", "keygen"): (),
}
# Of these what they write goes to a file, where standard output has rows.
_FOR_ROWS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("dead", "export"): ("--to", "LETTER"),
    ("suppress", "export"): ("LIST",),
}
# They serve; serve is what all of this is about, and demo has nothing of the operator's.
_SERVING = {("serve",), ("demo",)}
# Once is enough: it takes a quarter of a minute.
_LONG = {("drill",)}
# It closes what the test's own process still needs.
_APART = {("complete",)}


def _verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, any("--json" in option.opts for option in command.params)
    for name, child in (children or {}).items():
        yield from _verbs(child, (*path, name))


def _ask_every_verb(place: Place, ids: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for path, has_json in _verbs(get_command(program())):
        if path in _SERVING:
            continue
        words = _ARGUMENTS.get(path, ())
        for more in ((), ("--json",)) if has_json and path not in _LONG else ((),):
            asked = (*words, *_FOR_ROWS.get(path, ())) if more else words
            arguments = [ids.get(word, word) for word in asked]
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Plain-vx7Kq2\n")))
            ask = place.run_apart if path in _APART else place.run
            status = ask(*path, *more, *arguments)
            assert status != 2, f"say in _ARGUMENTS how to run {' '.join(path)}: {place.shown[-1]}"


def _ids(place: Place) -> dict[str, str]:
    """One message that waits, and one that is a dead letter."""
    queued = place.relay.listing("queue", "list")[0]["queue_id"]
    place.upstream.script["rcpt"] = "550 5.1.1 no such user"
    _send(place, "plain")
    dead = place.relay.wait_for_event("email.dead_lettered")[0]["queue_id"]
    del place.upstream.script["rcpt"]
    written = {name: str(place.folder / name) for name in ("LETTER", "LIST")}
    return {"QUEUED": queued, "DEAD": dead} | written


def _raise_with_the_configuration(place: Place) -> None:
    """A traceback of somebody's who holds it, and all of its secrets revealed."""
    program = (
        "import os, pathlib, sys\n"
        "from relay.config import load\nfrom relay.config.advice import warnings\n"
        "from relay.config.secret_settings import secrets_of\n"
        "config = load(pathlib.Path(sys.argv[1]), os.environ)\n"
        "held = list(secrets_of(config))\n"
        "[secret.reveal() for _, secret in held]\n"
        "raise RuntimeError(config, held, vars(config), warnings(config))\n"
    )
    command = [sys.executable, "-c", program, str(place.relay.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "RuntimeError" in done.stderr
    place.shown += [done.stdout, done.stderr]


def _searched(place: Place) -> Iterator[tuple[str, bytes]]:
    """All that the relay has written, beside what it was given."""
    given = {place.relay.config_file, *(place.folder / "kept").iterdir()}
    for path in sorted(place.folder.rglob("*")):
        if path.is_file() and path not in given:
            yield path.name, path.read_bytes()
    yield "verbs", "\n".join(place.shown).encode(errors="replace")


@pytest.mark.timeout(300)
def test_no_secret_is_anywhere_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.relay.start()
    process = Path("/proc", str(place.relay.pid))
    _relay_mail(place)
    _be_refused(place)
    _log_in(place)
    _raise_with_the_configuration(place)
    _send(
        place, "refused", message("shop@refused.example", "a@x.example", body=b"x" * 70 + b"\r\n")
    )
    _ask_every_verb(place, _ids(place), monkeypatch)
    _reload(place)
    _misplace_secrets(place)
    command_line_of_serve = (process / "cmdline").read_bytes()
    environment = (process / "environ").read_bytes()
    while_it_runs = list(_searched(place))
    place.relay.stop()
    for verb in (
        "check",
        "status",
        "config show",
        "config inventory --json",
        "audit",
        "queue list",
    ):
        place.run(*verb.split())

    assert leaks(command_line_of_serve, place.secrets) == []
    assert set(leaks(environment, place.secrets)) == set(IN_ENVIRONMENT)
    names = {name for name, _ in while_it_runs}
    assert {"relay.db", "relay.db-wal", "relay.stdout", "relay.stderr"} <= names
    for name, octets in [*while_it_runs, *_searched(place)]:
        assert leaks(octets, place.secrets) == [], name
