"""The accept room alone, on a real socket, in a thread: what it keeps lies in a list, and the store
behind it fails when a test says so."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop
from support.configs import relay_config
from support.ports import free_port

from relay.accept import conversation
from relay.accept.listener import Acceptance
from relay.config import load
from relay.model.budget import Budget
from relay.model.message import Message
from relay.model.ports import Client, StoreError
from relay.model.reply import Reply


class Shelf:
    """Keeper, tenancy and log in one. ``outcomes`` are used up one by one: "ok", "store" (the store
    fails), "bug", "full"."""

    def __init__(self) -> None:
        self.kept: list[Message] = []
        self.outcomes: list[str] = []
        self.events: list[Any] = []

    def refusal(self, size: int) -> Reply | None:
        return None

    def new_spool_file(self) -> Any:
        raise StoreError("no spool here")

    async def keep(self, message: Message, header: bytes, client: Client) -> Reply:
        outcome = self.outcomes.pop(0) if self.outcomes else "ok"
        await asyncio.sleep(0)
        if outcome == "store":
            raise StoreError("disk full")
        if outcome == "bug":
            raise RuntimeError("a bug")
        if outcome == "full":
            return Reply(452, "4.3.1", "full")
        self.kept.append(message)
        return Reply(250, "2.0.0", f"Ok: queued as {message.queue_id}")

    def sender_refusal(self, reverse_path: str, bound: Any) -> Reply | None:
        return None

    def admit(self, reverse_path: str, header_from: str, bound: Any) -> str:
        return "acme"

    def tell(self, event: Any) -> None:
        self.events.append(event)


class Place:
    def __init__(self, port: int, shelf: Shelf) -> None:
        self.port = port
        self.shelf = shelf

    @contextmanager
    def client(self, timeout: float = 20) -> Iterator["Caller"]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = Caller(connected)
            try:
                client.banner = client.reply()
                yield client
            finally:
                client.close()


class Caller:
    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._lines = connected.makefile("rb")
        self.banner = ""

    def close(self) -> None:
        self._lines.close()
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def reply(self) -> str:
        """One reply, its lines joined; "" when the relay has hung up."""
        said: list[str] = []
        try:
            while line := self._lines.readline():
                said.append(line.decode().rstrip("\r\n"))
                if line[3:4] != b"-":
                    break
        except ConnectionResetError:
            pass
        return "\n".join(said)

    def ask(self, line: str) -> str:
        self.send(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self.reply()

    def everything(self) -> list[str]:
        """All replies until the relay hangs up."""
        return list(iter(self.reply, ""))

    def secure(self, context: Any) -> None:
        self._lines.close()
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._lines = self.socket.makefile("rb")


@contextmanager
def accepting(folder: Path, **sections: Any) -> Iterator[Place]:
    """``listener`` adds to the only entry of ``listen``."""
    port, shelf = free_port(), Shelf()
    listener = {"address": f"127.0.0.1:{port}"} | sections.pop("listener", {})
    upstreams = {"up": {"host": "127.0.0.1", "port": 9, "tls": "none"}}
    file = folder / f"accepting-{port}.yaml"
    default = {"upstream": "up"}
    file.write_text(
        relay_config(folder, port, upstreams, default=default, listen=[listener], **sections)
    )
    config = load(file, {})
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Acceptance:
        acceptance = Acceptance(config, shelf, shelf, shelf, Budget(config.limits.memory))
        await acceptance.start()
        return acceptance

    acceptance = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        # What the relay would write of a bug of ours is long; these are made on purpose.
        with patch.object(conversation, "diagnostics"):
            yield Place(port, shelf)
    finally:
        asyncio.run_coroutine_threadsafe(acceptance.stop(0.1), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
