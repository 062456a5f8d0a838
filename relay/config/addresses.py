"""Domains, mail, listen and web addresses: read from text, checked, in one written form.

Every function raises ValueError with a sentence for the person who wrote the text.
"""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from relay.model.value import value_class

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_LOCAL_PART = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"')
_MAILBOX = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^"<>]*?))\s*<([^<>]*)>\s*')
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')
# So that a header field fits into one line, every character escaped, with the longest address.
_LONGEST_NAME = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")

# Python speaks IDNA 2003, which maps these to other letters; the registries follow IDNA 2008,
# which does not. The A-label (xn--) says which domain is meant.
_DEVIATIONS = frozenset("ßς\u200c\u200d")


@value_class
class Mailbox:
    """``address`` has its domain in A-label form; ``display_name`` is "" where there is none."""

    display_name: str
    address: str

    def __str__(self) -> str:
        if not self.display_name:
            return self.address
        name = self.display_name
        if _SPECIALS.search(name):
            escaped = name.replace("\\", "\\\\").replace('"', '\\"')
            name = f'"{escaped}"'
        return f"{name} <{self.address}>"


@value_class
class ListenAddress:
    """``host`` is an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def a_label(text: str) -> str:
    """A domain name in A-label form (RFC 5890), lower case, without a final dot."""
    name = text.lower().removesuffix(".")
    if not name.isascii():
        name = _encoded(name, text)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f'"{text}" is not a domain name')
    return name


def domain_pattern(text: str) -> str:
    """A domain, or a wildcard "*.domain"."""
    if text.startswith(("@", ".")):
        raise ValueError(f'write "{text[1:]}", or "*.{text[1:]}" for what lies beneath it')
    if "@" in text:
        raise ValueError(f'"{text}" is an address: list it under senders')
    if text == "*":
        raise ValueError('"*" names no domain; mail that no tenant claims takes the default')
    prefix, domain = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if "*" in domain:
        raise ValueError(f'"{text}": a wildcard stands only in front, like "*.acme.example"')
    return prefix + a_label(domain)


def address(text: str) -> str:
    """A bare local-part@domain; the local part stays as it is written."""
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise ValueError(f'"{text}" is not a mail address: it has no @')
    if not _LOCAL_PART.fullmatch(local_part) or len(local_part.encode()) > 64:
        raise ValueError(f'"{text}" is not exactly one mail address')
    return f"{local_part}@{a_label(domain)}"


def sender(text: str) -> str:
    """An exact sender address."""
    if "@" not in text.lstrip("@"):
        raise ValueError(f'"{text}" is not an address: list a domain under domains')
    return address(text)


def mailbox(text: str) -> Mailbox:
    """ "Acme <noreply@acme.example>" or "noreply@acme.example"."""
    if _CONTROL.search(text):
        raise ValueError("a mailbox is one line, without control characters")
    match = _MAILBOX.fullmatch(text)
    if not match:
        return Mailbox("", address(text.strip()))
    quoted, plain, addr_spec = match.groups()
    name = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return Mailbox(_display_name(name), address(addr_spec.strip()))


def named_mailbox(display_name: str, addr_spec: str) -> Mailbox:
    """A mailbox from its two halves, each as it is."""
    if _CONTROL.search(display_name):
        raise ValueError("a display name is one line, without control characters")
    return Mailbox(_display_name(display_name), address(addr_spec.strip()))


def _display_name(text: str) -> str:
    name = text.strip()
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a display name has at most {_LONGEST_NAME} characters")
    return name


def host(text: str) -> str:
    """A host's name in A-label form, or an IP address without brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if _is_ip(bare):
        return str(ip_address(bare))
    # A URL may hold a password, which the message must not show.
    name, colon, port = text.rpartition("://")[2].rpartition("@")[2].partition(":")
    if not name:
        raise ValueError("is not the name or the address of a host")
    if colon or name != text:
        beside = f', and beside it "port: {port}"' if port.isdigit() else ""
        raise ValueError(f'write the name alone, like "{name}"{beside}')
    return a_label(text)


def listen_address(text: str) -> ListenAddress:
    """ "127.0.0.1:25" or "[::1]:25"; port 0 lets the system choose one."""
    name, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f'"{text}" has no port: write 127.0.0.1:25 or "[::1]:25"')
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if name == "localhost":
        raise ValueError(f'write 127.0.0.1:{port}, and beside it "[::1]:{port}" for IPv6')
    if name in ("", "*"):
        raise ValueError(f'write 0.0.0.0:{port} for all IPv4 addresses, "[::]:{port}" for IPv6')
    if not _is_ip(bare):
        raise ValueError(f'"{name}" is not an IP address')
    if ":" in bare and bare == name:
        raise ValueError(f'write "[{bare}]:{port}", with brackets and in quotes')
    return ListenAddress(str(ip_address(bare)), int(port))


def web_url(text: str) -> SplitResult:
    """An http or https URL. What is said of another does not show it: it can hold a token."""
    try:
        url = urlsplit(text)
        sound = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise ValueError("is not a URL that begins with https:// or http://")
    return url


def is_loopback(name: str) -> bool:
    """Whether a host, by IP address or as "localhost", is this machine."""
    return ip_address(name).is_loopback if _is_ip(name) else name == "localhost"


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _encoded(name: str, text: str) -> str:
    if _DEVIATIONS.intersection(name):
        raise ValueError(f'write "{text}" in its A-label form, which begins with xn--')
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f'"{text}" is not a domain name') from None
