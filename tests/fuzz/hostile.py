"""An upstream that does what it likes, on a real socket: a coroutine speaks for each connection."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

from relay.config import schema
from relay.deliver.pool import Pool
from relay.deliver.transaction import Handover
from relay.dispatch.lane import Lane
from relay.model.result import Attempt, Result

PASSWORD = "Passw0rd-vx7Kq2"

Behaviour = Callable[["Talk"], Awaitable[None]]


class Talk:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *lines: bytes) -> None:
        self.writer.write(b"".join(line + b"\r\n" for line in lines))
        await self.writer.drain()

    async def hear(self) -> bytes:
        """A command, without its line end. ConnectionResetError at the end."""
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError
        return line.rstrip(b"\r\n")

    async def content(self) -> bytes:
        return await self.reader.readuntil(b"\r\n.\r\n")

    async def greet(self, *offers: bytes) -> None:
        """Banner and EHLO."""
        await self.say(b"220 hostile.example")
        await self.hear()
        await self.offer(*offers)

    async def offer(self, *offers: bytes) -> None:
        *others, last = [b"hostile.example", *offers]
        await self.say(*(b"250-" + line for line in others), b"250 " + last)


class Hostile:
    """``async with Hostile(behaviour) as upstream``."""

    host = "localhost"

    def __init__(
        self,
        behaviour: Behaviour,
        context: ssl.SSLContext | None = None,
        *,
        buffer_bytes: int = 1 << 26,
    ) -> None:
        self._behaviour = behaviour
        self._buffer_bytes = buffer_bytes
        self._context = context
        self._talks: set[asyncio.Task[Any]] = set()
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", 0, ssl=self._context, limit=self._buffer_bytes
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        talks = list(self._talks)
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._talks.add(task)
        try:
            # Whoever breaks off has made its point.
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
                await self._behaviour(Talk(reader, writer))
                await reader.read()
        except asyncio.CancelledError:
            pass
        finally:
            self._talks.discard(task)
            writer.transport.abort()


def handover(content: bytes, sender: str, *recipients: str) -> Handover:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1 << 18):
            yield content[start : start + (1 << 18)]

    return Handover(sender, recipients or ("a@x.example",), len(content), False, False, pieces)


def pool_to(port: int, reply_s: float = 0.5, **more: Any) -> Pool:
    entry = {"host": "localhost", "port": port, "tls": "none"} | more
    timeouts = {
        "connect": "3s", "reply": f"{int(reply_s * 1000)}ms",
        "data_reply": f"{int(reply_s * 1000)}ms"
    }  # fmt: skip
    return Pool(
        schema.Upstream.model_validate(entry),
        "relay.test",
        schema.Timeouts.model_validate(timeouts),
    )


async def in_turn(pool: Pool, lane: Lane, message: Handover) -> Attempt:
    """As the dispatcher hands over: so that another envelope may follow, and once more where
    nothing was tried."""
    while True:
        turn = await lane.acquire("acme", 1)
        assert turn
        try:
            attempt = await pool.hand_over(message, turn)
        finally:
            turn.pass_on()
        if attempt:
            return attempt


async def handed_over(pool: Pool, message: Handover) -> Result:
    """What became of its only recipient."""
    attempt = await pool.hand_over(message)
    assert attempt
    (result,) = attempt.results
    return result
