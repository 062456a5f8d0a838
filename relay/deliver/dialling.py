"""Opens the TCP connection to one upstream: its name looked up in a thread of its own, then each of
its addresses in turn.

The event loop's own look-ups share two threads: two names that hang would hold up every other
upstream's for as long as they do.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from threading import Thread
from typing import Any

import aiosmtplib

AddressInfo = tuple[Any, ...]


class Dialler:
    """Of one host and port. There is never more than one look-up at once, whose answer serves all
    who wait for it; one that hangs is waited for by those who come later, too."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._looking: asyncio.Future[Sequence[AddressInfo]] | None = None

    async def dial(self, timeout_s: float) -> socket.socket:
        """A connected socket, within one time-out over all. Raises OSError."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                found = self._numeric() or await self._looked_up()
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the name servers do not answer") from None
        async with asyncio.timeout_at(deadline):
            return await _first_that_answers(found)

    def _numeric(self) -> Sequence[AddressInfo]:
        """Nothing to look up: () unless the host is an address."""
        try:
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            return socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags)
        except socket.gaierror:
            return ()

    async def _looked_up(self) -> Sequence[AddressInfo]:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_future()
            # A daemon: what hangs must not hold up our end.
            Thread(target=self._look_up, args=(self._looking,), name="look-up", daemon=True).start()
        return await asyncio.shield(self._looking)

    def _look_up(self, asked: asyncio.Future[Sequence[AddressInfo]]) -> None:
        answer: Sequence[AddressInfo] | OSError
        try:
            answer = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            answer = error
        # Where the loop has ended, nobody waits any more.
        with contextlib.suppress(RuntimeError):
            asked.get_loop().call_soon_threadsafe(self._answered, asked, answer)

    def _answered(
        self,
        asked: asyncio.Future[Sequence[AddressInfo]],
        answer: Sequence[AddressInfo] | OSError,
    ) -> None:
        self._looking = None
        if isinstance(answer, OSError):
            asked.set_exception(answer)
            asked.exception()  # those who asked may have gone
        else:
            asked.set_result(answer)


class DiallingClient(aiosmtplib.SMTP):
    """Connects by a dialler of ours."""

    def __init__(self, dialler: Dialler, **settings: Any) -> None:
        super().__init__(**settings)
        self._dialler = dialler

    async def connect(self, **_: Any) -> aiosmtplib.SMTPResponse:
        assert self.timeout is not None
        connected = await self._dialler.dial(self.timeout)
        return await super().connect(sock=connected, port=None)


async def _first_that_answers(found: Sequence[AddressInfo]) -> socket.socket:
    """Every address in turn. Raises the last one's OSError."""
    loop = asyncio.get_running_loop()
    trouble: OSError = OSError("the host has no address")
    for family, kind, protocol, _, address in found:
        connected = socket.socket(family, kind, protocol)
        connected.setblocking(False)
        try:
            await loop.sock_connect(connected, address)
        except BaseException as error:
            connected.close()
            if not isinstance(error, OSError):
                raise
            # In the system's words, which say why; the loop's own say that it failed.
            trouble = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
        else:
            return connected
    raise trouble
