"""The SMTP dialogue on a transport that is already set up: commands and content out, replies in.

A reply that comes before it was asked for breaks the connection: an upstream that talks out of
turn must never make a message count as relayed.
"""

import asyncio
import fcntl
import re
import sys
import termios
from collections import deque
from typing import Any

from relay.model.reply import Reply, reply_from_lines

_LONGEST_LINE_BYTES = 8192
_MOST_LINES = 256
# TLS adds some octets to each record, of which there are few.
_MOST_TLS_ADDS = 0.01
_MOST_TLS_ADDS_BYTES = 256
_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)


class ProtocolError(Exception):
    """The server does not speak SMTP as it should."""


class DismissedError(ConnectionError):
    """The server ended the dialogue, in words: with 421, or with a refusal it was not asked for."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Wire(asyncio.Protocol):
    def __init__(self, transport: asyncio.Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._buffer = b""
        self._lines: list[str] = []
        self._unsent: list[bytes] = []
        self._socket = transport.get_extra_info("socket")
        # For each reply that is owed, how many octets must have arrived before it is believed, or
        # 0; and the same of what waits in ``_unsent``.
        self._owed: deque[int] = deque()
        self._asking: list[int] = []
        self._queued_bytes = 0
        self._sent_bytes = 0
        self._replies: deque[Reply] = deque()
        self._reply_waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        transport.set_protocol(self)

    @property
    def intact(self) -> bool:
        """Nothing has broken."""
        return self._error is None and not self._transport.is_closing()

    @property
    def usable(self) -> bool:
        """Nothing has broken, nothing is owed: the next transaction may begin."""
        return self.intact and not self._owed and not self._asking

    def send(
        self, octets: bytes, *, replies: int, more: bool = False, is_end: bool = False
    ) -> None:
        """Write, and expect that many replies from then on. ``more``: what is sent until the next
        turn of the loop leaves with it, by one system call. ``is_end``: with it a content ends,
        and its reply is believed only when all of that has arrived."""
        if self._error:
            raise self._error
        self._queued_bytes += len(octets)
        self._asking += [self._queued_bytes if is_end else 0] * replies
        self._unsent.append(octets)
        if not more:
            self._flush()
        elif len(self._unsent) == 1:
            self._loop.call_soon(self._flush)

    async def drained(self, timeout: float) -> None:
        """Returns when the transport wants more octets. Raises TimeoutError where the server has
        read nothing for so long."""
        self._flush()
        if self._error:
            raise self._error
        if self._writable:
            async with asyncio.timeout(timeout):
                await self._writable

    async def reply(self, timeout: float) -> Reply:
        """The next reply, in the order of the commands. Raises TimeoutError, OSError or
        ProtocolError; after that the connection is of no use."""
        while not self._replies:
            if self._error:
                raise self._error
            self._reply_waiter = self._loop.create_future()
            self._set_deadline(timeout)
            await self._reply_waiter
        return self._replies.popleft()

    def close(self) -> None:
        """Politely if the server is in a state to hear it, at once in any case."""
        if self.usable:
            self.send(b"QUIT\r\n", replies=1)
        self._fail(ConnectionResetError("closed by us"))
        self._transport.close()

    def abort(self) -> None:
        """Hang up in the middle of whatever it is, without another octet."""
        self._fail(ConnectionResetError("closed by us"))
        self._transport.abort()

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._error:
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in lines:
                self._take_line(line.rstrip(b"\r"))
            if len(self._buffer) > _LONGEST_LINE_BYTES:
                raise ProtocolError("a reply line without end")
        except ProtocolError as error:
            self._fail(error)
            self._transport.abort()

    def eof_received(self) -> bool:
        self._fail(ConnectionResetError("the server hung up"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the connection was lost"))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._error is None:
            # Not before: what the server has said until now answers none of it.
            self._owed += self._asking
            self._asking = []
            self._sent_bytes = self._queued_bytes
            # asyncio's writelines did not pause a sender before 3.12.9 and 3.13.2 (CVE-2024-12254);
            # a large content comes piece by piece.
            if len(unsent) == 1:
                self._transport.write(unsent[0])
            else:
                self._transport.writelines(unsent)

    # -- replies

    def _set_deadline(self, timeout: float) -> None:
        """The timer is moved only when it fires: a deadline for each reply costs 1 us, not 10."""
        self._deadline = self._loop.time() + timeout
        if self._timer and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._reply_waiter is None or self._reply_waiter.done():
            return
        if self._loop.time() >= self._deadline:
            self._reply_waiter.set_exception(TimeoutError())
        else:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _take_line(self, line: bytes) -> None:
        match = _LINE.fullmatch(line)
        if not match or len(line) > _LONGEST_LINE_BYTES or len(self._lines) >= _MOST_LINES:
            raise ProtocolError(f"not a reply: {line[:80]!r}")
        self._lines.append((match[3] or b"").decode("utf-8", "replace"))
        if match[2] == b"-":
            return
        reply = reply_from_lines(int(match[1]), self._lines)
        self._lines = []
        if not self._owed or (self._owed[0] and not self._can_answer(self._owed[0])):
            if reply.code >= 400:
                self._fail(DismissedError(reply))
                return
            raise ProtocolError(f"a reply that nobody asked for: {reply}")
        self._owed.popleft()
        self._replies.append(reply)
        self._wake()

    def _can_answer(self, octets: int) -> bool:
        """Whether the server can have so many octets of ours: a 2yz to a content whose end has not
        arrived there relays nobody. What arrived before the reply was said is confirmed by TCP
        with the reply itself."""
        sent_since = self._sent_bytes - octets
        most = sent_since + sent_since * _MOST_TLS_ADDS + _MOST_TLS_ADDS_BYTES
        return _unconfirmed_bytes(self._socket) <= most

    def _wake(self) -> None:
        if self._reply_waiter and not self._reply_waiter.done():
            self._reply_waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._error = self._error or error
        self._wake()
        self.resume_writing()


def _unconfirmed_bytes(connected: Any) -> int:
    """What the kernel holds until the other side's has it; 0 where it does not tell."""
    try:
        held = fcntl.ioctl(connected, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, TypeError):
        return 0
    return int.from_bytes(held, sys.byteorder)
