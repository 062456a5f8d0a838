"""The way to the listener: where it is, and one SMTP transaction with it (RFC 5321)."""

import contextlib
import os
import socket

from relay.sendmail.addresses import has_domain, host_name, with_domain
from relay.sendmail.errors import (
    EX_CONFIG,
    EX_DATAERR,
    EX_IOERR,
    EX_NOHOST,
    EX_NOUSER,
    EX_UNAVAILABLE,
    SendError,
    shown,
)
from relay.sendmail.mail import Content

_CONNECT_TIMEOUT_S = 30
# RFC 5321 section 4.5.3.2 wants ten minutes after the final dot; nothing needs longer.
_REPLY_TIMEOUT_S = 600


def connect() -> socket.socket:
    server = os.environ.get("RELAY_SENDMAIL_SERVER", "").strip()
    hosts, port = (["127.0.0.1", "::1"], 25) if not server else _host_and_port(server)
    failures = []
    for host in hosts:
        try:
            return socket.create_connection((host, port), _CONNECT_TIMEOUT_S)
        except socket.gaierror as error:
            text = f"RELAY_SENDMAIL_SERVER names {host}, which is not found: {error.strerror}"
            raise SendError(EX_NOHOST, text) from None
        except OSError as error:
            failures.append(f"{host} port {port}: {error.strerror or error}")
    raise SendError(
        EX_IOERR,
        f"cannot connect to {' or '.join(failures)}; nothing was sent: start the relay, "
        "or say in RELAY_SENDMAIL_SERVER where it listens (host:port)",
    )


def _host_and_port(server: str) -> tuple[list[str], int]:
    """``host``, ``host:port``, ``[address]:port`` or a bare IPv6 address."""
    host, _, port = server.rpartition(":")
    if not host or host.endswith(":") or (":" in host and not host.endswith("]")):
        host, port = server, "25"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise SendError(EX_CONFIG, f"RELAY_SENDMAIL_SERVER is not host:port: {server!r}")
    return [host.strip("[]")], int(port)


class Reply:
    """An SMTP reply: its code, its lines without the code, and its enhanced status code or ""."""

    def __init__(self, code: int, lines: list[str]) -> None:
        self.code = code
        self.lines = lines
        first = lines[0].partition(" ")[0]
        self.enhanced_status = first if first[:2] in ("2.", "4.", "5.") else ""

    def __str__(self) -> str:
        text = f"{self.code} {' '.join(self.lines)}"
        return "".join(c if c.isprintable() else "?" for c in text)[:500]


class Session:
    """One transaction, all or nothing: if one recipient is refused, no other gets the message.

    The program that called hears of the failure, and can send it again without doubling it.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_REPLY_TIMEOUT_S)
        self._connection = connection
        self._replies = connection.makefile("rb")

    def hand_over(self, sender: bytes, recipients: list[bytes], content: Content) -> None:
        """SendError unless the listener has taken the message."""
        try:
            self._transact(sender, recipients, content)
        except OSError as error:
            text = f"lost the relay, and the message probably with it; send it again: {error}"
            raise SendError(EX_IOERR, text) from None
        with contextlib.suppress(OSError):
            self._connection.sendall(b"QUIT\r\n")

    def _transact(self, sender: bytes, recipients: list[bytes], content: Content) -> None:
        self._wanted("the connection", self._reply())
        offers = self._ask("the greeting", b"EHLO " + host_name()).lines
        parameters = _parameters({line.upper() for line in offers}, [sender, *recipients], content)
        origin = f"the sender {shown(sender)}"
        self._ask(origin, b"MAIL FROM:<" + sender + b">" + parameters)
        for recipient in recipients:
            self._add(recipient)
        self._ask("the message", b"DATA")
        for block in content.blocks():
            self._connection.sendall(block)
        self._ask("the message", b".")

    def _add(self, recipient: bytes) -> None:
        """The listener knows aliases of recipients without a domain; the others get the host's."""
        what = f"the recipient {shown(recipient)}"
        reply = self._said(b"RCPT TO:<" + recipient + b">")
        if reply.enhanced_status == "5.1.3" and not has_domain(recipient):
            reply = self._said(b"RCPT TO:<" + with_domain(recipient) + b">")
        self._wanted(what, reply, EX_NOUSER)

    def _ask(self, what: str, command: bytes) -> Reply:
        return self._wanted(what, self._said(command))

    def _said(self, command: bytes) -> Reply:
        self._connection.sendall(command + b"\r\n")
        return self._reply()

    def _wanted(self, what: str, reply: Reply, status: int = EX_UNAVAILABLE) -> Reply:
        if 200 <= reply.code < 400:
            return reply
        if reply.code < 500:
            text = f"the relay cannot take {what} now; nothing was sent, try again later: {reply}"
            raise SendError(EX_IOERR, text)
        if reply.enhanced_status.startswith(("5.3.4", "5.6.")):
            status = EX_DATAERR
        text = f"the relay refused {what}; nothing was sent, correct it first: {reply}"
        raise SendError(status, text)

    def _reply(self) -> Reply:
        lines = []
        more = True
        while more:
            line = self._replies.readline(4096)
            if not line[:3].isdigit() or not line.endswith(b"\n"):
                raise OSError("it hung up" if not line else f"it said {shown(line)}")
            more = line[3:4] == b"-"
            lines.append(line[4:].decode("utf-8", "replace").strip())
        return Reply(int(line[:3]), lines)


def _parameters(offers: set[str], paths: list[bytes], content: Content) -> bytes:
    """What MAIL must say of the message, as far as the listener offers to hear it."""
    parameters = b""
    if any(offer.partition(" ")[0] == "SIZE" for offer in offers):
        parameters += b" SIZE=%d" % content.size
    if not content.is_ascii and "8BITMIME" in offers:
        parameters += b" BODY=8BITMIME"
    for path in paths:
        if not path.isascii():
            if "SMTPUTF8" not in offers:
                raise SendError(EX_DATAERR, f"the relay takes no address like {shown(path)}")
            return parameters + b" SMTPUTF8"
    return parameters
