"""The stage of a rehearsal: a temporary folder, loopback upstreams, the real relay as a process.

All that it starts, it ends by its process id, and all that it writes lies in the folder, which goes
with it. The operator's files, variables and store are not looked at.
"""

import asyncio
import json
import os
import random
import secrets
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from relay.rehearse.certificates import Authority
from relay.rehearse.upstream import Tls, Upstream

_START_WITHIN_S = 20.0
_STOP_WITHIN_S = 10.0
_VERB_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.02
# Below Linux's range for outgoing connections, one of which could take the port before the relay.
_PORTS = range(20_000, 32_000)
_given: set[int] = set()
# What a relay on the stage may know of whoever started it. All else may hold secrets.
_NEUTRAL = ("PATH", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "PYTHON", "VIRTUAL_ENV", "LD_LIBRARY")


class StageError(Exception):
    """The rehearsal can't go on; the text says what happened, for a person."""


@asynccontextmanager
async def stage(prefix: str) -> AsyncIterator["Stage"]:
    """An empty stage, cleared when the rehearsal ends, however it ends."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        made = Stage(Path(folder))
        try:
            yield made
        finally:
            await made.clear()


class Stage:
    """Upstreams first, then ``start_relay`` with a configuration that names them, on ``port``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.yaml"
        self.authority = Authority(folder)
        self.port = free_port()
        self._log = folder / "relay.log"
        self._upstreams: list[Upstream] = []
        self._relay: Process | None = None

    async def clear(self) -> None:
        try:
            if self._relay:
                await _end(self._relay)
        finally:
            for upstream in self._upstreams:
                upstream.stop()

    async def upstream(self, name: str, tls: Tls, users: tuple[str, ...]) -> Upstream:
        """A listening upstream; each of its users has a password, in the file ``secret(user)``."""
        passwords = {user: self._new_secret(user) for user in users}
        upstream = Upstream(
            self.authority.server_context(name),
            tls,
            passwords,
            expired=self.authority.server_context(name, expired=True),
        )
        self._upstreams.append(upstream)
        await upstream.start()
        return upstream

    def secret(self, user: str) -> Path:
        return self.folder / f"{user}.secret"

    async def start_relay(self, config: str) -> None:
        """Returns when it takes mail. ``config`` is YAML, which says to listen on ``port``."""
        self.config_file.write_text(config)
        with self._log.open("wb") as log:
            self._relay = await self._started("serve", stdout=log.fileno(), stderr=log.fileno())
        if not await self.until(lambda: bool(self.events("relay.started")), _START_WITHIN_S):
            raise StageError(f"the relay does not start:\n{self._told()}")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The audit events of that name which the relay has mirrored so far."""
        whole_lines = self._log.read_bytes().split(b"\n")[:-1]
        entries = [json.loads(line) for line in whole_lines if line.startswith(b"{")]
        return [entry for entry in entries if entry.get("event") == name]

    async def until(self, happened: Callable[[], bool], within_s: float) -> bool:
        """Whether it happened in time; StageError where the relay died meanwhile."""
        deadline = time.monotonic() + within_s
        while not happened():
            if self._relay and self._relay.returncode is not None:
                status = self._relay.returncode
                raise StageError(f"the relay ended with status {status}:\n{self._told()}")
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True

    async def verb(self, *arguments: str) -> str:
        """What ``relay VERB`` prints; StageError where its status is not 0."""
        command = f"relay {' '.join(arguments)}"
        verb = await self._started(*arguments, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(_VERB_WITHIN_S):
                told, complained = await verb.communicate()
        except TimeoutError:
            raise StageError(f"{command}: no end in {_VERB_WITHIN_S:.0f} s") from None
        finally:
            await _end(verb)
        if verb.returncode:
            text = (told + complained).decode(errors="replace")
            raise StageError(f"{command}: status {verb.returncode}\n{text}")
        return told.decode(errors="replace")

    def _told(self) -> str:
        return self._log.read_text(errors="replace")

    def _new_secret(self, user: str) -> str:
        password = secrets.token_urlsafe(18)
        file = self.secret(user)
        file.touch(mode=0o600)
        file.write_text(password + "\n")
        return password

    async def _started(self, *arguments: str, stdout: int, stderr: int) -> Process:
        # -P: a relay.py in the working directory is not us. In a session of its own a Ctrl-C on
        # the terminal doesn't reach it: we end it, when we have done with it.
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "relay", "--config", str(self.config_file)),
            *arguments,
            stdin=DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=_neutral(os.environ),
            start_new_session=True,
        )


async def _end(process: Process) -> None:
    """Politely first; at once, when whoever waits for it does so no longer."""
    if process.returncode is not None:
        return
    try:
        process.terminate()
        async with asyncio.timeout(_STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    except asyncio.CancelledError:
        process.kill()
        raise


def _neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """Without what is meant for an installed relay, or for whoever started us."""
    return {name: value for name, value in environ.items() if name.startswith(_NEUTRAL)}


def free_port() -> int:
    """One that nobody listens on, and that no other stage of this process was given."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise StageError("no free port on 127.0.0.1 among a hundred tried")
