"""A whole relay in the test's own loop, with real sockets, a real store and a real upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.configs import relay_config, upstream_entry
from support.ports import free_port
from support.upstream import Upstream

from relay.app import App
from relay.config import load


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The relay serves on uvloop; what holds only there would hide a mistake."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Dialogue:
    """SMTP by hand: what goes out and comes back, octet for octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply, its lines joined by a newline; "" when the server has hung up."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self._reader.readline(), 10)).decode()
            if not line:
                return "\n".join(lines)
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def say(self, line: str) -> str:
        self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def mail(
        self, content: bytes, sender: str = "shop@acme.example", recipient: str = "a@x.example"
    ) -> str:
        """One transaction; the reply behind the final dot. ``content`` is in wire form."""
        for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = await self.say(command)
            if reply[0] not in "23":
                return reply
        self.send(content + b".\r\n")
        return await self.reply()


class RunningRelay:
    def __init__(self, app: App, port: int, folder: Path) -> None:
        self.app = app
        self.port = port
        self.folder = folder

    @contextlib.asynccontextmanager
    async def dialogue(self, greeting: str | None = "EHLO client.example") -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        dialogue = Dialogue(reader, writer)
        try:
            dialogue.banner = await dialogue.reply()
            if greeting:
                assert (await dialogue.say(greeting)).startswith("250")
            yield dialogue
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


StartRelay = Callable[..., AbstractAsyncContextManager[RunningRelay]]


@pytest.fixture
def start_relay(tmp_path: Path) -> StartRelay:
    """``async with start_relay(upstream, limits={...}) as relay``: acme.example by ``upstream``."""

    def start(
        upstream: Upstream, *, upstreams: dict[str, Any] | None = None, **more: Any
    ) -> AbstractAsyncContextManager[RunningRelay]:
        sections: dict[str, Any] = {
            "tenants": {"acme": {"domains": ["acme.example"], "upstream": "up"}}
        }
        entries = upstreams or {"up": upstream_entry(upstream)}
        return _running(tmp_path, entries, **(sections | more))

    return start


@pytest.fixture(scope="session")
def relay_in() -> StartRelay:
    """``async with relay_in(folder, upstreams, tenants={...}) as relay``: for fixtures that a whole
    module shares, and for tests that name all of the configuration."""
    return _running


@contextlib.asynccontextmanager
async def _running(
    folder: Path,
    upstreams: dict[str, Any],
    *,
    listener: dict[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[RunningRelay]:
    port = free_port()
    if listener:
        sections["listen"] = [{"address": f"127.0.0.1:{port}"} | listener]
    config_file = folder / "config.yaml"
    config_file.write_text(relay_config(folder, port, upstreams, **sections))
    app = App(load(config_file, {}), folder / "relay.db")
    running = asyncio.create_task(app.run())
    try:
        await _answers(port, running)
        yield RunningRelay(app, port, folder)
    finally:
        app.stop("test")
        await asyncio.wait_for(running, 30)


async def _answers(port: int, running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(10):
        while not running.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
    await running
