"""What befalls a relay in its life, one after another, by chance: an administrator at work, good
and bad configurations, upstreams that are down, a reader of the trail that stalls, SIGKILL."""

import os
import random
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field

from crash.premises import Victim
from soak.account import Taker

_BAD = "upstreams: {acme-mail: {hots: nowhere}}\n"


class SoakedRelay(Victim):
    """Its standard output is a pipe, whose reader may stall."""

    http = 0

    def start(self, timeout_s: float = 30) -> None:
        self.begin()
        self._wait_for_port(timeout_s)

    def begin(self) -> "subprocess.Popen[bytes]":
        reading, writing = os.pipe()
        with self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=stderr,
                env=self._environment,
            )
        os.close(writing)
        self.reads = threading.Event()
        self.reads.set()
        threading.Thread(target=self._read, args=(reading, self.reads), daemon=True).start()
        return self._process

    @property
    def pid_or_none(self) -> int | None:
        process = self._process
        return process.pid if process else None

    @staticmethod
    def _read(descriptor: int, reads: threading.Event) -> None:
        while reads.wait() and os.read(descriptor, 65536):
            pass
        os.close(descriptor)


@dataclass
class Troubles:
    relay: SoakedRelay
    upstreams: list[Taker]
    seed: int
    happened: Counter[str] = field(default_factory=Counter)

    def go_on(self, seconds: float, *, kills: bool) -> None:
        chance = random.Random(f"{self.seed}/{kills}")
        ends = time.monotonic() + seconds
        kinds = [self.toggle, self.reload, self.reload_badly, self.outage, self.stall, self.look]
        while time.monotonic() < ends:
            trouble = chance.choice([*kinds, *[self.kill] * 3] if kills else kinds)
            trouble(chance)
            self.happened[trouble.__name__.replace("_", " ")] += 1
            time.sleep(chance.uniform(0.2, 1.0))

    def toggle(self, chance: random.Random) -> None:
        tenant = chance.choice(("acme", "globex"))
        self.relay.verb("tenant", "disable", tenant, "--reason", "soak", check=True)
        time.sleep(chance.uniform(0, 1))
        self.relay.verb("tenant", "enable", tenant, "--reason", "soak", check=True)

    def reload(self, chance: random.Random) -> None:
        """Comments apart, the same."""
        config = self.relay.config_file
        config.write_text(config.read_text() + f"# {chance.random()}\n")
        self.relay.verb("reload", check=True)

    def reload_badly(self, chance: random.Random) -> None:
        config = self.relay.config_file
        good = config.read_text()
        config.write_text(good + _BAD)
        os.kill(self.relay.pid, signal.SIGHUP)
        time.sleep(0.5)
        config.write_text(good)

    def outage(self, chance: random.Random) -> None:
        upstream = chance.choice(self.upstreams)
        upstream.down()
        time.sleep(chance.uniform(0.2, 2))
        upstream.up()

    def stall(self, chance: random.Random) -> None:
        self.relay.reads.clear()
        time.sleep(chance.uniform(0.5, 2))
        self.relay.reads.set()

    def look(self, chance: random.Random) -> None:
        """As monitoring and people do."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.relay.http}/metrics", timeout=15):
            pass
        self.relay.verb("status", check=True)

    def kill(self, chance: random.Random) -> None:
        self.relay.kill()
        self.relay.start()
