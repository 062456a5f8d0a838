"""The upstream that all contestants hand their mail to: stunnel before smtp-sink, with implicit
TLS, no AUTH, PIPELINING, and a count of what has arrived. A far one has a delay before it."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trustme
from programs import ended, free_port, wait_for_port

# Above what any contestant opens; smtp-sink's own default is 256.
_MOST_SESSIONS = 1000


class Upstream:
    """``port`` and ``ca_file`` are good before it runs: a contestant may be started first.

    It can run several times; ``count`` goes on from where it was. ``round_trip_s`` is that of the
    way to it, made by bench/delay.py.
    """

    def __init__(self, folder: Path, round_trip_s: float = 0) -> None:
        self.folder = folder
        self.port = free_port()
        self.ca_file = folder / "ca.pem"
        self._round_trip_s = round_trip_s
        self._counters = folder / "counters"
        self._arrived_before = 0
        self._make_certificates()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        sink_port = free_port()
        tls_port = free_port() if self._round_trip_s else self.port
        user = ["-u", "postfix"] if os.geteuid() == 0 else []  # it does not run as root
        sink = ["smtp-sink", *user, "-c", "-m", str(_MOST_SESSIONS)]
        self._arrived_before = self.count()
        with (
            self._counters.open("wb") as counters,
            (self.folder / "stunnel.log").open("wb") as log,
            ended([*sink, f"127.0.0.1:{sink_port}", "1024"], stdout=counters),
            ended(["stunnel", str(self._stunnel(tls_port, sink_port))], stdout=log, stderr=log),
            self._delayed(tls_port),
        ):
            for port in (sink_port, tls_port, self.port):
                wait_for_port(port)
            yield

    def count(self) -> int:
        """How many messages have arrived so far."""
        if not self._counters.exists():
            return 0
        with self._counters.open("rb") as counters:
            counters.seek(max(0, self._counters.stat().st_size - 200))
            last = counters.read().rpartition(b"mesg=")[2]
        return self._arrived_before + int(last.split(b"\r")[0] or 0)

    def wait_for(self, count: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (arrived := self.count()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arrived} of {count} messages have arrived in {timeout_s} s")
            time.sleep(0.005)

    def _delayed(self, tls_port: int) -> contextlib.AbstractContextManager[object]:
        if tls_port == self.port:
            return contextlib.nullcontext()
        script = str(Path(__file__).with_name("delay.py"))
        one_way_ms = str(self._round_trip_s / 2 * 1000)
        return ended([sys.executable, script, str(self.port), str(tls_port), one_way_ms])

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        leaf = self.folder / "leaf.pem"
        leaf.touch(mode=0o600)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(leaf)

    def _stunnel(self, tls_port: int, sink_port: int) -> Path:
        config = self.folder / "stunnel.conf"
        config.write_text(
            f"foreground = yes\npid =\ndebug = warning\n"
            f"socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
            f"[upstream]\naccept = 127.0.0.1:{tls_port}\nconnect = 127.0.0.1:{sink_port}\n"
            f"cert = {self.folder / 'leaf.pem'}\n"
        )
        return config
