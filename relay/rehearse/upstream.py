"""An upstream on loopback: real TLS, real AUTH, and a record of all that it took.

It stands for a provider, in the event loop of whoever rehearses. It hands nothing on.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

# aiosmtpd logs command lines, AUTH among them, at its own levels: none of that is wanted.
logging.getLogger("mail.log").disabled = True

Tls = Literal["implicit", "starttls", "none"]

_ANY_SIZE = 1 << 30
# Left to its default, a line of a header section that is as long as RFC 5322 allows would not fit.
_LINE_LENGTH = 1 << 16


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came out of the relay, and how it came. ``user`` is who logged in."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    user: str
    tls_version: str

    @property
    def _header(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)

    def field(self, name: str) -> str:
        """A field of the header section as a reader sees it; "" where it is missing."""
        return str(self._header.get(name, ""))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is amiss with an upstream, and at which step of the dialogue: nobody listens, the
    certificate has expired, no login is taken, or MAIL or a message's final dot gets ``reply``; an
    empty one is silence. With ``subject`` it is about that message alone."""

    at: Literal["connect", "tls", "auth", "mail", "dot"]
    reply: str = ""
    subject: str = ""


class Upstream:
    """``start`` and ``stop`` as often as needed: it comes back on the port that it had.

    Without ``users`` nobody has to log in. ``expired`` is the context that shows an expired
    certificate.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        tls: Tls,
        users: Mapping[str, str],
        expired: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.users = users
        self.port = 0
        self.received: list[Received] = []
        self.fault: Fault | None = None
        self._context = context
        self._expired = expired
        self._server: asyncio.Server | None = None
        self._sessions: set[_Session] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        shown = self._shown
        self._server = await loop.create_server(
            lambda: _Session(self, shown),
            "127.0.0.1",
            self.port,
            ssl=shown if self.tls == "implicit" else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """As if somebody had pulled the plug: connections that are open are cut."""
        if self._server:
            self._server.close()
            self._server = None
        for session in list(self._sessions):
            session.cut()

    async def suffer(self, fault: Fault | None) -> None:
        """From now on it has this fault, or none. Connections that are open are cut, so that it is
        felt at once."""
        self.stop()
        self.fault = fault
        if fault is None or fault.at != "connect":
            await self.start()

    @property
    def _shown(self) -> ssl.SSLContext:
        if self.fault and self.fault.at == "tls" and self._expired:
            return self._expired
        return self._context

    def message_about(self, subject: str) -> Received | None:
        """The message with this Subject, if it has come."""
        return next((one for one in self.received if one.field("Subject") == subject), None)

    # -- what a session tells

    def came(self, session: "_Session") -> None:
        self._sessions.add(session)

    def went(self, session: "_Session") -> None:
        self._sessions.discard(session)


class _Session(SMTP):
    """aiosmtpd's server; where there are users AUTH is required, and is offered only under TLS, or
    where there is to be none."""

    line_length_limit = _LINE_LENGTH

    def __init__(self, upstream: Upstream, context: ssl.SSLContext) -> None:
        # Under implicit TLS aiosmtpd doesn't know that there is any, so it may not insist on it;
        # that AUTH has come is for the handler to see.
        starttls = upstream.tls == "starttls"
        super().__init__(
            _Handler(upstream),
            data_size_limit=_ANY_SIZE,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="rehearsal",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            auth_require_tls=starttls,
            authenticator=self._authenticated,
            loop=asyncio.get_running_loop(),
        )
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._upstream.came(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._upstream.went(self)
        super().connection_lost(error)

    def cut(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    @property
    def tls_version(self) -> str:
        connection = self.transport.get_extra_info("ssl_object") if self.transport else None
        return connection.version() if connection else ""

    def _authenticated(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any
    ) -> AuthResult:
        if not isinstance(login, LoginPassword):
            return AuthResult(success=False, handled=False)
        upstream = self._upstream
        right = upstream.users.get(login.login.decode()) == login.password.decode()
        revoked = upstream.fault is not None and upstream.fault.at == "auth"
        return AuthResult(success=right and not revoked, handled=False, auth_data=login)


class _Handler:
    """aiosmtpd's hooks: what the server says beyond the usual, and what it keeps."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def handle_EHLO(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, lines: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*lines[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", lines[-1]]

    async def handle_MAIL(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str | None,
        options: list[str],
    ) -> str:
        if self._upstream.users and not session.authenticated:
            return "530 5.7.0 authentication required"
        if refusal := await self._refusal("mail"):
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 sender ok"

    async def handle_DATA(  # noqa: N802
        self, server: "_Session", session: Session, envelope: Envelope
    ) -> str:
        login = session.login_data or b""
        received = Received(
            reverse_path=(envelope.mail_from or "").removeprefix("<>"),
            recipients=tuple(envelope.rcpt_tos),
            content=cast(bytes, envelope.original_content),
            user=login.decode(),
            tls_version=server.tls_version,
        )
        fault = self._upstream.fault
        spared = fault and fault.subject and fault.subject != received.field("Subject")
        if not spared and (refusal := await self._refusal("dot")):
            return refusal
        self._upstream.received.append(received)
        return f"250 2.0.0 taken as number {len(self._upstream.received)}"

    async def _refusal(self, step: str) -> str | None:
        """None where nothing is amiss at this step. Silence lasts until the connection is cut."""
        fault = self._upstream.fault
        if fault is None or fault.at != step:
            return None
        if not fault.reply:
            await asyncio.Event().wait()
        return fault.reply
