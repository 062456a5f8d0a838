"""One session with a client: the SMTP commands (RFC 5321), upon the turns of conversation.py.

It stands on aiosmtpd's class, with the parts replaced that its limits demand. Replaced are the
constructor, reading, writing and the command loop, the replies (an enhanced status on each), MAIL
and RCPT (old devices' syntax), DATA (chunks in wire form, durable before its 250), STARTTLS
(uvloop's), AUTH (verified off the loop). The AUTH dialogues are aiosmtpd's.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiosmtpd import smtp as library

from relay.accept import paths, replies
from relay.accept.admission import bound_by
from relay.accept.conversation import Conversation, Pending
from relay.accept.receipt import Receipt, Transaction
from relay.accept.stamp import Hop
from relay.accept.users import TooManyLoginsError
from relay.model.identifiers import new_identifier
from relay.model.message import Origin, Recipient
from relay.model.ports import Bound
from relay.model.reply import Reply

if TYPE_CHECKING:
    from relay.accept.listener import Listener

_MOST_UNKNOWN_COMMANDS = 10
_MOST_AUTH_FAILURES = 3
# Octets a second. A client that is slower is as good as one that says nothing, or an octet a minute
# would hold a session, and the memory of its header section, for years.
_SLOWEST_CONTENT = 10

# A browser made to talk to port 25 (cross-protocol attacks) begins with one of these.
_NOT_SMTP = frozenset({b"GET", b"POST", b"PUT", b"CONNECT", b"OPTIONS", b"HEAD"})


class SmtpSession(Conversation):
    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener)
        self._transaction: Transaction | None = None
        self._receipt: Receipt | None = None
        self._client_name = ""
        self._extended = False
        self._user: str | None = None
        self._proof: str | None = None
        self._rules = listener.rules
        self._unknown_commands = 0
        self._auth_failures = 0

    @property
    def in_transaction(self) -> bool:
        return self._transaction is not None

    @property
    def reverse_path(self) -> str | None:
        return self._transaction.mail.reverse_path if self._transaction else None

    def obey(self, word: bytes, argument: str) -> Pending:
        command = _COMMANDS.get(word)
        if command:
            return command(self, argument)
        if word in _NOT_SMTP:
            self.end(replies.NOT_SMTP)
            return None
        self._unknown_commands += 1
        if self._unknown_commands > _MOST_UNKNOWN_COMMANDS:
            self.end(replies.TOO_MANY_ERRORS)
        else:
            self.say(replies.UNKNOWN_COMMAND)
        return None

    # -- HELO, EHLO, STARTTLS, AUTH

    def _helo(self, argument: str) -> None:
        self._begin(argument, extended=False)
        self.say(Reply(250, None, f"2.0.0 {self._listener.hostname}"))

    def _ehlo(self, argument: str) -> None:
        self._begin(argument, extended=True)
        starttls = self._listener.starttls_context is not None and not self._secure
        self.transport.write(
            self._listener.ehlo_reply(starttls=starttls, auth=self._may_authenticate)
        )

    def _begin(self, name: str, *, extended: bool) -> None:
        if not name:
            raise paths.CommandRefused(replies.WHO_ARE_YOU)
        # An old host's name in Latin-1 is no reason to refuse its mail.
        if not name.isascii():
            name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self._client_name = name
        self._extended = extended
        self._transaction = None

    @property
    def _may_authenticate(self) -> bool:
        """Only where the password can't be read on its way: over TLS or on loopback."""
        return self._listener.auth != "none" and (self._secure or self.peer.loopback)

    def _starttls(self, argument: str) -> Pending:
        if argument or self._listener.starttls_context is None or self._secure or self._transaction:
            self.say(replies.OUT_OF_ORDER)
            return None
        return self._start_tls()

    async def _start_tls(self) -> None:
        context = self._listener.starttls_context
        assert context is not None
        self.say(replies.READY_FOR_TLS)
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
        # Nor does anything said in the clear count: not the name, nor how its lines ended, by which
        # the end of a content would be found.
        self._secure, self._client_name, self._extended = True, "", False
        self._lf_mode = None

    def _auth(self, argument: str) -> Pending:
        if self._transaction or self._user is not None:
            self.say(replies.OUT_OF_ORDER)
        elif self._listener.auth == "none":
            self.say(replies.NO_AUTH)
        elif not self._may_authenticate:
            self.say(replies.ENCRYPTION_REQUIRED)
        else:
            return self._authenticate_with(*argument.split())
        return None

    async def _authenticate_with(self, mechanism: str = "", *initial: str) -> None:
        ask = {"PLAIN": self.auth_PLAIN, "LOGIN": self.auth_LOGIN}.get(mechanism.upper())
        if ask is None or len(initial) > 1:
            self.say(replies.UNKNOWN_MECHANISM)
            return
        self.session = self.session or library.Session(self.loop)
        self._await_client()
        asked = await ask(self, [mechanism, *initial])
        self._attend()
        if asked.auth_data is None:
            return  # the library has answered
        name = asked.auth_data.login.decode("utf-8", "replace")
        try:
            right = await self._listener.users.verify(name, asked.auth_data.password)
        except TooManyLoginsError:
            self.say(replies.TOO_MANY_LOGINS)
            return
        if right:
            self._user, self._proof = name, self._listener.users.proof(name)
            self.__dict__.pop("_bound", None)
            self._listener.tell_authenticated(self.peer, name)
            self.say(replies.AUTHENTICATED)
            return
        self._listener.tell_auth_failed(self.peer, name)
        self._auth_failures += 1
        if self._auth_failures >= _MOST_AUTH_FAILURES:
            self.end(replies.TOO_MANY_ERRORS)
            return
        self.say(replies.WRONG_PASSWORD)

    def _authenticate(self, mechanism: str, auth_data: Any) -> library.AuthResult:
        """The library asks here for a verdict; ours takes time, so the data goes back instead."""
        return library.AuthResult(success=False, handled=True, auth_data=auth_data)

    # -- MAIL, RCPT, DATA, RSET and what changes nothing

    def _mail(self, argument: str) -> None:
        if self._transaction:
            raise paths.CommandRefused(replies.NESTED_MAIL)
        if self._parting and self._had_transaction:
            self.end(self._parting)
            return
        if self._rules is not self._listener.rules and not self._take_up_rules():
            self.end(replies.RULES_CHANGED)
            return
        if self._user is None and self._listener.needs_auth(self.peer):
            raise paths.CommandRefused(replies.AUTH_REQUIRED)
        mail = paths.read_mail(argument)
        refusal = self._listener.mail_refusal(mail, self._bound)
        if refusal:
            raise paths.CommandRefused(refusal)
        self._transaction = Transaction(mail)
        self.say(replies.SENDER_OK)

    def _take_up_rules(self) -> bool:
        """After a reload: whether the client may go on, and for whom."""
        self._rules = self._listener.rules
        self.__dict__.pop("_bound", None)
        return self._user is None or self._listener.users.proof(self._user) == self._proof

    @cached_property
    def _bound(self) -> Bound:
        """The tenants this client may send for, by listener, network and user."""
        listener = self._listener
        network = listener.network_of(self.peer)
        return bound_by(
            listener.tenants,
            network.tenants if network else (),
            listener.users.tenants_of(self._user) if self._user is not None else (),
        )

    def _rcpt(self, argument: str) -> None:
        transaction = self._transaction
        if transaction is None:
            self.say(replies.NO_TRANSACTION)
            return
        rcpt = paths.read_rcpt(argument)
        address = self._listener.with_domain(rcpt.address)
        if address is None:
            raise paths.CommandRefused(replies.NO_DOMAIN)
        if len(transaction.recipients) >= self._listener.recipients:
            raise paths.CommandRefused(replies.TOO_MANY_RECIPIENTS)
        position = len(transaction.recipients)
        # The same address twice is one recipient.
        transaction.recipients.setdefault(address, Recipient(position, address, rcpt.notify))
        self.say(replies.RECIPIENT_OK)

    def _rset(self, argument: str) -> None:
        self._transaction = None
        self.say(replies.OK)

    def _noop(self, argument: str) -> None:
        self.say(replies.OK)

    def _help(self, argument: str) -> None:
        self.say(replies.HELP)

    def _vrfy(self, argument: str) -> None:
        self.say(replies.CANT_SAY)

    def _expn(self, argument: str) -> None:
        self.say(replies.NO_LISTS)

    def _quit(self, argument: str) -> None:
        self.end(replies.BYE)

    def _data(self, argument: str) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            self.say(replies.NO_RECIPIENTS if transaction else replies.NO_TRANSACTION)
            return
        self.say(replies.SEND_CONTENT)
        hop = self._hop(transaction)
        self._receipt = Receipt(self._listener, transaction, hop, lf_mode=bool(self._lf_mode))

    def take_content(self) -> Pending:
        return self._receive(self._receipt) if self._receipt else None

    def _hop(self, transaction: Transaction) -> Hop:
        name = "UTF8SMTP" if transaction.mail.smtputf8 else "ESMTP" if self._extended else "SMTP"
        name += "S" * self._secure + "A" * (self._user is not None)
        origin = Origin(self.peer.text, self._client_name, self._user, self._bound)
        mail = transaction.mail
        return Hop(self._listener.hostname, origin, name, new_identifier(), mail.reverse_path)

    async def _receive(self, receipt: Receipt) -> None:
        """From the first octet of the content to the reply behind its final dot. ConnectionError
        when the client goes before that."""
        reverse_path = self.reverse_path
        slow_since = self.loop.time()
        try:
            while not receipt.done:
                octets = await self._inbox.octets()
                arrived_at = self.loop.time()
                self._attend()
                if not octets:
                    raise ConnectionResetError("the client went in the middle of its content")
                await receipt.feed(octets)
                # Our own time does not count, and each octet buys some.
                slow_since = min(arrived_at, slow_since + len(octets) / _SLOWEST_CONTENT)
                slow_since += self.loop.time() - arrived_at
                self._await_client(slow_since)
            self._attend()
            if receipt.rest:
                self._inbox.unread(receipt.rest)
            reply = await receipt.promise(self)
        finally:
            receipt.release()
            self._receipt = self._transaction = None
        if reply is None:
            return
        if reply.positive:
            self.say(reply)
        else:
            self.tell_refused(reply, reverse_path)
            self.say(reply)


_COMMANDS: Mapping[bytes, Callable[[SmtpSession, str], Pending]] = {
    b"HELO": SmtpSession._helo,
    b"EHLO": SmtpSession._ehlo,
    b"STARTTLS": SmtpSession._starttls,
    b"AUTH": SmtpSession._auth,
    b"MAIL": SmtpSession._mail,
    b"RCPT": SmtpSession._rcpt,
    b"DATA": SmtpSession._data,
    b"RSET": SmtpSession._rset,
    b"NOOP": SmtpSession._noop,
    b"HELP": SmtpSession._help,
    b"VRFY": SmtpSession._vrfy,
    b"EXPN": SmtpSession._expn,
    b"QUIT": SmtpSession._quit,
}
