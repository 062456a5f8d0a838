"""The header section as octets: where it ends, its fields, and edits that leave every other
octet as it was, folded lines and 8-bit included (RFC 5322 section 2.2)."""

import re
from email.utils import getaddresses

from relay.model.value import value_class

_CRLF = b"\r\n"
# Field names are printable ASCII but for the colon; old software puts blanks before the colon.
_NO_FIELD_LINE = re.compile(rb"^(?![!-9;-~]+[ \t]*:|[ \t])(?=[\x00-\xff])", re.MULTILINE)
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:(.*\n(?:[ \t].*\n)*)", re.MULTILINE)
_ADDRESS = rb"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+"
_PLAIN_MAILBOX = re.compile(rb"\s*(?:[^<>@,:;\"()\\]*<(%b)>|(%b))\s*" % (_ADDRESS, _ADDRESS))
# A name as it may stand before an angle bracket: words, quoted strings, encoded words, 8-bit.
_NAMED = re.compile(rb"((?:\"(?:[^\"\\]|\\.)*\"|[^\"<>()@,:;\\\[\]])*)<[^<>]*>\s*")
# getaddresses takes seconds for a value of a megabyte, and recurses with each parenthesis.
_LONGEST_FROM_BYTES = 1000
_MOST_COMMENTS = 10
_LONGEST_ADDRESS = 320
_MAILBOX_LINE = re.compile(rb">?From [^\n]*\n")


@value_class
class Field:
    """``name`` in lower case; the whole field is ``header[start:end]``, its value begins at
    ``value_start``, folds and the last CRLF included."""

    name: bytes
    start: int
    value_start: int
    end: int


def section_end(octets: bytes | bytearray, start: int = 0) -> int | None:
    """Where the first line at or after ``start`` begins that is neither field nor continuation.

    ``octets`` are whole lines, ``start`` is the start of one. None: all of them are header.
    """
    if start == 0 and octets[:1] in (b" ", b"\t"):
        return 0
    match = _NO_FIELD_LINE.search(octets, start)
    return match.start() if match else None


def mailbox_line_end(octets: bytes | bytearray) -> int:
    """The length of an mbox "From " line on top, which some programs leave there; else 0."""
    match = _MAILBOX_LINE.match(octets)
    return match.end() if match else 0


def fields(header: bytes) -> list[Field]:
    """All fields in their order."""
    return [
        Field(match[1].lower(), match.start(), match.start(2), match.end())
        for match in _FIELD.finditer(header)
    ]


def value(header: bytes, field: Field) -> bytes:
    """The unfolded value, without the white space around it."""
    return header[field.value_start : field.end].replace(_CRLF, b"").strip()


def without(header: bytes, dropped: list[Field]) -> bytes:
    """The header section less these fields, which are in their order."""
    pieces = []
    position = 0
    for field in dropped:
        pieces.append(header[position : field.start])
        position = field.end
    pieces.append(header[position:])
    return b"".join(pieces)


def one_mailbox(field_value: bytes) -> str:
    """The address of a From value that holds exactly one mailbox; else ""."""
    if len(field_value) > _LONGEST_FROM_BYTES or field_value.count(b"(") > _MOST_COMMENTS:
        return ""
    match = _PLAIN_MAILBOX.fullmatch(field_value)
    if match:
        address = (match[1] or match[2]).decode("ascii")
        return address if _is_sound(address) else ""
    found = getaddresses([field_value.decode("utf-8", "surrogateescape")])
    addresses = [address for _, address in found if address]
    if len(addresses) != 1 or not _is_sound(addresses[0]):
        return ""
    return addresses[0]


def display_name(field_value: bytes) -> bytes:
    """What stands before the angle bracket, octet for octet (encoded words stay encoded); b"" if
    there is none, or if it is anything but a plain name: a comment could hide an address in it."""
    if not one_mailbox(field_value):
        return b""
    match = _NAMED.fullmatch(field_value)
    return match[1].strip() if match else b""


def _is_sound(address: str) -> bool:
    """Nothing that could not stand in an SMTP command or a column of the trail."""
    if len(address) > _LONGEST_ADDRESS or "@" not in address or not address.isprintable():
        return False
    return not set(address) & set(" <>")
