"""The machine of which docs/operations.md and docs/commands.md speak: /etc/relay, /var/lib/relay,
port 25, and providers at their real names; all of it in a folder and on loopback.

The page's text is changed as little as can be: the folders, port 25, and in the configuration one
host and port for each upstream, whose certificate is real. ``told`` turns back what was printed.
"""

import contextlib
import os
import re
import shlex
import signal
import smtplib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest import mock

from support.certificates import Certificates
from support.console import REWRITES
from support.mail import message
from support.ports import free_port
from support.program import RELAY, Program
from support.upstream import ThreadedUpstream
from support.verbs import Relay

_ETC, _VAR, _BACKUPS = "/etc/relay", "/var/lib/relay", "/var/backups/relay"
_SUBJECT = re.compile(rb"^Subject: (.+)\r$", re.MULTILINE)
_NEITHER_ROOT_NOR_GROUP = re.compile(r"\bsudo |-g relay |-o root ")
_PLAIN_VERB = re.compile(r"relay (?!serve|demo|drill)[^|;<>]+")
_PATIENCE_S = 0.7 if REWRITES else 20.0

# The upstreams that the pages speak of: how the configuration says where one is, and where that is.
PROVIDERS = {
    "provider: sendgrid": ("smtp.sendgrid.net", 465),
    "provider: postmark": ("smtp.postmarkapp.com", 587),
    "host: smtp.platform.example": ("smtp.platform.example", 465),
}


class Machine:
    """``upstreams`` by their host's name, ``name_servers`` by what they know. ``environ`` is for
    the relay and the verbs alike. With ``within`` plain verbs run in the test's own process."""

    def __init__(
        self,
        folder: Path,
        certificates: Certificates,
        upstreams: Mapping[str, ThreadedUpstream],
        name_servers: Mapping[str, str] | None = None,
    ) -> None:
        self.etc, self.var, self.home = (folder / name for name in ("etc", "var", "home"))
        for directory in (self.etc, self.var, self.home):
            directory.mkdir()
        self._name_servers = name_servers or {}
        self._paths = {_ETC: f"{self.etc}", _VAR: f"{self.var}", _BACKUPS: f"{self.home}/backups"}
        self.within: Relay | None = None
        self.port = free_port()
        self.upstreams = upstreams
        self.sent: list[str] = []
        self._lines: list[int] = []
        self._relay: Program | None = None
        self.environ = {
            "PATH": f"{RELAY.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "RELAY_CONFIG": str(self.config_file),
            "RELAY_STORE": f"sqlite://{self.var}/relay.db",
            "RELAY_SENDMAIL_SERVER": f"127.0.0.1:{self.port}",
            "SSL_CERT_FILE": str(certificates.ca_file),
            "RELAY_SECRETS__KEY_FILE": f"{self.etc}/secret.key",
            "SUDO_USER": "dana",
        }

    @property
    def config_file(self) -> Path:
        return self.etc / "config.yaml"

    @property
    def relay(self) -> Program:
        assert self._relay is not None, "the relay was never started"
        return self._relay

    # -- the page's text, and what it is here

    def real(self, text: str) -> str:
        for path, mine in self._paths.items():
            text = text.replace(path, mine)
        return re.sub(r"127\.0\.0\.1:25\b", f"127.0.0.1:{self.port}", text)

    def told(self, text: str) -> str:
        for host, port in PROVIDERS.values():
            here = self.upstreams[host].port
            text = text.replace(f"localhost:{here}", f"{host}:{port}")
            text = text.replace(f"127.0.0.1:{here}", f"{host}:{port}")
        for path, mine in self._paths.items():
            text = text.replace(mine, path)
        text = re.sub(rf"\b127\.0\.0\.1:{self.port}\b", "127.0.0.1:25", text)
        return re.sub(r"config\.yaml:(\d+)", self._line_of_page, text)

    def _line_of_page(self, place: re.Match[str]) -> str:
        return f"config.yaml:{self._lines[int(place[1]) - 1]}"

    # -- files

    def write(self, path: str, text: str) -> None:
        """A file of the page; of the configuration, only what the block shows is replaced."""
        file = Path(self.real(path))
        if file != self.config_file:
            file.write_text(text)
            return
        former = self.home / "config.yaml"
        text = replaced(former.read_text(), text) if former.exists() else text
        self._configure(text)

    def take_out(self, path: str, lines: str) -> None:
        """Lines of the configuration, as they stand in it."""
        assert Path(self.real(path)) == self.config_file
        former = (self.home / "config.yaml").read_text()
        assert lines in former, f"{path} has no lines\n{lines}"
        self._configure(former.replace(lines, "", 1))

    def _configure(self, text: str) -> None:
        """The text is kept as the page has it; the relay gets the same with hosts of this place."""
        (self.home / "config.yaml").write_text(text)
        self._lines, here = [], []
        for number, line in enumerate(text.splitlines(), 1):
            added = self._located(line)
            here += added
            self._lines += [number] * len(added)
        self.config_file.write_text("\n".join(here) + "\n")

    def _located(self, line: str) -> list[str]:
        for written, (host, _) in PROVIDERS.items():
            if line.strip() == written:
                indent = line[: len(line) - len(line.lstrip())]
                kept = [] if written.startswith("host:") else [line]
                upstream = self.upstreams[host]
                place = ["host: localhost", f"port: {upstream.port}", f"tls: {upstream.tls}"]
                return kept + [indent + one for one in place]
        return [self.real(line)]

    # -- commands

    def run(
        self, command: str, stdin: str = "", *, until: Callable[[str], bool] = lambda _: True
    ) -> str:
        """What it printed. One that only looks is run again until that is so, for a while."""
        deadline = time.monotonic() + (_PATIENCE_S if _only_looks(command) else 0)
        while True:
            printed = self._run(command, stdin)
            if until(printed) or time.monotonic() > deadline:
                return printed
            time.sleep(0.1)

    def _run(self, command: str, stdin: str) -> str:
        if verb := re.fullmatch(r"sudo systemctl (enable --now|start|restart|stop) relay", command):
            return self.systemctl(verb[1])
        if self.within and not stdin and _PLAIN_VERB.fullmatch(command):
            return self._run_within(self.within, shlex.split(self._here(command))[1:])
        done = subprocess.run(
            ["sh", "-c", self._here(command)],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
            cwd=self.home,
            env=self.environment,
        )
        printed = self.told(done.stdout)
        assert REWRITES or done.returncode == 0, f"$ {command}\nstatus {done.returncode}\n{printed}"
        return printed

    def _run_within(self, relay: Relay, arguments: Sequence[str]) -> str:
        """A tenth of the time that a process takes."""
        with mock.patch.dict(os.environ, self.environment, clear=True), contextlib.chdir(self.home):
            done = relay(*arguments)
        printed = self.told(done.out + done.err)
        assert REWRITES or done.status == 0, f"{arguments}\nstatus {done.status}\n{printed}"
        return printed

    def interrupt(self, command: str, when: Callable[[str], bool]) -> str:
        """What it printed until ``when``, or until patience ends; then it gets its ^C."""
        command = f"exec {self._here(command)}"
        file = self.home / "interrupted"
        with file.open("w") as stdout:
            process = subprocess.Popen(
                ["sh", "-c", command], stdout=stdout, stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT, cwd=self.home, env=self.environment,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not when(self.told(file.read_text())) and time.monotonic() < deadline:
                assert process.poll() is None, file.read_text()
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            process.wait(10)
        finally:
            process.kill()
            process.wait()
        return self.told(file.read_text())

    @property
    def environment(self) -> dict[str, str]:
        """With the service's own variables, which the verbs find by themselves in /etc/relay."""
        return {**os.environ, **self.environ, **self._service_environment()}

    def _service_environment(self) -> dict[str, str]:
        file = self.etc / "environment"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def _here(self, command: str) -> str:
        return self.real(_NEITHER_ROOT_NOR_GROUP.sub("", command))

    def systemctl(self, verb: str) -> str:
        if self._relay and verb in ("restart", "stop"):
            assert self._relay.stop() == 0
        if verb != "stop":
            text = self.config_file.read_text()
            self._relay = Program(self.etc, text, self.port, self.environment)
            self._relay.start()
        return ""

    def end(self) -> None:
        if self._relay is not None:
            self._relay.end()

    def name_server(self, name: str) -> None:
        """The one that is asked from now on."""
        self.environ["RELAY_DOCTOR__NAMESERVERS"] = f"[{self._name_servers[name]}]"

    # -- mail, and what became of it

    def send(self, count: int = 1, sender: str = "shop@acme.example", to: str = "") -> None:
        """As an application would; each message has a subject of its own."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            for _ in range(count):
                number = len(self.sent)
                recipient = to or f"customer{number}@customer.example"
                subject = f"order {number}"
                body = b"Thank you.\r\n"
                client.sendmail(sender, [recipient], message(sender, recipient, subject, body))
                self.sent.append(subject)

    def relayed(self) -> Counter[str]:
        """How many times each of those sent has arrived at a provider."""
        wires = [t.wire for upstream in self.upstreams.values() for t in upstream.transactions]
        subjects = (found[1].decode() for wire in wires if (found := _SUBJECT.search(wire)))
        return Counter(subject for subject in subjects if subject in self.sent)

    def arrive(self, but: frozenset[str] = frozenset()) -> None:
        """Return when all that was sent has been relayed."""
        deadline = time.monotonic() + _PATIENCE_S
        while missing := set(self.sent) - but - set(self.relayed()):
            assert time.monotonic() < deadline, f"not relayed: {sorted(missing)}"
            time.sleep(0.05)

    def settle(self, but: frozenset[str] = frozenset()) -> None:
        """All is well again, and all that waits is relayed."""
        for upstream in self.upstreams.values():
            upstream.script = {}
            upstream.down()
            upstream.up()
        for row in self.relay.listing("upstream", "list"):
            self.relay.verb("upstream", "resume", row["upstream"])
        self.arrive(but)
        while self.relay.listing("queue", "list"):
            time.sleep(0.1)


def replaced(former: str, block: str) -> str:
    """The configuration, with the sections of the block in the place of its own; of upstreams,
    tenants and classes only the entries that the block names."""
    for key, section in _sections(block).items():
        mine = _sections(former).get(key)
        if mine is None:
            former = f"{former.rstrip()}\n\n{section}"
        elif key in ("upstreams", "tenants", "classes"):
            former = former.replace(mine, _with_entries(mine, section), 1)
        else:
            former = former.replace(mine, section, 1)
    return former


def _sections(text: str, indent: str = "") -> dict[str, str]:
    """Each key's lines; blank ones and comments between two belong to neither."""
    found: dict[str, str] = {}
    key = ""
    for line in text.splitlines(keepends=True):
        started = re.match(rf"{indent}([\w.-]+):", line)
        if started:
            key = started[1]
            found[key] = line
        elif key and line.startswith(f"{indent}  "):
            found[key] += line
        else:
            key = ""
    return found


def _with_entries(mine: str, section: str) -> str:
    for name, entry in _sections(section.partition("\n")[2], "  ").items():
        former = _sections(mine.partition("\n")[2], "  ").get(name)
        mine = mine.replace(former, entry, 1) if former else mine + entry
    return mine


_ACTS = re.compile(
    r"relay (test|drill|doctor|check|reload|secret|tenant (disable|enable|reset)"
    r"|(queue|dead) (retry|drop|export)|upstream (pause|resume)|suppress (add|remove|import)"
    r"|completion)|install|sendmail|rm |cp |systemctl|sqlite3|tar"
)


def _only_looks(command: str) -> bool:
    return not _ACTS.search(command)
