"""The listening side: binds what ``listen`` names, counts sessions, and knows each one's rules."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Sequence

import structlog

from relay.accept import paths
from relay.accept.admission import Admission, Peer
from relay.accept.content import TOO_LARGE
from relay.accept.conversation import Conversation
from relay.accept.descriptors import sessions_borne
from relay.accept.gathering import Gathering
from relay.accept.places import Place, places
from relay.accept.session import SmtpSession
from relay.accept.users import Users
from relay.config.schema import ClientNetwork, Config, Listen
from relay.model import events
from relay.model.budget import Budget
from relay.model.ports import AuditLog, Bound, Keeper, Tenancy
from relay.model.reply import Reply
from relay.model.value import value_class

diagnostics = structlog.get_logger("relay.accept")

NOT_ADMITTED = Reply(554, "5.7.1", "this address may not send here; see clients.networks")
TOO_MANY_SESSIONS = Reply(421, "4.7.0", "too many sessions, try again later")
MADE_ROOM = Reply(421, "4.7.0", "another client needs this session")
CLOSING = Reply(421, "4.3.2", "the relay is stopping, try again later")

# Clients that wait through a restart, where the socket is inherited; the kernel has a bound, too.
_BACKLOG = 4096
# Turns of the loop until those who were accepted before the socket was closed have their sessions.
_TURNS_TO_BEGIN = 3
_BIND_ADVICE = {
    errno.EADDRINUSE: "; `ss -ltnp` shows which program has the port",
    errno.EACCES: "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "; this machine has no such address",
}


class Sessions:
    """All sessions of all listeners, and the limits on them."""

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._open: set[Conversation] = set()
        self._by_client: dict[str, int] = {}
        self._gone = asyncio.Event()
        self._stopping = False

    def configure(self, most: int, most_per_client: int) -> None:
        """Other limits; the sessions there are stay."""
        self._most = most
        self._most_per_client = most_per_client

    def admit(self, session: Conversation) -> bool:
        """False where there are too many; a session that idles is ended to make room."""
        client = session.peer.text
        mine = self._by_client.get(client, 0)
        if mine >= self._most_per_client and not session.peer.loopback:
            return False
        if len(self._open) >= self._most and not self._end_longest_idle():
            return False
        self._open.add(session)
        self._by_client[client] = mine + 1
        if self._stopping:
            session.end_when_idle(CLOSING)
        return True

    def discard(self, session: Conversation) -> None:
        if session not in self._open:
            return
        self._open.discard(session)
        client = session.peer.text
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        if not self._open:
            self._gone.set()

    def _end_longest_idle(self) -> bool:
        idle = [(since, s) for s in self._open if (since := s.dispensable_since) is not None]
        if not idle:
            return False
        longest = min(idle, key=lambda pair: pair[0])[1]
        longest.end(MADE_ROOM)
        self.discard(longest)
        return True

    async def drain(self, timeout: float) -> None:
        """Lets transactions be finished for ``timeout`` seconds, then ends what is left."""
        self._stopping = True
        for session in list(self._open):
            session.end_when_idle(CLOSING)
        if self._open:
            self._gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), timeout)
        for session in list(self._open):
            session.end(CLOSING)

    def hurry(self) -> None:
        """What is still being finished is ended now."""
        self._gone.set()


@value_class
class Surroundings:
    """What all listeners share: the configuration, and the parts of the relay they speak to."""

    config: Config
    keeper: Keeper
    budget: Budget
    sessions: Sessions
    users: Users
    gathering: Gathering


class Listener:
    """One place; the sessions read their rules here, also those that are under way when they
    change."""

    def __init__(self, place: Place, shared: Surroundings, tenancy: Tenancy) -> None:
        listen = place.settings(shared.config)
        self.loop = asyncio.get_running_loop()
        self.keeper = shared.keeper
        self.budget = shared.budget
        self.sessions = shared.sessions
        self.users = shared.users
        self.gathering = shared.gathering
        self.tenants = listen.tenants
        self.implicit_tls = listen.tls == "implicit"
        self._tls = _tls_context(listen)
        self._listen = listen
        self._place = place
        self._server: asyncio.Server | None = None
        self.configure(shared.config, tenancy)

    def configure(self, config: Config, tenancy: Tenancy) -> None:
        """The rules of a configuration. A session tells by ``rules`` that they are others."""
        self.rules = object()
        self.tenancy = tenancy
        self.auth = self._place.settings(config).auth
        self.hostname = config.hostname
        self.idle_s = config.timeouts.session_idle
        self.message_size = config.limits.message_size
        self.recipients = config.limits.recipients
        self.line_length = config.limits.line_length
        self._aliases = {name.lower(): address for name, address in config.aliases.items()}
        self._admission = Admission(config.clients.networks)
        self._banner = Reply(220, None, f"{self.hostname} ESMTP")
        self._offers = (
            self.hostname,
            "PIPELINING",
            f"SIZE {self.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        )

    def check_certificate(self) -> None:
        """Raises OSError (as ssl.SSLError) where the files don't hold what they should now."""
        _tls_context(self._listen)

    def renew_certificate(self) -> None:
        """Sessions from here on see the certificate that the files hold now, if they hold one."""
        if self._tls:
            try:
                _present(self._tls, self._listen)
            except OSError as error:
                diagnostics.error("can't renew the certificate", error=str(error))

    @property
    def starttls_context(self) -> ssl.SSLContext | None:
        return None if self.implicit_tls else self._tls

    async def start(self) -> str:
        """Binds and listens; returns the address. OSError (PermissionError where that is it) where
        it can't, with what to do."""
        try:
            self._server = await self._serve()
        except OSError as error:
            number = error.errno or 0
            why = os.strerror(number) + _BIND_ADVICE.get(number, "")
            kind = PermissionError if number == errno.EACCES else OSError
            raise kind(f"can't listen on {self._place.name}: {why}") from error
        return self._place.name

    async def _serve(self) -> asyncio.Server:
        def session() -> SmtpSession:
            return SmtpSession(self)

        tls = self._tls if self.implicit_tls else None
        given, host = self._place.inherited, self._place.address.host
        if given is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return await self.loop.create_server(
                session, host, self._listen.port, family=family, ssl=tls, backlog=_BACKLOG
            )
        serve = (
            self.loop.create_unix_server
            if given.family == socket.AF_UNIX
            else self.loop.create_server
        )
        return await serve(session, sock=given, ssl=tls, backlog=_BACKLOG)

    def stop(self) -> None:
        """No new sessions; those there are go on."""
        if self._server:
            self._server.close()

    def greet(self, session: Conversation) -> bool:
        """The banner, or why there is none."""
        peer = session.peer
        refusal = None
        if self.auth == "none" and self.network_of(peer) is None:
            refusal = NOT_ADMITTED
        elif not self.sessions.admit(session):
            refusal = TOO_MANY_SESSIONS
        if refusal is None:
            session.say(self._banner)
            return True
        self._tell_refused(peer, refusal)
        session.end(refusal)
        return False

    def ehlo_reply(self, *, starttls: bool, auth: bool) -> bytes:
        """All its lines, with what is offered. No enhanced status: RFC 2034 section 3 wants none
        on EHLO's replies."""
        offers = [*self._offers, *["STARTTLS"] * starttls, *["AUTH PLAIN LOGIN"] * auth]
        lines = [f"250-{offer}" for offer in offers[:-1]]
        return "\r\n".join([*lines, f"250 {offers[-1]}", ""]).encode()

    def network_of(self, peer: Peer) -> ClientNetwork | None:
        return self._admission.network_of(peer)

    def needs_auth(self, peer: Peer) -> bool:
        return self.auth == "required" or self.network_of(peer) is None

    def mail_refusal(self, mail: paths.MailCommand, bound: Bound) -> Reply | None:
        """Why a transaction is not begun: too large, no room, or a tenant out of bounds."""
        if mail.size > self.message_size:
            return TOO_LARGE
        refusal = self.tenancy.sender_refusal(mail.reverse_path, bound)
        return refusal or self.keeper.refusal(mail.size)

    def with_domain(self, address: str) -> str | None:
        """The address, or the alias for one without a domain; None if there is none."""
        if "@" in address:
            return address
        return self._aliases.get(address.lower())

    def tell_authenticated(self, peer: Peer, user: str) -> None:
        self.gathering.tell(
            peer.text,
            f"client.authenticated {user}",
            lambda client, count: events.client_authenticated(client, user, count=count),
        )

    def tell_auth_failed(self, peer: Peer, user: str) -> None:
        # One kind for all names: a guesser tries many.
        self.gathering.tell(
            peer.text,
            "client.auth_failed",
            lambda client, count: events.client_auth_failed(client, user, count=count),
        )

    def _tell_refused(self, peer: Peer, reply: Reply) -> None:
        self.gathering.tell(
            peer.text,
            f"client.refused {reply.code}",
            lambda client, count: events.client_refused(
                client, self._place.name, reply, count=count
            ),
        )


def _tls_context(listen: Listen) -> ssl.SSLContext | None:
    if listen.tls == "none":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _present(context, listen)
    return context


def _present(context: ssl.SSLContext, listen: Listen) -> None:
    assert listen.cert_file is not None
    assert listen.key_file is not None
    context.load_cert_chain(listen.cert_file, listen.key_file)


class Acceptance:
    """The accept room as a whole: start, change the rules, stop taking, drain."""

    def __init__(
        self,
        config: Config,
        keeper: Keeper,
        tenancy: Tenancy,
        log: AuditLog,
        budget: Budget,
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        limits = config.limits
        self._tenancy = tenancy
        self._places = places(config, inherited)
        self._shared = Surroundings(
            config=config,
            keeper=keeper,
            budget=budget,
            sessions=Sessions(sessions_borne(config), limits.sessions_per_client),
            users=Users(config.clients.users),
            gathering=Gathering(log),
        )
        self._listeners: list[Listener] = []

    async def start(self) -> Sequence[str]:
        """Listens in all places; returns the addresses."""
        self._listeners = [Listener(place, self._shared, self._tenancy) for place in self._places]
        return [await listener.start() for listener in self._listeners]

    def check_certificates(self) -> None:
        """Raises OSError where a file doesn't hold what it should."""
        for listener in self._listeners:
            listener.check_certificate()

    def configure(self, config: Config, tenancy: Tenancy) -> None:
        """Other rules, for the same addresses; the certificates that the files hold now."""
        limits = config.limits
        self._shared.sessions.configure(sessions_borne(config), limits.sessions_per_client)
        self._shared.users.configure(config.clients.users)
        for listener in self._listeners:
            listener.configure(config, tenancy)
            listener.renew_certificate()

    async def stop(self, timeout: float) -> None:
        """No new sessions; those under way have ``timeout`` seconds."""
        for listener in self._listeners:
            listener.stop()
        for _ in range(_TURNS_TO_BEGIN):
            await asyncio.sleep(0)
        await self._shared.sessions.drain(timeout)
        self._shared.gathering.flush()
        self._shared.users.close()

    def hurry(self) -> None:
        """While it stops: nobody is waited for any longer."""
        self._shared.sessions.hurry()
