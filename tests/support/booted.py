"""A Debian that has been booted by systemd, in a container with a network of its own (loopback)."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from support.debian import STANDARD
from support.need import need

_BOOT_S = 60.0
_COMMAND_S = 90.0
_HALT_S = 20.0


class Booted:
    """``with Booted(root) as machine``: ``root`` is the root file system, for all to see and write.
    ``console`` gets what the boot says."""

    def __init__(self, root: Path, console: Path) -> None:
        self.root = root
        self._console = console
        self._container: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        nspawn = need("systemd-nspawn")
        with self._console.open("wb") as console:
            self._container = subprocess.Popen(
                [nspawn, f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
                 "--private-network", "--console=pipe"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            self.wait_until(self._is_up, "booted", _BOOT_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(
        self,
        *command: str,
        user: str = "",
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """A command in the container, as root or another; AssertionError where it fails."""
        as_user = ["runuser", "-u", user, "--"] if user else []
        leader = self._leader()
        assert leader, f"the container has ended:\n{self.console}"
        done = subprocess.run(
            ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid",
             "--root", "--wd", *as_user, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            env=STANDARD | dict(environment or {}),
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def output(self, *command: str, user: str = "") -> str:
        return self.run(*command, user=user).stdout.strip()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of root's."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def shown(self, unit: str, what: str) -> str:
        """A property of a unit, as systemctl show has it."""
        return self.output("systemctl", "show", "--value", f"--property={what}", unit)

    def wait_until(self, true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {what} in {timeout_s:.0f} s\n{self._trouble()}")
            time.sleep(0.1)

    @property
    def console(self) -> str:
        return self._console.read_text(errors="replace")

    def _trouble(self) -> str:
        with contextlib.suppress(Exception):
            return self.output("journalctl", "--no-pager", "--lines=60", "--output=short-monotonic")
        return self.console

    def _is_up(self) -> bool:
        if not self._leader():
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _leader(self) -> int | None:
        """The container's first process, which is the only child of nspawn's."""
        assert self._container is not None
        pid = self._container.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _end(self) -> None:
        container = self._container
        assert container is not None
        leader = self._leader()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if container.poll() is not None:
                break
            container.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                container.wait(_HALT_S)
        if leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
