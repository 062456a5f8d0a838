"""The parts of a connection that tell a watch what goes on: aiosmtplib's client, and the wire.

They do what their originals do, so that what is watched is the way that mail takes.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Any

import aiosmtplib

from relay.deliver.connection import Kit
from relay.deliver.masking import MASK
from relay.deliver.watching import Watch, sound
from relay.deliver.wire import ProtocolError, Wire

_CONTINUE = 334  # the server asks for the next piece of AUTH (RFC 4954)
_AUTHENTICATED = 235
_GO_AHEAD = b"354"
_GOODBYE_S = 5.0
_END_BYTES = len(b".\r\n")


def kit_for(watch: Watch) -> Kit:
    """The parts that tell this watch."""
    return Kit(client=partial(WatchedClient, watch), wire=partial(WatchedWire, watch))


class WatchedClient(aiosmtplib.SMTP):
    """Tells of each command; opens the connection itself, to tell DNS from TCP."""

    def __init__(self, watch: Watch, **settings: Any) -> None:
        super().__init__(**settings)
        self._watch = watch
        self._asked_for_secret = False
        if self.tls_context is not None:
            self.tls_context.sslobject_class = _handshake(watch, self.use_tls)

    async def connect(self, **_: Any) -> aiosmtplib.SMTPResponse:
        connected = await self._dial()
        self._watch.begin("tls" if self.use_tls else "banner")
        try:
            response = await super().connect(sock=connected, port=None)
        except aiosmtplib.SMTPResponseException as refused:
            self._watch.reply(refused.code, refused.message)
            raise
        self._watch.reply(*response)
        self._watch.done(f"{response.code} {sound(response.message)}")
        return response

    async def _dial(self) -> socket.socket:
        """As the loop's own create_connection: every address in turn, one time-out over all."""
        watch, loop = self._watch, asyncio.get_running_loop()
        async with asyncio.timeout(self.timeout):
            watch.begin("dns")
            found = await loop.getaddrinfo(self.hostname, self.port, type=socket.SOCK_STREAM)
            addresses = ", ".join(dict.fromkeys(str(info[4][0]) for info in found))
            watch.note(f"{self.hostname} is {addresses}")
            watch.done(addresses)
            watch.begin("tcp")
            connected, told = await _first_that_answers(found)
        watch.note(f"connected to {told}")
        watch.done(told)
        return connected

    def close(self) -> None:
        """At once: the loop of a verb does not live long enough for a farewell in TLS."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        super().close()

    async def execute_command(self, *args: bytes, **settings: Any) -> aiosmtplib.SMTPResponse:
        verb = args[0].upper()
        if verb in (b"EHLO", b"AUTH"):
            self._watch.begin("ehlo" if verb == b"EHLO" else "auth")
        self._watch.client(MASK if self._asked_for_secret else _shown(args))
        response = await super().execute_command(*args, **settings)
        self._watch.reply(*response)
        self._asked_for_secret = response.code == _CONTINUE
        if self._watch.open_step == "auth" and response.code == _AUTHENTICATED:
            self._watch.done(f"{response.code} {sound(response.message)}")
        return response

    async def ehlo(self, **settings: Any) -> aiosmtplib.SMTPResponse:
        response = await super().ehlo(**settings)
        self._watch.done(", ".join(sound(response.message).split("\n")[1:]))
        return response

    async def starttls(self, **settings: Any) -> aiosmtplib.SMTPResponse:
        self._watch.begin("starttls")
        self._watch.client("STARTTLS")
        try:
            return await super().starttls(**settings)
        except aiosmtplib.SMTPResponseException as refused:
            self._watch.reply(refused.code, refused.message)
            raise


class WatchedWire(Wire):
    """Tells of each line that goes by, and of the content how much it was."""

    def __init__(self, watch: Watch, transport: asyncio.Transport) -> None:
        self._watch = watch
        # The octets of content that have gone out; None outside of it.
        self._content_bytes: int | None = None
        super().__init__(transport)

    def send(
        self, octets: bytes, *, replies: int, more: bool = False, is_end: bool = False
    ) -> None:
        super().send(octets, replies=replies, more=more, is_end=is_end)
        if self._content_bytes is None:
            for line in octets.decode("utf-8", "replace").removesuffix("\r\n").split("\r\n"):
                self._watch.client(line)
            return
        self._content_bytes += len(octets)
        if replies:
            self._watch.client(f"(content, {self._content_bytes - _END_BYTES:,} octets)")
            self._content_bytes = None

    def close(self) -> None:
        if self.usable:
            self._watch.client("QUIT")
        super().close()

    def _take_line(self, line: bytes) -> None:
        self._watch.server(line.decode("utf-8", "replace"))
        if line.startswith(_GO_AHEAD):
            self._content_bytes = 0
        super()._take_line(line)


async def say_goodbye(wire: Wire) -> str:
    """QUIT, and what the server says to it; hangs up in any case. It owes nothing for that, and
    mail does not wait for it."""
    try:
        wire.send(b"QUIT\r\n", replies=1)
        return str(await wire.reply(_GOODBYE_S))
    except (OSError, ProtocolError):
        return "no answer"
    finally:
        wire.abort()


def _handshake(watch: Watch, implicit: bool) -> type[ssl.SSLObject]:
    """What a TLS context makes its connections of, so that they tell of their handshake."""

    class Handshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            watch.handshake_begins()
            super().do_handshake()
            watch.secured(self)
            if implicit:
                watch.begin("banner")

    return Handshake


async def _first_that_answers(found: Sequence[Any]) -> tuple[socket.socket, str]:
    """A connected socket, and which address it is, with those that did not answer."""
    errors: list[OSError] = []
    for family, kind, protocol, _, address in found:
        try:
            connected = await _connected(socket.socket(family, kind, protocol), address)
        except OSError as error:
            errors.append(error)
        else:
            silent = [str(info[4][0]) for info in found[: len(errors)]]
            told = f"{address[0]} (not {', '.join(silent)})" if silent else str(address[0])
            return connected, told
    said = dict.fromkeys(os.strerror(error.errno or 0) for error in errors)
    raise OSError(errors[-1].errno, "; ".join(said))


async def _connected(candidate: socket.socket, address: Any) -> socket.socket:
    candidate.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(candidate, address)
    except BaseException:
        candidate.close()
        raise
    return candidate


def _shown(command: Sequence[bytes]) -> str:
    """A command as it may be seen: of AUTH no more than the mechanism."""
    words = [word.decode("utf-8", "replace") for word in command]
    if command[0].upper() == b"AUTH" and len(words) > 2:
        words = [*words[:2], MASK]
    return " ".join(words)
