"""A service manager that plays systemd's part: it holds the listening sockets, starts the installed
relay with them, and hears what it says of itself."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from support.program import RELAY

# The descriptors are 3, 4, ... in the child, whose own process id LISTEN_PID has to be.
_HAND_OVER = 'export LISTEN_PID=$$; {moves}exec "$@"'
_FIRST = 3


class Supervisor:
    """``with Supervisor(folder, config, sockets) as manager``: nothing runs before ``start``, which
    returns when the relay is ready. ``told`` is what it has said so far, line by line."""

    def __init__(
        self,
        folder: Path,
        config: str,
        sockets: Sequence[socket.socket] = (),
        names: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._config_file = folder / "config.yaml"
        self._config_file.write_text(config)
        self._output = folder / "relay.output"
        self._sockets = sockets
        self._names = names
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._address = f"relay-test-{os.getpid()}-{id(self)}"
        self.told: list[str] = []

    def __enter__(self) -> Self:
        # Abstract, as systemd's may be: it needs no folder.
        self._heard.bind("\0" + self._address)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._heard.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def start(self, timeout_s: float = 30) -> float:
        """How long it took until it was ready, in seconds."""
        began = time.monotonic()
        self.told.clear()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[one.fileno() for one in self._sockets],
                env=os.environ | self._variables() | self._environment,
            )
        self.hear("READY=1", timeout_s)
        return time.monotonic() - began

    def hear(self, line: str, timeout_s: float = 30) -> str:
        """The first line that begins so, as soon as there is one."""
        deadline = time.monotonic() + timeout_s
        while True:
            for told in self.told:
                if told.startswith(line):
                    return told
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}:\n{self.output}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {line} in {timeout_s} s, but {self.told}\n{self.output}")
            self.listen(0.1)

    def listen(self, seconds: float) -> list[str]:
        """What comes in the time, which is also in ``told``."""
        lines: list[str] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._heard.settimeout(left)
            with contextlib.suppress(TimeoutError):
                lines += self._heard.recv(65536).decode().split("\n")
        self.told += lines
        return lines

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, timeout_s: float = 60) -> int:
        self.signal(signal.SIGTERM)
        status = self.process.wait(timeout_s)
        self.listen(0.05)
        return status

    def _command(self) -> list[str]:
        numbers = range(_FIRST, _FIRST + len(self._sockets))
        # First out of the way, lest one is overwritten that is yet to be moved.
        away = [
            f"exec {n + 100}<&{s.fileno()}; " for n, s in zip(numbers, self._sockets, strict=True)
        ]
        moves = "".join([*away, *(f"exec {n}<&{n + 100} {n + 100}<&-; " for n in numbers)])
        relay = [str(RELAY), "--config", str(self._config_file), "serve"]
        return ["bash", "-c", _HAND_OVER.format(moves=moves), "serve", *relay]

    def _variables(self) -> dict[str, str]:
        variables = {"NOTIFY_SOCKET": f"@{self._address}"}
        if self._sockets:
            variables["LISTEN_FDS"] = str(len(self._sockets))
            variables["LISTEN_FDNAMES"] = ":".join(self._names)
        return variables
