"""What the relay adds to a header section on the way in, and what it reads from it.

Added: one Received on top (RFC 5321 section 4.4), and From, Date, Message-ID where missing.
Nothing else is changed, but that a missing blank line comes and lines too long are folded.
"""

import re
import time
from email.utils import formatdate

from relay.accept.data import folded
from relay.model import header as headers
from relay.model.message import Origin
from relay.model.reply import Reply
from relay.model.value import value_class

MAIL_LOOP = Reply(554, "5.4.6", "more than 50 Received fields: this message is in a loop")
_MOST_RECEIVED = 50
_LONGEST_MESSAGE_ID = 250

_NOTED = re.compile(
    rb"^(received|from|date|message-id|dkim-signature)[ \t]*:", re.MULTILINE | re.IGNORECASE
)
_ODD_IN_HELO = re.compile(r"[^A-Za-z0-9.:\[\]_-]")


class MailLoop(Exception):
    """The message has passed too many hops."""


@value_class
class Hop:
    """What a Received field tells: who handed what to whom, how (``protocol``: RFC 3848)."""

    hostname: str
    origin: Origin
    protocol: str
    queue_id: str
    reverse_path: str


@value_class
class Stamped:
    """``header`` ends with its blank line. ``signed``: the content must not be folded."""

    header: bytes
    header_from: str
    message_id: str
    signed: bool


def stamped(header: bytes, hop: Hop) -> Stamped:
    """``header`` is whole lines in wire form, without the blank line. Raises MailLoop."""
    found: dict[bytes, list[int]] = {}
    for match in _NOTED.finditer(header):
        found.setdefault(match[1].lower(), []).append(match.start())
    if len(found.get(b"received", ())) > _MOST_RECEIVED:
        raise MailLoop
    signed = b"dkim-signature" in found
    header_from, from_field = _from(header, found.get(b"from"), hop)
    message_id, message_id_field = _message_id(header, found.get(b"message-id"), hop)
    date_field = b"" if b"date" in found else b"Date: %b\r\n" % _now().encode()
    top = _received(hop)
    added = from_field + date_field + message_id_field
    body = header if signed else folded(header)
    return Stamped(b"%b%b%b\r\n" % (top, body, added), header_from, message_id, signed)


def _from(header: bytes, starts: list[int] | None, hop: Hop) -> tuple[str, bytes]:
    """The one mailbox of From ("" if it isn't one), and the field to add if there is none."""
    if starts:
        value = _value_at(header, starts[0])
        return (headers.one_mailbox(value) if len(starts) == 1 else ""), b""
    address = hop.reverse_path or f"MAILER-DAEMON@{hop.hostname}"
    return hop.reverse_path, f"From: {address}\r\n".encode()


def _message_id(header: bytes, starts: list[int] | None, hop: Hop) -> tuple[str, bytes]:
    if starts:
        text = _value_at(header, starts[0]).decode("utf-8", "replace")
        if not text.isprintable():
            text = "".join(c for c in text if c.isprintable())
        return text[:_LONGEST_MESSAGE_ID], b""
    message_id = f"<{hop.queue_id}@{hop.hostname}>"
    return message_id, f"Message-ID: {message_id}\r\n".encode()


def _value_at(header: bytes, start: int) -> bytes:
    """The unfolded value of the field that begins at ``start``."""
    colon = header.index(b":", start)
    end = header.find(b"\r\n", colon)
    while header[end + 2 : end + 3] in (b" ", b"\t"):
        end = header.find(b"\r\n", end + 2)
    return header[colon + 1 : end].replace(b"\r\n", b"").strip()


def _received(hop: Hop) -> bytes:
    origin = hop.origin
    helo = _ODD_IN_HELO.sub("?", origin.helo)[:255] or "unknown"
    literal = f"IPv6:{origin.address}" if ":" in origin.address else origin.address
    return (
        f"Received: from {helo} ([{literal}])\r\n"
        f"\tby {hop.hostname} with {hop.protocol} id {hop.queue_id};\r\n"
        f"\t{_now()}\r\n"
    ).encode()


_second = 0
_text_of_second = ""


def _now() -> str:
    """RFC 5322 date, made once a second: making it costs as much as all else here."""
    global _second, _text_of_second
    second = int(time.time())
    if second != _second:
        _second, _text_of_second = second, formatdate(second, localtime=True)
    return _text_of_second
