"""SPF records, read by the grammar of RFC 7208: terms, and what is wrong with them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

_MECHANISMS = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
_NEED_A_DOMAIN = frozenset({"include", "exists"})
_MECHANISM = re.compile(
    r"([+\-~?]?)([A-Za-z][A-Za-z0-9_.-]*)(?:(:)(.*?))?(?:/(\d{1,3}))?(?://(\d{1,3}))?"
)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_MACRO = re.compile(r"%(?:\{[slodiphcrtv]\d{0,3}r?[.+,/_=-]*\}|[%_-])", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_TOP_LABEL = re.compile(r"(?=.*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Mechanism:
    """``value`` is a domain or a network; "" where there is none. ``text`` is as it is written."""

    qualifier: str
    name: str
    value: str
    text: str
    ip4_length: int = 32
    ip6_length: int = 128

    @property
    def passes(self) -> bool:
        return self.qualifier == "+"


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """``errors`` are sentences; a record with one counts as none at all (permerror)."""

    text: str
    mechanisms: tuple[Mechanism, ...]
    modifiers: tuple[tuple[str, str], ...]
    errors: tuple[str, ...]

    @property
    def redirect(self) -> str | None:
        return dict(self.modifiers).get("redirect")

    @property
    def all(self) -> Mechanism | None:
        """The first of them ends the record."""
        return next((one for one in self.mechanisms if one.name == "all"), None)

    def before_all(self) -> Iterator[Mechanism]:
        for mechanism in self.mechanisms:
            if mechanism.name == "all":
                return
            yield mechanism


def is_spf(text: str) -> bool:
    """RFC 7208 section 4.5: the version, then the end or a space."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def has_macro(domain: str) -> bool:
    return "%" in domain


def spf_record(text: str) -> SpfRecord:
    """Reads all of it; what can't be read is in ``errors``."""
    mechanisms: list[Mechanism] = []
    modifiers: list[tuple[str, str]] = []
    errors: list[str] = []
    for term in text[len("v=spf1") :].split(" "):
        if not term:
            continue
        try:
            if modifier := _MODIFIER.fullmatch(term):
                _add_modifier(modifiers, modifier[1].lower(), modifier[2])
            else:
                mechanisms.append(_mechanism(term))
        except ValueError as error:
            errors.append(str(error))
    return SpfRecord(text, tuple(mechanisms), tuple(modifiers), tuple(errors))


def _add_modifier(modifiers: list[tuple[str, str]], name: str, value: str) -> None:
    """RFC 7208 section 6: redirect and exp once at most; unknown ones are no fault."""
    if name in ("redirect", "exp"):
        if name in dict(modifiers):
            raise ValueError(f"{name}= stands twice")
        if trouble := _domain_trouble(value):
            raise ValueError(f"{name}={value}: {trouble}")
    modifiers.append((name, value))


def _mechanism(term: str) -> Mechanism:
    match = _MECHANISM.fullmatch(term)
    name = match[2].lower() if match else ""
    if match is None or name not in _MECHANISMS:
        raise ValueError(f"{term!r} is no mechanism")
    if name in ("ip4", "ip6"):
        return _network(term, match[1], name)
    qualifier, _, colon, value, ip4_length, ip6_length = match.groups()
    lengths = (int(ip4_length or 32), int(ip6_length or 128))
    if (ip4_length or ip6_length) and name not in ("a", "mx"):
        raise ValueError(f"{term!r}: {name} takes no length of a network")
    if lengths[0] > 32 or lengths[1] > 128:
        raise ValueError(f"{term!r}: the length of the network is too large")
    if name == "all" and colon:
        raise ValueError(f"{term!r}: all stands alone")
    if (colon or name in _NEED_A_DOMAIN) and (trouble := _domain_trouble(value or "")):
        raise ValueError(f"{term!r}: {trouble}")
    domain = (value or "").lower().removesuffix(".")
    return Mechanism(qualifier or "+", name, domain, term, *lengths)


def _network(term: str, qualifier: str, name: str) -> Mechanism:
    value = term.partition(":")[2]
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{term!r}: {value!r} is no network") from None
    if network.version != int(name[2]):
        raise ValueError(f"{term!r}: write ip{network.version}:{value}")
    return Mechanism(qualifier or "+", name, str(network), term)


def _domain_trouble(value: str) -> str | None:
    """What is wrong with a domain-spec (RFC 7208 section 7.1); None if nothing is."""
    if not value:
        return "it needs a domain"
    if not value.isascii() or not value.isprintable():
        return "write the domain in its A-label form, which begins with xn--"
    if "%" in _MACRO.sub("", value):
        return "a % begins a macro, like %{i}"
    if has_macro(value):
        return None
    labels = value.removesuffix(".").split(".")
    sound = len(labels) > 1 and all(map(_LABEL.fullmatch, labels[:-1]))
    if not sound or not _TOP_LABEL.fullmatch(labels[-1]) or len(value) > 254:
        return f"{value!r} is not a whole domain name"
    return None
