"""The relay that is to be killed, with upstreams that survive it, of three tenants' mail."""

import contextlib
import random
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.load import BAD
from support.certificates import Certificates
from support.configs import two_tenants, upstream_entry
from support.ports import free_port
from support.program import Program
from support.upstream import Slowly, ThreadedUpstream, Transaction


class Victim(Program):
    """``before`` stands before the command of ``serve``: a tracer."""

    before: Sequence[str] = ()

    def _command(self, *arguments: str) -> list[str]:
        command = super()._command(*arguments)
        return [*self.before, *command] if arguments == ("serve",) else command

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start it and wait for nothing."""
        with self._stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self._environment,
            )
        return self._process

    def wait(self, timeout_s: float = 20) -> int:
        """Its status, when somebody else has ended it."""
        status = self._running().wait(timeout_s)
        self._process = None
        return status

    @property
    def diagnostics(self) -> str:
        return "\n".join(self.stderr_lines)


@dataclass
class Place:
    relay: Victim
    upstreams: list[ThreadedUpstream]
    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store" / "relay.db"

    @property
    def port(self) -> int:
        return self.relay.port

    def waiting(self) -> int:
        """Messages that are neither done nor dead."""
        with closing(sqlite3.connect(self.store)) as connection:
            query = "SELECT count(*) FROM message WHERE dead_since IS NULL"
            count: int = connection.execute(query).fetchone()[0]
        return count

    def spooled(self) -> set[str]:
        return {file.name for file in self.store.with_name("relay.db.spool").iterdir()}

    def arrived(self) -> list[Transaction]:
        return [t for upstream in self.upstreams for t in list(upstream.transactions)]


@contextlib.contextmanager
def place(
    certificates: Certificates, folder: Path, *, seed: int = 0, **more: Any
) -> Iterator[Place]:
    """A relay, not yet started. One upstream takes mail, one slowly, one not always at once."""
    (folder / "store").mkdir()
    with contextlib.ExitStack() as stack:
        upstreams = [
            stack.enter_context(
                ThreadedUpstream(
                    certificates.good(), tls="implicit", users={name: "secret"}, script=script
                )
            )
            for name, script in _scripts(seed).items()
        ]
        port = free_port()
        entries = [upstream_entry(u, certificates.ca_file) for u in upstreams]
        config = two_tenants(
            folder,
            port,
            *entries,
            **{"store": f"sqlite://{folder}/store/relay.db"} | more,
        )
        relay = Victim(folder, config, port)
        stack.callback(relay.end)
        yield Place(relay, upstreams, folder)


def _scripts(seed: int) -> dict[str, dict[str, Any]]:
    chance = random.Random(seed)
    now_and_then = ["451 4.3.0 later" if chance.random() < 0.1 else None for _ in range(100_000)]
    bad = {BAD: "550 5.1.1 no such user"}
    return {
        "acme": {"rcpt": bad},
        "globex": {"rcpt": bad, "dot": Slowly(0.02)},
        "platform": {"rcpt": bad, "dot": now_and_then},
    }
