"""One session with a client: aiosmtpd's verbs, with the parts replaced that its limits demand.

Replaced are the constructor (its introspection costs 250 us a session), reading, writing and the
command loop (half closed connections, LF line ends, no library texts; see reader.py), the replies
(an enhanced status on each), MAIL and RCPT (old devices' syntax), DATA (chunks in wire form,
durable before its 250), STARTTLS (uvloop's), AUTH (verified off the loop). The AUTH dialogues, NOOP
and EXPN are aiosmtpd's.
"""

import asyncio
import logging
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from aiosmtpd import smtp as library

from relay.accept import paths, replies
from relay.accept.admission import Peer, bound_by, peer_of
from relay.accept.content import STORE_TROUBLE, Incoming
from relay.accept.data import DataReader, LineTooLong
from relay.accept.reader import CommandTooLong, Inbox
from relay.accept.stamp import Hop, stamped
from relay.accept.users import TooManyLoginsError
from relay.model import events
from relay.model.identifiers import new_identifier
from relay.model.message import Content, Message, Origin, Recipient
from relay.model.ports import Bound, StoreError
from relay.model.reply import Reply

if TYPE_CHECKING:
    from relay.accept.listener import Listener

# aiosmtpd logs command lines, AUTH among them, at its own levels: none of that is wanted.
logging.getLogger("mail.log").disabled = True
diagnostics = structlog.get_logger("relay.accept")

# Stands for a command line that was too long to be kept.
_TOO_LONG = b"(too long)"
_MOST_UNKNOWN_COMMANDS = 10
_LINGER_S = 5.0
_MOST_AUTH_FAILURES = 3
_NORMAL_PRIORITY = 1

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# A browser made to talk to port 25 (cross-protocol attacks) begins with one of these.
_NOT_SMTP = frozenset({"GET", "POST", "PUT", "CONNECT", "OPTIONS", "HEAD"})


@dataclass(slots=True)
class Transaction:
    """From MAIL to DATA."""

    mail: paths.MailCommand
    recipients: dict[str, Recipient] = field(default_factory=dict)


class SmtpSession(library.SMTP):
    _reader: Any  # where the library's AUTH dialogues read

    def __init__(self, listener: "Listener") -> None:
        # Not the library's: see above. What its verbs use is set here.
        self._inbox = self._reader = Inbox(listener.loop)
        self.loop = listener.loop
        self.hostname = listener.hostname
        self.session: library.Session | None = None
        self.envelope: library.Envelope | None = None
        self.transport: Any = None
        self._handle_hooks = {}
        self._writable: asyncio.Future[None] | None = None
        self._original_transport = None
        self._tls_protocol = None
        self._auth_required = False
        self._handler_coroutine: asyncio.Task[None] | None = None

        self._listener = listener
        self._peer: Peer
        self._transaction: Transaction | None = None
        self._helo = ""
        self._secure = listener.implicit_tls
        self._user: str | None = None
        self._lf_mode: bool | None = None
        self._ending = False
        self._unknown_commands = 0
        self._auth_failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None

    # -- the connection

    def connection_made(self, transport: Any) -> None:
        self._peer = peer_of(transport.get_extra_info("peername"))
        self.transport = transport
        self._inbox.read_from(transport)
        self.session = self._create_session()
        self.envelope = self._create_envelope()
        self._await_client()
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        self._inbox.feed(data)

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
        return not self._secure  # TLS has no half a close

    def _reset_timeout(self, duration: float | None = None) -> None:
        """The library's; ours are ``_await_client`` and ``_attend``."""

    def _await_client(self) -> None:
        """It is the client's turn: the time-out counts from now. The timer is moved lazily."""
        self._idle_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self._listener.idle_s, self._check_idle)

    def _attend(self) -> None:
        """It is our turn; no time-out of the client's runs."""
        self._idle_since = None

    def _check_idle(self) -> None:
        self._timer = None
        now = self.loop.time()
        left = self._listener.idle_s - (now - (self._idle_since or now))
        if left > 0:
            self._timer = self.loop.call_later(left, self._check_idle)
        else:
            self.end(replies.IDLE)

    @property
    def idle_since(self) -> float | None:
        """When it last heard from the client, if it waits for a command outside a transaction."""
        return None if self._transaction else self._idle_since

    @property
    def peer(self) -> Peer:
        return self._peer

    def end(self, reply: Reply) -> None:
        """Say why, and hang up, without waiting for the client."""
        self._ending = True
        if self.transport is not None:
            self.transport.write(f"{reply}\r\n".encode())
            self.transport.close()
            # A client that does not read would keep its session for ever.
            if self._timer:
                self._timer.cancel()
            self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)

    def end_when_idle(self, reply: Reply) -> None:
        """As ``end``, but a transaction may be finished first."""
        if self._transaction is None and self._idle_since is not None:
            self.end(reply)
        self._ending = True

    # -- commands and replies

    async def _handle_client(self) -> None:
        try:
            if await self._listener.greet(self):
                await self._converse()
        except (ConnectionError, TimeoutError):
            pass
        except Exception:
            diagnostics.exception("session failed", client=self._peer.text)
        finally:
            if self.transport is not None:
                self.transport.close()

    async def _converse(self) -> None:
        while not (self._ending and self._transaction is None):
            self._await_client()
            line = await self._read_command()
            self._attend()
            if line is None:
                return
            try:
                await self._obey(line)
            except paths.CommandRefused as refused:
                await self._refuse(refused.reply, self._reverse_path)
            except (ConnectionError, TimeoutError):
                raise
            except Exception:
                # Never a 5yz for a fault of ours: the application would throw its mail away. And
                # never on with the dialogue, whose next lines may be content.
                diagnostics.exception("command failed", client=self._peer.text)
                self.end(replies.OUR_FAULT)
                return

    async def _read_command(self) -> bytes | None:
        """The next command line without its end; None when the client has gone."""
        try:
            line = await self._inbox.line()
        except CommandTooLong:
            return _TOO_LONG
        if line is None:
            return None
        if self._lf_mode is None:
            self._lf_mode = not line.endswith(b"\r\n")
        return line.rstrip(b"\r\n")

    async def _obey(self, line: bytes) -> None:
        if line is _TOO_LONG:
            await self.push(replies.COMMAND_TOO_LONG)
            return
        if _CONTROL.search(line):
            await self.push(replies.BAD_SYNTAX)
            return
        command, _, argument = line.strip().partition(b" ")
        verb = command.decode("ascii", "replace").upper()
        if verb in _NOT_SMTP:
            self.end(replies.NOT_SMTP)
            return
        method = getattr(self, f"smtp_{verb}", None) if verb.isalpha() else None
        if method is None:
            await self._unknown_command()
            return
        await method(argument.strip().decode("utf-8", "surrogateescape") or None)

    async def _unknown_command(self) -> None:
        self._unknown_commands += 1
        if self._unknown_commands > _MOST_UNKNOWN_COMMANDS:
            self.end(replies.TOO_MANY_ERRORS)
            return
        await self.push(replies.UNKNOWN_COMMAND)

    async def push(self, status: Any) -> None:
        """Every reply, the library's too, goes out here, with an enhanced status where due."""
        text = status.decode() if isinstance(status, bytes) else str(status)
        text = replies.with_enhanced_status(text)
        await self._write(text.encode("utf-8", "replace") + b"\r\n")

    async def _write(self, octets: bytes) -> None:
        """A client that does not read is waited for, but not for ever: it is its turn."""
        if self.transport is None:
            raise ConnectionResetError("the client has gone")
        self.transport.write(octets)
        if self._writable:
            self._await_client()
            await self._writable
            self._attend()

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    @property
    def _reverse_path(self) -> str | None:
        return self._transaction.mail.reverse_path if self._transaction else None

    async def _refuse(self, reply: Reply, reverse_path: str | None) -> None:
        """A refusal that the trail tells of."""
        self._listener.gathering.tell(
            self._peer.text,
            f"email.rejected {reply.code} {reply.enhanced_status}",
            lambda client, count: events.email_rejected(client, reverse_path, reply, count=count),
        )
        await self.push(reply)

    # -- HELO, EHLO, STARTTLS, AUTH

    async def smtp_HELO(self, hostname: str | None) -> None:  # noqa: N802 - the library's name
        self._begin(hostname, extended=False)
        await self.push(f"250 {self.hostname}")

    async def smtp_EHLO(self, hostname: str | None) -> None:  # noqa: N802
        self._begin(hostname, extended=True)
        offers = [
            self.hostname,
            "PIPELINING",
            f"SIZE {self._listener.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if self._listener.starttls_context and not self._secure:
            offers.append("STARTTLS")
        if self._may_authenticate:
            offers.append("AUTH PLAIN LOGIN")
        lines = [f"250-{offer}" for offer in offers[:-1]]
        # One write, and no enhanced status: RFC 2034 section 3 wants none on EHLO's replies.
        await self._write("\r\n".join([*lines, f"250 {offers[-1]}", ""]).encode())

    def _begin(self, hostname: str | None, *, extended: bool) -> None:
        if not hostname:
            raise paths.CommandRefused(Reply(501, "5.5.4", "say who you are: EHLO hostname"))
        assert self.session is not None
        # An old host's name in Latin-1 is no reason to refuse its mail.
        hostname = hostname.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self._helo = self.session.host_name = hostname
        self.session.extended_smtp = extended
        self._transaction = None

    @property
    def _may_authenticate(self) -> bool:
        """Only where the password can't be read on its way: over TLS or on loopback."""
        return self._listener.auth != "none" and (self._secure or self._peer.loopback)

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
        context = self._listener.starttls_context
        if arg or context is None or self._secure or self._transaction:
            await self.push(replies.OUT_OF_ORDER)
            return
        await self.push("220 2.0.0 Ready to start TLS")
        # What a client, or somebody between, sent ahead in the clear is not obeyed (RFC 3207 4.2).
        self._inbox.forget()
        try:
            self.transport = await self.loop.start_tls(
                self.transport, self, context, server_side=True, ssl_handshake_timeout=60
            )
        except OSError as error:
            # The client's affair, as when it hangs up; nothing more can be said to it.
            raise ConnectionResetError(f"the TLS handshake failed: {error}") from error
        self._inbox.read_from(self.transport)
        self._secure, self._helo = True, ""

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802
        if self._transaction or self._user is not None:
            await self.push(replies.OUT_OF_ORDER)
        elif self._listener.auth == "none":
            await self.push(Reply(502, "5.5.1", "AUTH is not offered here"))
        elif not self._may_authenticate:
            await self.push(Reply(538, "5.7.11", "encryption required"))
        else:
            await self._authenticate_with(*(arg or "").split())

    async def _authenticate_with(self, mechanism: str = "", *initial: str) -> None:
        ask = {"PLAIN": self.auth_PLAIN, "LOGIN": self.auth_LOGIN}.get(mechanism.upper())
        if ask is None or len(initial) > 1:
            await self.push(Reply(504, "5.5.4", "PLAIN and LOGIN are offered"))
            return
        self._await_client()
        asked = await ask(self, [mechanism, *initial])
        self._attend()
        if asked.auth_data is None:
            return  # the library has answered
        name = asked.auth_data.login.decode("utf-8", "replace")
        try:
            right = await self._listener.users.verify(name, asked.auth_data.password)
        except TooManyLoginsError:
            await self.push(replies.TOO_MANY_LOGINS)
            return
        if right:
            self._user = name
            self._listener.tell_authenticated(self._peer, name)
            await self.push(Reply(235, "2.7.0", "authenticated"))
            return
        self._listener.tell_auth_failed(self._peer, name)
        self._auth_failures += 1
        if self._auth_failures >= _MOST_AUTH_FAILURES:
            self.end(replies.TOO_MANY_ERRORS)
            return
        await self.push(Reply(535, "5.7.8", "wrong user name or password"))

    def _authenticate(self, mechanism: str, auth_data: Any) -> library.AuthResult:
        """The library asks here for a verdict; ours takes time, so the data goes back instead."""
        return library.AuthResult(success=False, handled=True, auth_data=auth_data)

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: N802
        await self.push("214 2.0.0 RFC 5321 has it all")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802
        await self.push(Reply(252, "2.1.5", "can't say, but send it and see"))

    # -- MAIL, RCPT, DATA, RSET

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        if self._transaction:
            raise paths.CommandRefused(replies.NESTED_MAIL)
        if self._user is None and self._listener.needs_auth(self._peer):
            raise paths.CommandRefused(replies.AUTH_REQUIRED)
        mail = paths.read_mail(arg or "")
        refusal = self._listener.mail_refusal(mail, self._bound)
        if refusal:
            raise paths.CommandRefused(refusal)
        self._transaction = Transaction(mail)
        await self.push("250 2.1.0 Ok")

    @property
    def _bound(self) -> Bound:
        """The tenants this client may send for, by listener, network and user."""
        listener = self._listener
        network = listener.network_of(self._peer)
        return bound_by(
            listener.tenants,
            network.tenants if network else (),
            listener.users.tenants_of(self._user) if self._user is not None else (),
        )

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        transaction = self._transaction
        if transaction is None:
            await self.push(replies.NO_TRANSACTION)
            return
        rcpt = paths.read_rcpt(arg or "")
        address = self._listener.with_domain(rcpt.address)
        if address is None:
            raise paths.CommandRefused(replies.NO_DOMAIN)
        if len(transaction.recipients) >= self._listener.recipients:
            raise paths.CommandRefused(replies.TOO_MANY_RECIPIENTS)
        position = len(transaction.recipients)
        # The same address twice is one recipient.
        transaction.recipients.setdefault(address, Recipient(position, address, rcpt.notify))
        await self.push("250 2.1.5 Ok")

    async def smtp_RSET(self, arg: str | None) -> None:  # noqa: N802
        self._transaction = None
        await self.push("250 2.0.0 Ok")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
        self.end(Reply(221, "2.0.0", "Bye"))

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            await self.push(replies.NO_RECIPIENTS if transaction else replies.NO_TRANSACTION)
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        hop = self._hop(transaction)
        listener = self._listener
        incoming = Incoming(
            lambda header: stamped(header, hop),
            listener.keeper,
            listener.budget,
            listener.message_size,
        )
        try:
            await self._receive(incoming)
            reply = await self._promise(transaction, hop, incoming)
        finally:
            incoming.release()
            self._transaction = None
        if reply.positive:
            await self.push(reply)
        else:
            await self._refuse(reply, transaction.mail.reverse_path)

    def _hop(self, transaction: Transaction) -> Hop:
        extended = self.session is not None and self.session.extended_smtp
        name = "UTF8SMTP" if transaction.mail.smtputf8 else "ESMTP" if extended else "SMTP"
        name += "S" * self._secure + "A" * (self._user is not None)
        origin = Origin(self._peer.text, self._helo, self._user, self._bound)
        return Hop(self.hostname, origin, name, new_identifier(), transaction.mail.reverse_path)

    async def _receive(self, incoming: Incoming) -> None:
        """Read to the end of the content. ConnectionError when the client goes before it."""
        reader = DataReader(lf_mode=bool(self._lf_mode), line_length=self._listener.line_length)
        while not reader.done:
            self._await_client()
            octets = await self._inbox.octets()
            self._attend()
            if not octets:
                raise ConnectionResetError("the client went in the middle of its content")
            try:
                await incoming.take(reader.feed(octets))
            except LineTooLong:
                incoming.refuse(replies.LINE_TOO_LONG)
        if reader.rest:
            self._inbox.unread(reader.rest)

    async def _promise(self, transaction: Transaction, hop: Hop, incoming: Incoming) -> Reply:
        """The reply behind the final dot: 250 once the message would survive power loss."""
        content = await incoming.finish()
        if content is None:
            return incoming.refusal or STORE_TROUBLE
        message = self._message(transaction, hop, incoming, content)
        if isinstance(message, Reply):
            return message
        incoming.entrust()
        try:
            await self._listener.keeper.keep(message, events.email_accepted(message))
        except StoreError:
            incoming.take_back()
            return STORE_TROUBLE
        return Reply(250, "2.0.0", f"Ok: queued as {message.queue_id}")

    def _message(
        self, transaction: Transaction, hop: Hop, incoming: Incoming, content: Content
    ) -> Message | Reply:
        mail, stamp = transaction.mail, incoming.stamped
        assert stamp is not None
        tenant = self._listener.tenancy.admit(
            mail.reverse_path, stamp.header_from, hop.origin.bound
        )
        if isinstance(tenant, Reply):
            return tenant
        now = time.time()
        return Message(
            queue_id=hop.queue_id,
            arrived_at=now,
            expires_from=now,
            tenant=tenant,
            priority=_NORMAL_PRIORITY,
            reverse_path=mail.reverse_path,
            header_from=stamp.header_from,
            message_id=stamp.message_id,
            smtputf8=_needs_smtputf8(transaction, stamp.header),
            body_8bit=mail.body_8bit,
            origin=hop.origin,
            recipients=tuple(transaction.recipients.values()),
            content=content,
        )


def _needs_smtputf8(transaction: Transaction, header: bytes) -> bool:
    """A declared SMTPUTF8 is only insisted on where the header section needs it (RFC 6531 section
    3.6); whether an address does is asked when it leaves."""
    return transaction.mail.smtputf8 and not header.isascii()
