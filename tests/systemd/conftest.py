"""A Debian that systemd has booted, with the relay installed and an upstream beside it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from support.booted import Booted
from support.debian import OFFLINE, SOURCE, debian_with_source
from support.need import need, need_root

_SUPPORT = Path(__file__).parents[1] / "support"
_PLAYS = Path(__file__).parent / "within"

_CONFIGURATION = """\
hostname: web01.example
clients: {users: {crm: {password_hash: "HASH"}}}
retry: {first: 1s, longest: 2s}
upstreams:
  platform:
    {host: localhost, port: 2525, tls: none, username: relay, password: "credential:platform"}
default: {upstream: platform, from: Platform <noreply@platform.example>}
""".replace("HASH", PasswordHasher(1, 8, 1).hash("crm's password"))


@dataclass(frozen=True)
class Host:
    """``machine`` with the relay and an unprivileged user, app."""

    machine: Booted
    configuration = _CONFIGURATION

    def configure(self, text: str = _CONFIGURATION) -> None:
        self.machine.write("/etc/relay/config.yaml", text, 0o640)
        self.machine.run("chgrp", "relay", "/etc/relay/config.yaml")

    def drop_in(self, unit: str, text: str) -> None:
        """As systemctl edit makes it; "" takes it away."""
        self.machine.write(f"/etc/systemd/system/{unit}.d/override.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def start(self) -> None:
        self.machine.run("systemctl", "reset-failed")
        self.machine.run("systemctl", "start", "relay.socket", "relay.service")

    def send(self, subject: str, host: str = "127.0.0.1", *login: str) -> None:
        """As app, by port 25; fails unless the relay says 250."""
        self.machine.run("python3", "/srv/within/send.py", host, subject, *login, user="app")

    @property
    def received(self) -> list[str]:
        """The subjects that have come to the upstream."""
        file = self.machine.root / "srv/received"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, subject: str) -> None:
        self.machine.wait_until(lambda: subject in self.received, f"relayed: {subject}")

    def journal(self, *options: str) -> list[dict[str, Any]]:
        """What the relay has written: the audit events, each with its "priority"."""
        output = self.machine.output(
            "journalctl", "--unit=relay.service", "--output=json", "--no-pager", *options
        )
        events = []
        for line in output.splitlines():
            entry = json.loads(line)
            message = entry.get("MESSAGE")
            if isinstance(message, str) and message.startswith('{"ts"'):
                events.append(json.loads(message) | {"priority": int(entry["PRIORITY"])})
        return events


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    need_root()
    need("systemd-nspawn")
    folder = tmp_path_factory.mktemp("host")
    root = debian_with_source(folder)
    (root / "srv/within").mkdir()
    for file in (_SUPPORT / "upstream.py", *_PLAYS.glob("*.py")):
        (root / "srv/within" / file.name).write_bytes(file.read_bytes())
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    with Booted(root, folder / "console") as machine:
        machine.run("useradd", "app")
        machine.run("make", "-C", SOURCE, "install", environment=OFFLINE)
        machine.run(
            "systemd-run", "--unit=upstream", "python3", "/srv/within/receive.py", "/srv/received"
        )
        host = Host(machine)
        machine.write("/etc/relay/credentials/platform", "the platform's password\n", 0o600)
        host.drop_in(
            "relay.service",
            "[Service]\nLoadCredential=platform:/etc/relay/credentials/platform\n",
        )
        host.configure()
        yield host
    shutil.rmtree(root)  # 300 MB, of which pytest would keep three
