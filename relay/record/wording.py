"""The form of the relay's own mail: words without control characters, header fields that hold no
more than they were meant to, wire form.

What comes from outside (addresses, replies, subjects) passes ``clean`` before it is told to anyone.
"""

import re
from email import policy, quoprimime
from email.header import Header
from email.message import Message as MimePart
from email.utils import formataddr, formatdate

from relay.config.addresses import Mailbox
from relay.model.value import value_class

_LONGEST_TEXT = 500
_LONGEST_NAME = 60
_LONGEST_SUBJECT = 200
# A line has at most 998 octets (RFC 5322 section 2.1.1); the field's name comes before it.
LONGEST_VALUE_BYTES = 900
# Exactly one msg-id, of those characters that no reader can take for something else.
_MSG_ID = re.compile(r"<[!-;=?A-~]{1,200}@[!-;=?A-~]{1,200}>")
_LINE_START_DOT = re.compile(rb"^\.", re.MULTILINE)
_UNSTUFFED = re.compile(rb"^\.\.", re.MULTILINE)

_WIRE = policy.compat32.clone(linesep="\r\n", mangle_from_=False, max_line_length=0)


@value_class
class Heading:
    """``date`` in Unix seconds. ``auto_submitted`` as RFC 3834 has it; ``refers_to`` is the
    Message-ID of what is answered, and used only where it is a sound one."""

    from_: Mailbox
    to: Mailbox
    subject: str
    message_id: str
    date: float
    auto_submitted: str
    refers_to: str = ""


def clean(text: str, most: int = _LONGEST_TEXT) -> str:
    """One line of at most ``most`` characters, without control characters, half surrogate pairs
    and what turns the direction of writing."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = text.strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def ascii_only(text: str, most: int = _LONGEST_TEXT) -> str:
    """As ``clean``, for fields that have no other characters."""
    return clean(text, most).encode("ascii", "replace").decode("ascii")


def part(content_type: str) -> MimePart:
    """One without content; email's own classes know no pieces but of multipart."""
    made = MimePart()
    made["Content-Type"] = content_type
    return made


def encoded_part(content_type: str, octets: bytes) -> MimePart:
    """In quoted-printable: whatever the octets, 7 bits and short lines."""
    made = part(content_type)
    made["Content-Transfer-Encoding"] = "quoted-printable"
    made.set_payload(quoprimime.body_encode(octets.decode("latin-1"), eol="\n"))
    return made


def text_part(text: str) -> MimePart:
    """Plain text for a person."""
    return encoded_part("text/plain; charset=utf-8", text.encode("utf-8", "replace"))


def letter(heading: Heading, body: MimePart) -> tuple[bytes, int]:
    """The content in wire form, and the size of its header section with the blank line."""
    del body["MIME-Version"]  # it stands in the heading
    content = _header(heading) + body.as_bytes(policy=_WIRE)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    content = _LINE_START_DOT.sub(b"..", content)
    return content, content.index(b"\r\n\r\n") + 4


def unstuffed(lines: bytes) -> bytes:
    """Whole lines in wire form as they were meant."""
    return _UNSTUFFED.sub(b".", lines)


def _header(heading: Heading) -> bytes:
    subject = clean(heading.subject, _LONGEST_SUBJECT)
    coding = None if subject.isascii() else "utf-8"
    fields = [
        ("From", _mailbox(heading.from_)),
        ("To", _mailbox(heading.to)),
        ("Subject", Header(subject, coding, header_name="Subject").encode(linesep="\r\n")),
        ("Date", formatdate(heading.date, localtime=True)),
        ("Message-ID", heading.message_id),
        ("Auto-Submitted", heading.auto_submitted),
        ("MIME-Version", "1.0"),
    ]
    if _MSG_ID.fullmatch(heading.refers_to):
        fields += [("In-Reply-To", heading.refers_to), ("References", heading.refers_to)]
    return b"".join(_field(name, value) for name, value in fields)


def _field(name: str, value: str) -> bytes:
    """b"" where a value does not fit into a line: an address of 320 Chinese characters may not."""
    octets = value.encode("utf-8")
    if name != "Subject" and len(octets) > LONGEST_VALUE_BYTES:
        return b""
    return b"%b: %b\r\n" % (name.encode(), octets)


def _mailbox(mailbox: Mailbox) -> str:
    """An address that is not ASCII stands without its name, which formataddr would not encode."""
    address = clean(mailbox.address, LONGEST_VALUE_BYTES)
    if not address.startswith('"'):
        address = re.sub(r"[<>,;\s]", "", address)
    name = clean(mailbox.display_name, _LONGEST_NAME)
    return formataddr((name, address)) if name and address.isascii() else f"<{address}>"
