"""The samples: what an application's usually are, made on the spot.

One has text, HTML and a picture within it, one is plain text. Each says what it is.
"""

import struct
import time
import zlib
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from relay.config.addresses import Mailbox
from relay.model.identifiers import new_identifier
from relay.model.message import Content, Message, Origin, Recipient
from relay.route.identity import quoted_name

KINDS = ("text, HTML and a picture", "plain text")
_SIDE_PIXELS = 48
_SEA_GREEN = (46, 139, 87)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the messages tell of themselves. ``sender`` is as the tenant would write it, before any
    identity; ``reverse_path`` is "" where it is null."""

    tenant: str
    upstream: str
    hostname: str
    sender: Mailbox
    reverse_path: str
    recipient: str


def samples(facts: Facts) -> tuple[Message, ...]:
    """One of each kind, in their order."""
    rich = _begun()
    rich.set_content(_text(facts))
    rich.add_alternative(_html(facts), subtype="html")
    page = list(rich.iter_parts())[1]
    assert isinstance(page, EmailMessage)
    page.add_related(
        picture(), "image", "png", cid="<picture@relay.test>", filename="picture.png",
        disposition="inline",
    )  # fmt: skip
    plain = _begun()
    plain.set_content(_text(facts))
    return tuple(
        _message(facts, kind, made) for kind, made in zip(KINDS, (rich, plain), strict=True)
    )


def picture() -> bytes:
    """A small square in PNG (RFC 2083): 8 bits a channel, no alpha, no filter on any row."""
    row = b"\0" + bytes(_SEA_GREEN) * _SIDE_PIXELS
    size = struct.pack(">IIBBBBB", _SIDE_PIXELS, _SIDE_PIXELS, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(row * _SIDE_PIXELS)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, octets) for name, octets in chunks)


def _chunk(name: bytes, octets: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + octets))
    return struct.pack(">I", len(octets)) + name + octets + checksum


def _begun() -> EmailMessage:
    """Without the fields that ``_top`` writes."""
    message = EmailMessage(policy=SMTP)
    message["Date"] = formatdate(localtime=True)
    message["Auto-Submitted"] = "auto-generated"
    return message


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def _text(facts: Facts) -> str:
    return (
        f"This is a test message, sent by hand with relay test on {facts.hostname}.\n\n"
        f"Tenant: {facts.tenant}\nUpstream: {facts.upstream}\nTime: {_now()}\n\n"
        "That you read it means that this way works. Nobody waits for an answer.\n"
    )


def _html(facts: Facts) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Test</title></head>\n'
        f"<body>\n<p>This is a test message, sent by hand with <b>relay test</b> on "
        f"{facts.hostname}.</p>\n<ul>\n<li>Tenant: {facts.tenant}</li>\n"
        f"<li>Upstream: {facts.upstream}</li>\n<li>Time: {_now()}</li>\n</ul>\n"
        '<p><img src="cid:picture@relay.test" alt="a green square" '
        f'width="{_SIDE_PIXELS}" height="{_SIDE_PIXELS}"></p>\n'
        "<p>That you read it, and see a green square, means that this way works. "
        "Nobody waits for an answer.</p>\n</body></html>\n"
    )


def _message(facts: Facts, kind: str, made: EmailMessage) -> Message:
    """As accept would have it, before any identity; pending for its one recipient."""
    queue_id, now = new_identifier(), time.time()
    message_id = f"<{queue_id}.test@{facts.hostname}>"
    octets = _top(facts, kind, message_id) + made.as_bytes()
    header_size = octets.index(b"\r\n\r\n") + 4
    # What begins with a dot would end the message (RFC 5321 section 4.5.2).
    wire = octets[:header_size] + octets[header_size:].replace(b"\r\n.", b"\r\n..")
    return Message(
        queue_id=queue_id,
        arrived_at=now,
        expires_from=now,
        tenant=facts.tenant,
        priority=1,
        reverse_path=facts.reverse_path,
        header_from=facts.sender.address,
        message_id=message_id,
        smtputf8=not octets.isascii(),
        body_8bit=False,
        origin=Origin("", facts.hostname),
        recipients=(Recipient(0, facts.recipient),),
        content=Content(len(wire), header_size, (wire,)),
    )


def _top(facts: Facts, kind: str, message_id: str) -> bytes:
    """What must not be folded. An address beyond ASCII stands there in UTF-8 (RFC 6532)."""
    name, address = quoted_name(facts.sender.display_name), facts.sender.address.encode()
    sender = b"%b <%b>" % (name, address) if name else address
    subject = f"Test of {facts.tenant} by {facts.upstream}, {_now()} ({kind})"
    rest = f"To: {facts.recipient}\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n"
    return b"From: %b\r\n" % sender + rest.encode()
