"""Sets up one connection to an upstream with aiosmtplib: TCP, TLS, EHLO, AUTH, step by step, so
that a failure knows its phase; then takes the transport over for the transactions.

Credentials go only over verified TLS (or loopback, where the configuration allows tls: none).
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import aiosmtplib

from relay.config.schema import Timeouts, Upstream
from relay.config.secrets import SecretError
from relay.deliver import classify
from relay.deliver.masking import Masking
from relay.deliver.wire import ProtocolError, Wire
from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.provider import ReplyRule
from relay.model.reply import reply_from_lines
from relay.model.result import Deferred, Tls, Trouble
from relay.model.value import value_class

# RFC 1870 section 3; no server means anything by what is longer.
_SIZE = re.compile(r"[0-9]{1,20}")


class ConnectError(Exception):
    """There is no connection; ``trouble`` says why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


@value_class
class Offers:
    """What the server said to EHLO. ``size`` is its limit in octets, 0 if it named none."""

    pipelining: bool
    eight_bit_mime: bool
    smtputf8: bool
    size: int


class Turn(Protocol):
    """The right to one of an upstream's connections, given by whoever shares them out."""

    def pass_on(self) -> None:
        """Somebody else may have it now; harmless when repeated."""

    def kept(self) -> "Turn":
        """The same right in other hands: this one has nothing to pass on any more."""


@dataclass(slots=True, eq=False)
class Connection:
    """``fresh`` until its first transaction; ``unfinished``: the server still holds one of ours.

    ``ahead`` is set while a transaction waits for the reply behind its final dot, and another may
    follow it: True when the reply has come, or never will. ``quick``: the last such reply came
    soon. ``spoiled``: it is of no use to the next transaction. ``users`` are two at most.
    """

    wire: Wire
    offers: Offers
    tls: Tls | None
    remote_mta: str
    masking: Masking
    # Until when the server's certificate holds, in the library's words; parsed when asked for.
    not_after: str | None = None
    transactions: int = 0
    unfinished: bool = False
    idle_since: float = 0.0
    ahead: asyncio.Future[bool] | None = None
    quick: bool = False
    spoiled: bool = False
    users: int = 0
    # That of one who has gone elsewhere, while the one ahead is still at it.
    turn: Turn | None = None

    @property
    def fresh(self) -> bool:
        return self.transactions == 0


@value_class
class Kit:
    """What a connection is made of. Whoever wants to watch one gives parts that tell of it."""

    client: Callable[..., aiosmtplib.SMTP] = aiosmtplib.SMTP
    wire: Callable[[asyncio.Transport], Wire] = Wire


PLAIN_KIT = Kit()


async def connect(
    upstream: Upstream,
    hostname: str,
    timeouts: Timeouts,
    context: ssl.SSLContext | None,
    rules: Sequence[ReplyRule] = (),
    kit: Kit = PLAIN_KIT,
) -> Connection:
    """A connection ready for its first MAIL; ``rules`` say what the provider's replies mean. Raises
    ConnectError."""
    client = kit.client(
        hostname=upstream.host,
        port=upstream.port,
        local_hostname=hostname,
        timeout=timeouts.connect,
        use_tls=upstream.tls == "implicit",
        start_tls=False,  # ours below; the library's default is opportunistic
        tls_context=context,
    )
    setup = _Setup(client, upstream, timeouts, rules, kit)
    try:
        return await setup.run()
    except BaseException as error:
        client.close()
        if isinstance(error, Exception) and not isinstance(error, ConnectError):
            # A server may repeat in its reply what it was given at AUTH.
            trouble = Masking(upstream).masked_trouble(setup.trouble(error))
            raise ConnectError(trouble) from error
        raise


class _Setup:
    """The steps, with the phase they are in."""

    def __init__(
        self,
        client: aiosmtplib.SMTP,
        upstream: Upstream,
        timeouts: Timeouts,
        rules: Sequence[ReplyRule],
        kit: Kit,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._timeouts = timeouts
        self._rules = rules
        self._kit = kit
        self._phase = Phase.CONNECT

    async def run(self) -> Connection:
        client, upstream = self._client, self._upstream
        await client.connect()
        self._phase = Phase.EHLO
        await client.ehlo(timeout=self._timeouts.reply)
        if upstream.tls == "starttls":
            self._phase = Phase.TLS
            if not client.supports_extension("starttls"):
                raise ConnectError(Deferred(Cause.STARTTLS_UNAVAILABLE, Scope.UPSTREAM))
            await client.starttls()
            self._phase = Phase.EHLO
            await client.ehlo(timeout=self._timeouts.reply)
        if upstream.username is not None:
            self._phase = Phase.AUTH
            await self._authenticate()
        return self._taken_over()

    async def _authenticate(self) -> None:
        client, upstream = self._client, self._upstream
        assert upstream.username is not None
        try:
            username = upstream.username.reveal()
            password = upstream.password.reveal() if upstream.password else ""
        except SecretError as error:
            trouble = Deferred(Cause.AUTHENTICATION_FAILED, Scope.UPSTREAM, detail=str(error))
            raise ConnectError(trouble) from None
        # One mechanism, not all in turn: repeated failures lock accounts.
        offered = [name.lower() for name in client.server_auth_methods]
        if "plain" in offered:
            await client.auth_plain(username, password, timeout=self._timeouts.reply)
        elif "login" in offered:
            await client.auth_login(username, password, timeout=self._timeouts.reply)
        elif "cram-md5" in offered:
            await client.auth_crammd5(username, password, timeout=self._timeouts.reply)
        else:
            detail = f"the server offers no AUTH that we know: {' '.join(offered) or 'none'}"
            raise ConnectError(Deferred(Cause.AUTHENTICATION_FAILED, Scope.UPSTREAM, detail=detail))

    def _taken_over(self) -> Connection:
        # uvloop's transports are no subclasses of asyncio's.
        transport = cast("asyncio.Transport", self._client.transport)
        # The library's client and its protocol hold on to each other: they would keep a connection
        # that has ended, and the 256 KiB of its TLS buffer, until the next collection.
        self._client.transport = self._client.protocol = None
        size = self._client.esmtp_extensions.get("size", "")
        offers = Offers(
            pipelining=self._client.supports_extension("pipelining"),
            eight_bit_mime=self._client.supports_extension("8bitmime"),
            smtputf8=self._client.supports_extension("smtputf8"),
            size=int(size) if _SIZE.fullmatch(size) else 0,
        )
        peer = transport.get_extra_info("peername") or ("",)
        upstream = self._upstream
        return Connection(
            wire=self._kit.wire(transport),
            offers=offers,
            tls=_tls_of(transport, upstream.tls),
            remote_mta=f"{upstream.host}[{peer[0]}]:{upstream.port}",
            masking=Masking(upstream),
            not_after=(transport.get_extra_info("peercert") or {}).get("notAfter"),
            idle_since=time.monotonic(),
        )

    def trouble(self, error: Exception) -> Trouble:
        """What went wrong, from the exception that aiosmtplib wrapped."""
        if isinstance(error, aiosmtplib.SMTPResponseException) and error.code < 0:
            # What came was no reply at all.
            return classify.of_exception(self._phase, ProtocolError(error.message.strip()))
        if isinstance(error, aiosmtplib.SMTPResponseException):
            if isinstance(error, aiosmtplib.SMTPConnectResponseError):
                self._phase = Phase.BANNER
            # The library keeps octets that are no UTF-8 as half surrogate pairs.
            text = error.message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            reply = reply_from_lines(error.code, text.split("\n"))
            return classify.of_reply(self._phase, reply, self._rules)
        cause = _root(error)
        if self._phase is Phase.CONNECT and isinstance(error, aiosmtplib.SMTPConnectError):
            self._phase = self._connect_phase(error, cause)
        return classify.of_exception(self._phase, cause)

    def _connect_phase(self, error: Exception, cause: BaseException) -> Phase:
        """``connect`` of the library spans TCP, implicit TLS and the banner."""
        if "server ready" in str(error) or isinstance(cause, aiosmtplib.SMTPServerDisconnected):
            return Phase.BANNER
        return Phase.CONNECT


def _root(error: BaseException) -> BaseException:
    """The exception at the bottom, which says what happened (below a time-out is only the
    cancellation by which asyncio brings it about)."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _tls_of(transport: asyncio.Transport, mode: str) -> Tls | None:
    cipher = transport.get_extra_info("cipher")
    if cipher is None:
        return None
    return Tls(mode, str(cipher[1]), str(cipher[0]))


async def loaded_tls_context(upstream: Upstream) -> ssl.SSLContext | None:
    """As ``tls_context``, off the loop: reading the system's certificates takes 20 ms or more.
    Raises ConnectError where ca_file is of no use."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(None, tls_context, upstream)
    except (OSError, ValueError) as error:
        detail = f"ca_file {upstream.ca_file}: {error}"
        trouble = Deferred(Cause.CERTIFICATE_INVALID, Scope.UPSTREAM, detail=detail)
        raise ConnectError(trouble) from error


def tls_context(upstream: Upstream) -> ssl.SSLContext | None:
    """Certificate and host name verified, TLS 1.2 or newer; None for tls: none."""
    if upstream.tls == "none":
        return None
    context = ssl.create_default_context(cafile=upstream.ca_file and str(upstream.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
