"""Through an SPF record and all that it includes: whom it lets send, and what that costs.

Counted as the receiver of a message that nothing matches would have to (RFC 7208 section 4.6.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from relay.doctor.answers import Answer, Dns
from relay.doctor.spf_record import Mechanism, SpfRecord, has_macro, is_spf, spf_record

Network = IPv4Network | IPv6Network

MOST_LOOKUPS = 10
MOST_VOIDS = 2
# The term by which a record goes on at another domain, among the others.
REDIRECT = "redirect"
_MOST_EXCHANGES = 10
# A record that goes on beyond that is wrong enough, and there are others to be asked about.
_GIVEN_UP_AT = 50
# Each may have cost a whole time-out.
_MOST_TROUBLES = 5


@dataclass(slots=True)
class Walk:
    """What was met on the way. ``included`` are the domains, and ``networks`` the addresses, whose
    mail passes. ``errors`` void the record, ``unknown`` says what could not be asked. By term of
    the record itself: ``costs`` are its look-ups, ``broken`` those that lead to an error, ``empty``
    those that find nothing."""

    lookups: int = 0
    voids: list[str] = field(default_factory=list)
    included: set[str] = field(default_factory=set)
    networks: list[Network] = field(default_factory=list)
    costs: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)
    uses_ptr: bool = False
    all: Mechanism | None = None

    def lets_pass(self, networks: Sequence[Network]) -> bool:
        """Whether all of them are among those whose mail passes."""
        return bool(networks) and all(
            any(_holds(mine, network) for mine in self.networks) for network in networks
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a walk is: the domain, those on the way to it, the record's own term that led there."""

    domain: str
    above: tuple[str, ...] = ()
    term: str = ""
    passing: bool = True

    def within(self, mechanism: Mechanism) -> "_Place":
        return replace(
            self, term=self.term or mechanism.text, passing=self.passing and mechanism.passes
        )

    def at(self, domain: str) -> "_Place":
        return replace(self, domain=domain, above=(*self.above, self.domain))


async def walk(dns: Dns, domain: str, record: SpfRecord) -> Walk:
    """From the record that ``domain`` has."""
    walker = _Walker(dns)
    walker.walk.all = await walker.through(record, _Place(domain))
    return walker.walk


class _Walker:
    def __init__(self, dns: Dns) -> None:
        self._dns = dns
        self.walk = Walk()

    async def through(self, record: SpfRecord, place: _Place) -> Mechanism | None:
        """The "all" that ends it, its own or that of the record it redirects to."""
        for mechanism in record.before_all():
            if self._is_hopeless():
                self._note_unknown(f"not followed beyond {self.walk.lookups} look-ups")
                return None
            await self._meet(mechanism, place.within(mechanism))
        if record.all is not None:
            if record.all.passes and place.passing and place.above:
                self.walk.networks += [ip_network("0.0.0.0/0"), ip_network("::/0")]
            return record.all
        if record.redirect is None:
            return None
        return await self._redirect(record.redirect, replace(place, term=place.term or REDIRECT))

    def _is_hopeless(self) -> bool:
        return self.walk.lookups >= _GIVEN_UP_AT or len(self.walk.unknown) >= _MOST_TROUBLES

    async def _meet(self, mechanism: Mechanism, place: _Place) -> None:
        if mechanism.name in ("ip4", "ip6"):
            self._let_pass(place, [mechanism.value])
            return
        self._count(place)
        if mechanism.name == "include":
            await self._enter(mechanism.value, place)
        elif mechanism.name == "ptr":
            self.walk.uses_ptr = True
        elif has_macro(mechanism.value):
            self._note_unknown(f"{mechanism.text} depends on the message")
        elif mechanism.name == "mx":
            await self._exchanges(mechanism, place)
        else:
            await self._addresses(mechanism, place)

    async def _redirect(self, target: str, place: _Place) -> Mechanism | None:
        self._count(place)
        return await self._enter(target, place)

    async def _enter(self, target: str, place: _Place) -> Mechanism | None:
        """The record of a domain that is included or redirected to."""
        domain = target.lower().removesuffix(".")
        if has_macro(domain):
            self._note_unknown(f"{domain} depends on the message")
            return None
        if domain == place.domain or domain in place.above:
            self._fail(f"{domain} includes itself: a loop", place)
            return None
        if place.passing:
            self.walk.included.add(domain)
        record = self._one_record(domain, await self._dns.texts(domain), place)
        return await self.through(record, place.at(domain)) if record else None

    def _one_record(self, domain: str, answer: Answer, place: _Place) -> SpfRecord | None:
        """None where there is not exactly one that can be read; the walk has been told why."""
        if answer.trouble:
            self._note_unknown(answer.trouble)
            return None
        self._count_void(answer, domain, place)
        records = [text for text in answer.values if is_spf(text)]
        if len(records) != 1:
            number = "no SPF record" if not records else f"{len(records)} SPF records"
            self._fail(f"{domain} has {number}", place)
            return None
        record = spf_record(records[0])
        for error in record.errors:
            self._fail(f"{domain}: {error}", place)
        return record

    async def _addresses(self, mechanism: Mechanism, place: _Place) -> None:
        """Of an a, or of an exists, which lets nobody pass whom we could name."""
        domain = mechanism.value or place.domain
        answer = await self._dns.addresses(domain)
        if self._settled(answer, domain, place) and mechanism.name == "a":
            self._let_pass(place, _networks(answer, mechanism))

    async def _exchanges(self, mechanism: Mechanism, place: _Place) -> None:
        domain = mechanism.value or place.domain
        answer = await self._dns.exchanges(domain)
        if not self._settled(answer, domain, place):
            return
        hosts = [value.split()[1] for value in answer.values if value.split()[1] != "."]
        if len(hosts) > _MOST_EXCHANGES:
            self._fail(f"{domain} has {len(hosts)} MX records, more than {_MOST_EXCHANGES}", place)
        for host in hosts[:_MOST_EXCHANGES]:
            addresses = await self._dns.addresses(host)
            if addresses.trouble:
                self._note_unknown(addresses.trouble)
            self._let_pass(place, _networks(addresses, mechanism))

    def _settled(self, answer: Answer, domain: str, place: _Place) -> bool:
        """Whether the DNS had something; else it is on record that it had not."""
        if answer.trouble:
            self._note_unknown(answer.trouble)
        self._count_void(answer, domain, place)
        return bool(answer.values)

    def _count(self, place: _Place) -> None:
        self.walk.lookups += 1
        self.walk.costs[place.term] = self.walk.costs.get(place.term, 0) + 1

    def _count_void(self, answer: Answer, domain: str, place: _Place) -> None:
        if not answer.is_void:
            return
        self.walk.voids.append(domain)
        if not place.above:
            self.walk.empty.add(place.term)

    def _let_pass(self, place: _Place, networks: Sequence[str]) -> None:
        if place.passing:
            self.walk.networks += [ip_network(network, strict=False) for network in networks]

    def _note_unknown(self, text: str) -> None:
        if text not in self.walk.unknown:
            self.walk.unknown.append(text)

    def _fail(self, text: str, place: _Place) -> None:
        self.walk.errors.append(text)
        self.walk.broken.add(place.term)


def _networks(answer: Answer, mechanism: Mechanism) -> list[str]:
    return [
        f"{address}/{mechanism.ip6_length if ':' in address else mechanism.ip4_length}"
        for address in answer.values
    ]


def _holds(mine: Network, network: Network) -> bool:
    if isinstance(mine, IPv4Network) and isinstance(network, IPv4Network):
        return network.subnet_of(mine)
    if isinstance(mine, IPv6Network) and isinstance(network, IPv6Network):
        return network.subnet_of(mine)
    return False
