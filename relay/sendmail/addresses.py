"""Addresses: out of a header field or an argument, safe to stand in a command, with a domain."""

import os
import pwd
from collections.abc import Iterator

from relay.sendmail.errors import EX_DATAERR, SendError, shown

_CLOSERS = {b'"': b'"', b"(": b")", b"[": b"]"}
_SPECIALS = b'<>,;:"([ \t\r\n'


def addresses(text: bytes) -> list[bytes]:
    """The bare addresses of an address list (RFC 5322 section 3.4), each safe within <>.

    Display names, comments, group names and routes are left out. SendError for anything else.
    """
    found = []
    parts: list[bytes] = []
    closed = b""
    for token in [*_tokens(text), b","]:
        if token in (b",", b";"):
            found.append(closed + b"".join(parts).strip())
            parts, closed = [], b""
        elif token in (b"<", b":"):
            parts = []  # what went before was a display name, a group's name or a route
        elif token == b">":
            parts, closed = [], closed + b"".join(parts).strip() + b" "
        else:
            parts.append(token)
    return [_checked(address.removesuffix(b" ")) for address in found if address.strip()]


def _tokens(text: bytes) -> Iterator[bytes]:
    """Atoms (with their dots and @), quoted strings, domain literals, spaces and specials."""
    start = 0
    while start < len(text):
        first = text[start : start + 1]
        if first in _CLOSERS:
            end = _closing(text, start, first, _CLOSERS[first])
        elif first in _SPECIALS:
            end = start + 1
        else:
            end = start
            while end < len(text) and text[end] not in _SPECIALS:
                end += 1
        if first in b" \t\r\n":
            yield b" "
        elif first != b"(":
            yield text[start:end]
        start = end


def _closing(text: bytes, start: int, opener: bytes, closer: bytes) -> int:
    """Where what is opened at ``start`` has been closed; comments nest, a backslash quotes."""
    depth, position = 1, start + 1
    while position < len(text):
        octet = text[position : position + 1]
        if octet == b"\\":
            position += 1
        elif octet == closer:
            depth -= 1
        elif octet == opener:
            depth += 1
        position += 1
        if not depth:
            return position
    raise SendError(EX_DATAERR, f"not an address: {shown(text)} lacks a {closer.decode()}")


def _checked(address: bytes) -> bytes:
    """Nothing that could end the path of a command or the command itself may be in an address."""
    bare = b"".join(token for token in _tokens(address) if not token.startswith(b'"'))
    unsafe = any(octet < 32 or octet in b"<>\x7f" for octet in address)
    if unsafe or b" " in bare or address.startswith(b"@"):
        raise SendError(EX_DATAERR, f"not an address: {shown(address)}")
    try:
        address.decode()
    except UnicodeDecodeError:
        raise SendError(EX_DATAERR, f"not an address in UTF-8: {shown(address)}") from None
    return address


def user() -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return b"uid%d" % os.getuid()


def host_name() -> bytes:
    """Debian's name of the system for mail, else the host's."""
    try:
        with open("/etc/mailname", "rb") as file:
            name = file.readline(256).strip()
    except OSError:
        name = b""
    return name or os.fsencode(os.uname().nodename)


def with_domain(address: bytes) -> bytes:
    """The host's name is the domain of an address that has none; the null one stays null."""
    return address if not address or has_domain(address) else address + b"@" + host_name()


def has_domain(address: bytes) -> bool:
    return b"@" in address.rpartition(b'"')[2]
