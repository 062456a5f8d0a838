"""A scripted SMTP server on loopback: a real socket, real TLS, and as ill-behaved as a test wants.

It takes any message unless its script says otherwise, and records every transaction. ``Upstream``
lives in the test's event loop, ``ThreadedUpstream`` in a thread of its own.

A script maps a phase to an answer: "banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data",
"dot" (after the final dot), "rset", "quit". An answer is a reply ("550 5.1.1 no such user", lines
parted by a newline), DROP, SILENCE, ``Slowly(seconds, answer)``, a list of answers to be used up
one by one, or, for "mail", "rcpt" and "dot", a mapping from address ("*" for any) to an answer;
at "dot" the address is the reverse-path. None is the usual answer. It may be changed while the
server runs.
"""

import asyncio
import base64
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
STEP_BY_STEP = tuple(name for name in EXTENSIONS if name != "PIPELINING")

_LONGEST_LINE = 64 * 1024 * 1024
_END = b".\r\n"

_T = TypeVar("_T")


class Drop:
    """The server hangs up."""


class Silence:
    """The server says nothing more, until the client hangs up."""


DROP = Drop()
SILENCE = Silence()


@dataclass(frozen=True)
class Slowly:
    seconds: float
    answer: "Answer" = None


Answer = str | Drop | Silence | Slowly | None
Choice = Answer | list[Answer] | Mapping[str, Answer]
Script = dict[str, Choice]
TlsMode = Literal["implicit", "starttls", "none"]


@dataclass(frozen=True)
class Transaction:
    """``content`` is what came, un-stuffed, without the final dot; ``wire`` is as it came."""

    connection: int
    reverse_path: str
    parameters: str
    recipients: tuple[str, ...]
    wire: bytes
    tls_version: str | None
    user: str | None
    at: float = field(default_factory=time.monotonic)

    @property
    def content(self) -> bytes:
        return (b"\r\n" + self.wire).replace(b"\r\n.", b"\r\n")[2:]

    @property
    def header(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n"

    @property
    def body(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[2]


class Upstream:
    """``context`` is the server's TLS context; ``users`` (name to password) makes it ask for AUTH.

    ``transactions`` are those that were taken, ``refused`` those that got another answer after the
    dot than 2yz, or none. ``commands`` holds (connection, line) in order of arrival, without AUTH's
    secrets; ``connections`` counts those opened, ``open_connections`` those still there.
    """

    host = "localhost"

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        tls: TlsMode = "none",
        users: Mapping[str, str] | None = None,
        extensions: tuple[str, ...] = EXTENSIONS,
        script: Script | None = None,
    ) -> None:
        self.context = context
        self.tls = tls
        self.users = dict(users or {})
        self.extensions = extensions
        self.script = script if script is not None else {}
        self.transactions: list[Transaction] = []
        self.refused: list[Transaction] = []
        self.commands: list[tuple[int, str]] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    @property
    def open_connections(self) -> int:
        return len(self._open)

    async def start(self) -> None:
        """Listen; on the same port as before, if it has listened before."""
        context = self.context if self.tls == "implicit" else None
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, limit=_LONGEST_LINE, ssl=context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        sessions = list(self._open)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    async def arrived(self, count: int, timeout_s: float = 20) -> list[Transaction]:
        """The transactions, as soon as there are ``count`` of them."""
        async with asyncio.timeout(timeout_s):
            while len(self.transactions) < count:
                self._news.clear()
                await self._news.wait()
        return self.transactions

    def record(self, transaction: Transaction, *, taken: bool) -> None:
        (self.transactions if taken else self.refused).append(transaction)
        self._news.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        session = asyncio.current_task()
        assert session is not None
        self._open.add(session)
        try:
            # A client that hangs up, with or without manners, is no concern of the test's.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, _HangUpError):
                await _Session(self, self.connections, reader, writer).run()
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(session)
            writer.transport.abort()


class _HangUpError(Exception):
    """The session is over."""


class _Session:
    def __init__(
        self,
        upstream: Upstream,
        connection: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.upstream = upstream
        self.connection = connection
        self.reader = reader
        self.writer = writer
        self.user: str | None = None
        self.extended = False
        self._forget()

    def _forget(self) -> None:
        self.reverse_path: str | None = None
        self.parameters = ""
        self.recipients: list[str] = []

    @property
    def tls_version(self) -> str | None:
        connection = self.writer.get_extra_info("ssl_object")
        return connection.version() if connection else None

    async def run(self) -> None:
        await self._answer("banner", "220 upstream.example ESMTP")
        while True:
            line = await self._line()
            verb, _, argument = line.partition(" ")
            secret = verb.upper() == "AUTH"
            said = " ".join(line.split(" ")[:2]) if secret else line
            self.upstream.commands.append((self.connection, said))
            command = _COMMANDS.get(verb.upper(), _Session._unknown)
            await command(self, argument)

    async def _line(self) -> str:
        line = await self.reader.readuntil(b"\r\n")
        return line[:-2].decode("utf-8", "surrogateescape")

    async def _answer(self, phase: str, usual: str, address: str = "") -> str:
        """Answer as the script says, else as usual; returns the reply that was sent."""
        reply = await self._decision(phase, usual, address)
        await self._say(reply)
        return reply

    async def _decision(self, phase: str, usual: str, address: str) -> str:
        answer = self._scripted(phase, address)
        while isinstance(answer, Slowly):
            await asyncio.sleep(answer.seconds)
            answer = answer.answer
        if isinstance(answer, Silence):
            await self.reader.read()
        if isinstance(answer, Drop | Silence):
            raise _HangUpError
        return answer or usual

    def _scripted(self, phase: str, address: str) -> Answer:
        choice = self.upstream.script.get(phase)
        if isinstance(choice, list):
            return choice.pop(0) if choice else None
        if isinstance(choice, Mapping):
            return choice.get(address, choice.get("*"))
        return choice

    async def _say(self, reply: str) -> None:
        lines = reply.split("\n")
        marked = [line[:3] + "-" + line[4:] for line in lines[:-1]] + lines[-1:]
        self.writer.write("".join(line + "\r\n" for line in marked).encode())
        await self.writer.drain()
        if reply.startswith("421"):
            raise _HangUpError

    # -- commands

    async def _unknown(self, _: str) -> None:
        await self._say("500 5.5.1 unknown command")

    async def _noop(self, _: str) -> None:
        await self._say("250 2.0.0 ok")

    async def _helo(self, _: str) -> None:
        self._forget()
        await self._answer("ehlo", "250 upstream.example")

    async def _ehlo(self, _: str) -> None:
        self._forget()
        offers = list(self.upstream.extensions)
        secure = self.tls_version is not None
        if self.upstream.tls == "starttls" and not secure:
            offers.append("STARTTLS")
        if self.upstream.users and (secure or self.upstream.tls == "none"):
            offers.append("AUTH PLAIN LOGIN")
        lines = ["upstream.example", *offers]
        await self._answer("ehlo", "\n".join(f"250 {line}" for line in lines))

    async def _starttls(self, _: str) -> None:
        reply = await self._answer("starttls", "220 2.0.0 go ahead")
        if reply.startswith("220") and self.upstream.context:
            await self.writer.start_tls(self.upstream.context)

    async def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "PLAIN":
            octets = base64.b64decode(initial or await self._asked(""))
            _, user, password = octets.decode().split("\0")
        else:
            user = base64.b64decode(initial or await self._asked("Username:")).decode()
            password = base64.b64decode(await self._asked("Password:")).decode()
        right = self.upstream.users.get(user) == password
        usual = "235 2.7.0 welcome" if right else "535 5.7.8 wrong user name or password"
        reply = await self._answer("auth", usual)
        self.user = user if reply.startswith("235") else None

    async def _asked(self, question: str) -> str:
        await self._say("334 " + base64.b64encode(question.encode()).decode())
        return await self._line()

    async def _mail(self, argument: str) -> None:
        address, parameters = _path(argument)
        if self.upstream.users and self.user is None:
            await self._say("530 5.7.0 authentication required")
        elif self.reverse_path is not None:
            await self._say("503 5.5.1 a transaction is under way")
        elif (await self._answer("mail", "250 2.1.0 ok", address)).startswith("2"):
            self.reverse_path, self.parameters = address, parameters

    async def _rcpt(self, argument: str) -> None:
        address, _ = _path(argument)
        if self.reverse_path is None:
            await self._say("503 5.5.1 MAIL first")
        elif (await self._answer("rcpt", "250 2.1.5 ok", address)).startswith("2"):
            self.recipients.append(address)

    async def _data(self, _: str) -> None:
        if not self.recipients:
            await self._say("554 5.5.1 no valid recipients")
        elif (await self._answer("data", "354 go ahead")).startswith("3"):
            await self._content()

    async def _content(self) -> None:
        lines = []
        while (line := await self.reader.readuntil(b"\r\n")) != _END:
            lines.append(line)
        transaction = Transaction(
            self.connection,
            self.reverse_path or "",
            self.parameters,
            tuple(self.recipients),
            b"".join(lines),
            self.tls_version,
            self.user,
        )
        self._forget()
        reply = ""
        try:
            reply = await self._decision("dot", "250 2.0.0 taken", transaction.reverse_path)
        finally:
            self.upstream.record(transaction, taken=reply.startswith("2"))
        # Recorded before it is said, so that whoever has the reply finds the record.
        await self._say(reply)

    async def _rset(self, _: str) -> None:
        self._forget()
        await self._answer("rset", "250 2.0.0 ok")

    async def _quit(self, _: str) -> None:
        await self._answer("quit", "221 2.0.0 bye")
        raise _HangUpError


_COMMANDS: dict[str, Callable[[_Session, str], Coroutine[Any, Any, None]]] = {
    "HELO": _Session._helo,
    "EHLO": _Session._ehlo,
    "STARTTLS": _Session._starttls,
    "AUTH": _Session._auth,
    "MAIL": _Session._mail,
    "RCPT": _Session._rcpt,
    "DATA": _Session._data,
    "RSET": _Session._rset,
    "NOOP": _Session._noop,
    "QUIT": _Session._quit,
}


def _path(argument: str) -> tuple[str, str]:
    """The address and the parameters of ``FROM:<a@b> SIZE=3`` or ``TO:<a@b>``."""
    path, _, parameters = argument.partition(":")[2].partition("> ")
    return path.strip().removeprefix("<").removesuffix(">"), parameters


class ThreadedUpstream(Upstream):
    """An upstream in a thread and an event loop of its own: ``with ThreadedUpstream() as u``."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def up(self) -> None:
        """Listen again, on the same port."""
        self._run(self.start())

    def down(self) -> None:
        """Refuse connections and cut those that are open."""
        self._run(self.stop())

    def wait_for(self, count: int, timeout_s: float = 20) -> list[Transaction]:
        """The transactions, as soon as there are ``count`` of them."""
        return self._run(self.arrived(count, timeout_s))

    def _run(self, doing: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(60)
