"""The turns of a session: lines in, replies out, time-outs, and how it ends. What the commands
mean is session.py's.

Commands are obeyed in the same call in which they arrive; only what has to wait (content, a TLS
handshake, a password) becomes a task, and a client that only asks makes none.
"""

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from aiosmtpd import smtp as library

from relay.accept import replies
from relay.accept.admission import Peer, peer_of
from relay.accept.paths import CommandRefused
from relay.accept.reader import CommandTooLong, Inbox
from relay.model import events
from relay.model.reply import Reply

if TYPE_CHECKING:
    from relay.accept.listener import Listener

# aiosmtpd logs command lines, AUTH among them, at its own levels: none of that is wanted.
logging.getLogger("mail.log").disabled = True
diagnostics = structlog.get_logger("relay.accept")

_LINGER_S = 5.0
# While the relay stops: a client that has just connected, or has just had a reply, is about to say
# something, be it only QUIT.
_MOMENT_S = 1.0
# A transaction that has made no progress for so long may be ended when all sessions are taken.
_STALLED_S = 5.0
# A client that sends a thousand commands at once shares the loop with the others.
_COMMANDS_AT_ONCE = 50

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# What a command comes to: done, or a coroutine that has to be waited for.
Pending = Coroutine[Any, Any, None] | None


@lru_cache(maxsize=256)
def _wire(reply: Reply) -> bytes:
    return f"{reply}\r\n".encode("utf-8", "replace")


class Conversation(library.SMTP, ABC):
    """``peer`` is the other side; ``in_transaction`` and ``obey`` are the session's."""

    _reader: Any  # where the library's AUTH dialogues read

    def __init__(self, listener: "Listener") -> None:
        # Not the library's: its introspection costs 250 us a session.
        self._inbox = self._reader = Inbox(listener.loop)
        self.loop = listener.loop
        self.transport: Any = None
        self.session: library.Session | None = None
        self.peer: Peer
        self._listener = listener
        self._secure = listener.implicit_tls
        self._lf_mode: bool | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._parting: Reply | None = None
        self._had_transaction = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None

    @abstractmethod
    def obey(self, word: bytes, argument: str) -> Pending:
        """Carry a command out; ``word`` is in upper case. May raise CommandRefused."""

    @abstractmethod
    def take_content(self) -> Pending:
        """What there is to do before the next command, now that octets have arrived."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """From MAIL to the reply behind the final dot."""

    @property
    @abstractmethod
    def reverse_path(self) -> str | None:
        """That of the transaction under way."""

    # -- the connection

    def connection_made(self, transport: Any) -> None:
        self.peer = peer_of(transport.get_extra_info("peername"))
        self.transport = transport
        self._inbox.read_from(transport)
        if self._listener.greet(self):
            self._await_client()

    def data_received(self, data: bytes) -> None:
        self._inbox.feed(data)
        if self._task is None:
            self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        # The library would cancel the session here; a commit under way must not be.
        self.transport = None
        self._inbox.end()
        self.resume_writing()
        self._listener.sessions.discard(self)
        if self._timer:
            self._timer.cancel()

    def eof_received(self) -> bool | None:
        # Nor is half a close the end: what came before it is obeyed and answered.
        self._inbox.end()
        if self._task is None:
            self._go_on()
        return not self._secure  # TLS has no half a close

    def _reset_timeout(self, duration: float | None = None) -> None:
        """The library's; ours are ``_await_client`` and ``_attend``."""

    def _await_client(self, since: float | None = None) -> None:
        """It is the client's turn: the time-out counts from now. The timer is moved lazily."""
        self._idle_since = self.loop.time() if since is None else since
        if self._timer is None:
            self._timer = self.loop.call_later(self._listener.idle_s, self._check_idle)

    def _attend(self) -> None:
        """It is our turn; no time-out of the client's runs."""
        self._idle_since = None

    def _check_idle(self) -> None:
        self._timer = None
        leaving = self._parting if not self.in_transaction else None
        patience = _MOMENT_S if leaving else self._listener.idle_s
        now = self.loop.time()
        left = patience - (now - (self._idle_since or now))
        if left <= 0:
            self.end(leaving or replies.IDLE)
            return
        # The end of a transaction shortens the patience.
        wait_s = min(left, _MOMENT_S) if self._parting else left
        self._timer = self.loop.call_later(wait_s, self._check_idle)

    @property
    def dispensable_since(self) -> float | None:
        """Since when nothing has come of it, if it may be ended for another's sake: outside a
        transaction at once, within one when that has stalled."""
        since = self._idle_since
        if since is None or not self.in_transaction:
            return since
        return since if self.loop.time() - since > _STALLED_S else None

    def end(self, reply: Reply) -> None:
        """Say why, and hang up, without waiting for the client."""
        if self.transport is None:
            return
        self.transport.write(_wire(reply))
        unread = self._secure or self.transport.get_write_buffer_size() > 0
        self.transport.close()
        if unread:
            # A client that does not read would keep its session for ever.
            if self._timer:
                self._timer.cancel()
            self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)

    def end_when_idle(self, reply: Reply) -> None:
        """As ``end``, but a transaction may be finished first, also by a client that is just about
        to begin with it."""
        self._parting = reply
        if self._timer:
            self._timer.cancel()
        self._check_idle()

    # -- turns

    def _go_on(self) -> None:
        """Obey what has arrived, command by command, until one has to wait."""
        for _ in range(_COMMANDS_AT_ONCE):
            if not self._may_go_on():
                return
            try:
                if self._inbox and (waiting := self.take_content()):
                    self._wait_for(waiting)
                    return
                line = self._inbox.line()
                if line is None:
                    self._rest()
                    return
                waiting = self._command(line)
                if waiting:
                    self._wait_for(waiting)
            except Exception as error:
                self._failed(error)
        self.loop.call_soon(self._go_on_later)

    def _go_on_later(self) -> None:
        if self._task is None:
            self._go_on()

    def _may_go_on(self) -> bool:
        """Not while a command waits for something, or the client doesn't read its replies."""
        transport = self.transport
        return not (transport is None or self._task or self._writable or transport.is_closing())

    def _rest(self) -> None:
        """All that has arrived is obeyed: it is the client's turn, unless it has gone."""
        if self._inbox.ended:
            self.transport.close()
        elif self._idle_since is None:
            # Half a command buys no time.
            self._await_client()

    def _command(self, line: bytes) -> Pending:
        self._attend()
        if self._lf_mode is None:
            self._lf_mode = not line.endswith(b"\r\n")
        line = line.rstrip(b"\r\n")
        if _CONTROL.search(line):
            self.say(replies.BAD_SYNTAX)
            return None
        word, _, argument = line.strip().partition(b" ")
        return self.obey(word.upper(), argument.strip().decode("utf-8", "surrogateescape"))

    def _wait_for(self, command: Coroutine[Any, Any, None]) -> None:
        self._attend()
        self._had_transaction |= self.in_transaction
        self._task = self.loop.create_task(self._carry_out(command))

    async def _carry_out(self, command: Coroutine[Any, Any, None]) -> None:
        try:
            await command
        except Exception as error:
            self._failed(error)
        finally:
            self._task = None
        self._go_on()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, CommandTooLong):
            self.say(replies.COMMAND_TOO_LONG)
        elif isinstance(error, CommandRefused):
            self.tell_refused(error.reply, self.reverse_path)
            self.say(error.reply)
        elif isinstance(error, ConnectionError | TimeoutError):
            if self.transport is not None:
                self.transport.close()
        else:
            # Never a 5yz for a fault of ours: the application would throw its mail away. And never
            # on with the dialogue, whose next lines may be content.
            diagnostics.exception("command failed", client=self.peer.text, exc_info=error)
            self.end(replies.OUR_FAULT)

    # -- replies

    def say(self, reply: Reply) -> None:
        if self.transport is not None:
            self.transport.write(_wire(reply))

    def refuse(self, reply: Reply) -> bool:
        """Say it, and let the trail tell of it; False where the client has gone. One that has said
        its last may have gone, too: half a close looks no different."""
        if self.transport is None or self.transport.is_closing() or self._inbox.ended:
            return False
        self.tell_refused(reply, self.reverse_path)
        self.say(reply)
        return True

    def tell_refused(self, reply: Reply, reverse_path: str | None) -> None:
        self._listener.gathering.tell(
            self.peer.text,
            f"email.rejected {reply.code} {reply.enhanced_status}",
            lambda client, count: events.email_rejected(client, reverse_path, reply, count=count),
        )

    async def push(self, status: Any) -> None:
        """What the library's AUTH dialogues say, with an enhanced status where due."""
        if self.transport is None:
            raise ConnectionResetError("the client has gone")
        text = status.decode() if isinstance(status, bytes) else str(status)
        text = replies.with_enhanced_status(text)
        self.transport.write(text.encode("utf-8", "replace") + b"\r\n")

    def pause_writing(self) -> None:
        """A client that does not read its replies is waited for, but not for ever."""
        self._writable = self.loop.create_future()
        self._await_client()

    def resume_writing(self) -> None:
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        if self._task is None:
            self._go_on()
