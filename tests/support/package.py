"""The Debian package: built from this working copy, and a booted Debian to put it into."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.booted import Booted
from support.debian import PROJECT
from support.need import need

CONFIG = "/etc/relay/config.yaml"

# Two lines, as one has them who begins.
CONFIGURATION = """\
upstreams: {platform: {host: localhost, port: 2525, tls: none, username: relay, password: PASSWORD}}
default: {upstream: platform, from: Platform <noreply@platform.example>}
""".replace("PASSWORD", "the platform's password")


def build(folder: Path, revision: int, wheels: Path) -> Path:
    """The package, made of wheels that are there, with no time lost on its compression."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHON_VERSION": "3.11",
        "REVISION": str(revision),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "DPKG_DEB_COMPRESSOR_TYPE": "none",
    }
    need("dpkg-deb")
    done = subprocess.run(
        [PROJECT / "packaging/debian/build", sys.executable, folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = folder.glob(f"relay_*-{revision}+py311_*.deb")
    return package


def other_agent(folder: Path) -> Path:
    """A package that is a mail transport agent as well, and no more than that."""
    root = folder / "other-agent"
    program = root / "usr/sbin/sendmail"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    control = root / "DEBIAN/control"
    control.parent.mkdir()
    relations = "".join(
        f"{relation}: mail-transport-agent\n" for relation in ("Provides", "Conflicts", "Replaces")
    )
    control.write_text(
        "Package: other-agent\nVersion: 1\nArchitecture: all\n"
        f"Maintainer: Nobody <nobody@agent.example>\n{relations}Description: another agent\n"
    )
    package = folder / "other-agent.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", root, package],
        check=True,
        capture_output=True,
    )
    return package


@dataclass(frozen=True)
class Premises:
    """``machine``, where ``first`` and ``second``, paths in it, are versions of the package, and
    ``agent`` is another package's; with an upstream and an unprivileged user, app."""

    machine: Booted
    first: str = "/srv/first.deb"
    second: str = "/srv/second.deb"
    agent: str = "/srv/agent.deb"

    def install(self, package: str) -> str:
        """What is told; a question would end it, for there is nobody to answer."""
        return self._told("dpkg", "--install", package)

    def take_instead(self, package: str) -> str:
        """As apt does it, which removes what conflicts."""
        return self._told("apt-get", "--quiet", "--quiet", "--yes", "install", package)

    def purge(self) -> str:
        return self._told("dpkg", "--purge", "relay")

    def configured_again(self) -> str:
        """As at an upgrade, without the time that the files take."""
        called_by_dpkg = {"DPKG_MAINTSCRIPT_PACKAGE": "relay"}
        return self._told("/var/lib/dpkg/info/relay.postinst", "configure", "0", **called_by_dpkg)

    def _told(self, *command: str, **environment: str) -> str:
        done = self.machine.run(
            *command, environment={"DEBIAN_FRONTEND": "noninteractive"} | environment
        )
        return done.stdout + done.stderr

    def configure(self, text: str = CONFIGURATION) -> None:
        self.machine.write(CONFIG, text, 0o640)
        # Before the package there is no such group.
        self.machine.run("chgrp", "relay", CONFIG, check=False)

    def running(self) -> None:
        """In use, by CONFIGURATION; whatever was before."""
        self.machine.run("systemctl", "stop", "other-mail.service", check=False)
        self.configure()
        if not self.is_installed():
            self.install(self.first)
        self.machine.run("systemctl", "reset-failed")
        self.machine.run("systemctl", "enable", "--now", "relay.socket", "relay.service")

    def pause(self) -> None:
        self.machine.run("relay", "upstream", "pause", "platform", "--reason", "maintenance")

    def resume(self) -> None:
        self.machine.run("relay", "upstream", "resume", "platform")

    def absent(self) -> None:
        """Purged, and nothing left of what tests put beside it."""
        self.machine.run("systemctl", "stop", "other-mail.service", check=False)
        self.machine.run("dpkg", "--purge", "relay", "other-agent")
        self.machine.run("rm", "-rf", "/etc/relay", "/var/lib/relay")

    def is_installed(self) -> bool:
        return self.version() != ""

    def version(self) -> str:
        """Of the package; "" where there is none."""
        asked = "--showformat=${db:Status-Status} ${Version}"
        done = self.machine.run("dpkg-query", "--show", asked, "relay", check=False)
        status, _, version = done.stdout.partition(" ")
        return version if status == "installed" else ""

    def is_active(self, unit: str) -> bool:
        return self.machine.shown(unit, "ActiveState") == "active"

    def main_process(self) -> str:
        return self.machine.shown("relay.service", "MainPID")

    def send(self, subject: str) -> None:
        """As app, by /usr/sbin/sendmail."""
        self.machine.write("/srv/mail", f"Subject: {subject}\n\nHello\n")
        sendmail = "/usr/sbin/sendmail -i -f app@acme.example joe@recipient.example"
        self.machine.run("sh", "-c", f"{sendmail} < /srv/mail", user="app")

    @property
    def received(self) -> list[str]:
        """The subjects that have come to the upstream."""
        file = self.machine.root / "srv/received"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, subject: str) -> None:
        self.machine.wait_until(lambda: subject in self.received, f"relayed: {subject}")

    def waiting(self) -> list[str]:
        """The queue's rows, as JSON."""
        return self.machine.output("relay", "queue", "list", "--json").splitlines()
