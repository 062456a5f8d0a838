"""Asking the DNS: each question once, many at a time, and every trouble an answer of its own.

No answer within the time-out, SERVFAIL and the like are trouble: they say nothing about the domain.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

from dns.asyncresolver import Resolver
from dns.exception import DNSException, Timeout
from dns.name import EmptyLabel, LabelTooLong, NameTooLong
from dns.nameserver import Do53Nameserver
from dns.resolver import NXDOMAIN, NoNameservers, NoResolverConfiguration
from dns.resolver import Answer as ResolverAnswer

Kind = Literal["TXT", "MX", "A", "AAAA"]

_AT_ONCE = 32
_LONGEST_TRY_S = 2.0  # of one server, before the next is asked
_MOST_ALIASES = 8
# So many questions without one answer: nobody is there, and thousands would each wait in vain.
_MOST_UNANSWERED = 3 * _AT_ONCE
_UDP_OCTETS = 1232  # what passes unfragmented (the DNS flag day of 2020); more comes by TCP


@dataclass(frozen=True, slots=True)
class Answer:
    """``values`` in the form of a zone file, but TXT records joined and without their quotes.

    ``trouble`` says why the answer is not known; without it, no values mean that there are none.
    """

    values: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def is_void(self) -> bool:
        """RFC 7208 section 4.6.4: the name or the record is not there."""
        return not self.values and not self.trouble


class NoNameserver(Exception):
    """There is nobody to ask; the text says so."""


class Dns:
    """Asks the given servers (address and port), or the machine's own. Raises NoNameserver."""

    def __init__(self, nameservers: Sequence[tuple[str, int]], timeout_s: float) -> None:
        self._resolver = _resolver(nameservers, timeout_s)
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._unanswered = 0
        self._asked: dict[tuple[str, Kind], asyncio.Task[Answer]] = {}

    async def texts(self, name: str) -> Answer:
        return await self._ask(name, "TXT")

    async def exchanges(self, name: str) -> Answer:
        """ "10 mail.acme.example", by preference; a null MX is "0 ."."""
        answer = await self._ask(name, "MX")
        by_preference = sorted(answer.values, key=lambda value: int(value.split()[0]))
        return Answer(tuple(by_preference), answer.trouble)

    async def addresses(self, name: str) -> Answer:
        """Of both families; what is known of one counts though the other is in trouble."""
        if is_address(name):
            return Answer((name,))
        answers = await asyncio.gather(self._ask(name, "A"), self._ask(name, "AAAA"))
        values = tuple(value for answer in answers for value in answer.values)
        trouble = "" if values else answers[0].trouble or answers[1].trouble
        return Answer(values, trouble)

    async def _ask(self, name: str, kind: Kind) -> Answer:
        key = (name.lower().removesuffix("."), kind)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._look_up(*key))
        return await self._asked[key]

    async def _look_up(self, name: str, kind: Kind) -> Answer:
        """Aliases are followed also past what one server knows of them."""
        target: Any = f"{name}."
        try:
            for _ in range(_MOST_ALIASES):
                answer = await self._resolve(target, kind)
                if answer.rrset is not None:
                    return Answer(tuple(map(_VALUE[kind], answer.rrset)))
                if answer.canonical_name == answer.qname:
                    return Answer()
                target = answer.canonical_name
        except (NXDOMAIN, LabelTooLong, NameTooLong, EmptyLabel):
            return Answer()  # there is no such name, or can't be
        except (DNSException, OSError, ValueError) as error:
            return Answer(trouble=f"the DNS did not say: {self._in_words(error)} ({name} {kind})")
        return Answer(trouble=f"the DNS did not say: too many aliases ({name} {kind})")

    async def _resolve(self, target: Any, kind: Kind) -> ResolverAnswer:
        """In turn. Raises Timeout at once where nobody has answered for long."""
        async with self._turns:
            if self._unanswered >= _MOST_UNANSWERED:
                raise Timeout
            try:
                answer = await self._resolver.resolve(
                    target, kind, raise_on_no_answer=False, search=False
                )
            except Timeout:
                self._unanswered += 1
                raise
            except (NXDOMAIN, NoNameservers):
                self._unanswered = 0
                raise
            self._unanswered = 0
            return answer

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, Timeout):
            return f"no answer within {self._timeout_s:g} s"
        if isinstance(error, NoNameservers):
            return f"no server had an answer{_last_word(error)}"
        return str(error) or type(error).__name__


def _last_word(error: NoNameservers) -> str:
    """What the last server said: SERVFAIL, REFUSED."""
    errors = error.kwargs.get("errors") or [()]
    said = [str(part) for part in errors[-1][3:4]]
    return f", {said[0]}" if said else ""


def _resolver(nameservers: Sequence[tuple[str, int]], timeout_s: float) -> Resolver:
    try:
        resolver = Resolver(configure=not nameservers)
    except NoResolverConfiguration:
        raise NoNameserver(
            "/etc/resolv.conf names no DNS server; name one with --nameserver, or in the "
            "configuration, under doctor.nameservers"
        ) from None
    if nameservers:
        resolver.nameservers = [Do53Nameserver(host, port) for host, port in nameservers]
    resolver.use_edns(0, 0, _UDP_OCTETS)
    resolver.lifetime = timeout_s
    resolver.timeout = min(timeout_s, _LONGEST_TRY_S)
    return resolver


def _text(record: Any) -> str:
    """The strings of a TXT record are one text (RFC 7208 section 3.3)."""
    return b"".join(record.strings).decode("utf-8", "replace")


def _exchange(record: Any) -> str:
    host = record.exchange.to_text(omit_final_dot=True)
    return f"{record.preference} {host.lower() if host != '@' else '.'}"


_VALUE: dict[Kind, Callable[[Any], str]] = {
    "TXT": _text,
    "MX": _exchange,
    "A": lambda record: str(record.address),
    "AAAA": lambda record: str(record.address),
}


def is_address(name: str) -> bool:
    """Whether a host is named by its IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
