"""The installed ``relay`` as a subprocess: started, watched, stopped or killed, always ended."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

RELAY = Path(sys.executable).with_name("relay")
RELAY_SENDMAIL = Path(sys.executable).with_name("relay-sendmail")

_VERB_TIMEOUT_S = 60


class Program:
    """``with Program(folder, config, port) as relay``; ``folder`` gets config.yaml and the output.

    ``start`` returns when the relay says that it has started and the port answers. It may be
    called again after ``stop`` or ``kill``; the output of all lives is kept.
    """

    def __init__(
        self, folder: Path, config: str, port: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self.config_file = folder / "config.yaml"
        self.config_file.write_text(config)
        self._stdout = folder / "relay.stdout"
        self._stderr = folder / "relay.stderr"
        self._environment = os.environ | (environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Kill it if it runs: for a test that starts it itself."""
        if self._process is not None:
            self.kill()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self, timeout_s: float = 20) -> None:
        started = len(self.events("relay.started"))
        with self._stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self._environment,
            )
        try:
            self.wait_for_event("relay.started", started + 1, timeout_s)
            self._wait_for_port(timeout_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 40) -> int:
        """End it as systemd would; returns its status."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        self._end(signal.SIGKILL, 10)

    def _end(self, number: signal.Signals, timeout_s: float) -> int:
        process = self._running()
        process.send_signal(number)
        try:
            return process.wait(timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            self._process = None

    def verb(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a verb with the same configuration, such as ``verb("tenant", "list")``.

        With ``check``, AssertionError with its output where its status is not 0.
        """
        done = subprocess.run(
            self._command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERB_TIMEOUT_S,
            env=self._environment,
        )
        if check and done.returncode:
            command = f"relay {' '.join(arguments)}"
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def listing(self, *arguments: str) -> list[dict[str, Any]]:
        """The rows of a verb that lists."""
        done = self.verb(*arguments, "--json", check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def stdout_lines(self) -> list[str]:
        return self._lines(self._stdout)

    @property
    def stderr_lines(self) -> list[str]:
        return self._lines(self._stderr)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The audit events mirrored to standard output so far, or those of one name."""
        events = []
        for line in self.stdout_lines:
            # The last line of a killed relay may be torn.
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return [event for event in events if name in (None, event["event"])]

    def wait_for_event(
        self, name: str, count: int = 1, timeout_s: float = 20
    ) -> list[dict[str, Any]]:
        """The events of one name, as soon as there are ``count`` of them."""
        deadline = time.monotonic() + timeout_s
        while len(events := self.events(name)) < count:
            self._must_run(f"waiting for {name}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {count} {name} in {timeout_s} s:\n{self._output()}")
            time.sleep(0.02)
        return events

    def _wait_for_port(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout_s).close()
                return
            except OSError:
                self._must_run(f"waiting for port {self.port}")
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _must_run(self, doing: str) -> None:
        status = self._running().poll()
        if status is not None:
            raise RuntimeError(f"relay ended with {status} while {doing}:\n{self._output()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("relay is not running")
        return self._process

    def _command(self, *arguments: str) -> list[str]:
        return [str(RELAY), "--config", str(self.config_file), *arguments]

    def _output(self) -> str:
        return "\n".join([*self.stdout_lines[-50:], *self.stderr_lines[-50:]])

    def _lines(self, file: Path) -> list[str]:
        return file.read_text(errors="replace").splitlines() if file.exists() else []
