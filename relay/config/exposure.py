"""Who can reach the relay, by which listener, and whose mail they may send.

Here it is kept from being an open relay, from taking passwords in clear text, and from guessing
between two tenants that claim one domain.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address

from relay.config import files
from relay.config.addresses import is_loopback
from relay.config.fields import IPNetwork
from relay.config.finding import Finding
from relay.config.problem import Loc
from relay.config.schema import Config, Listen
from relay.model.address import canonical
from relay.model.value import value_class

# Wider networks than these belong to nobody: to admit one is to admit strangers.
_WIDEST = {4: 8, 6: 16}
_LOOPBACK: dict[int, IPNetwork] = {4: IPv4Network("127.0.0.0/8"), 6: IPv6Network("::1/128")}


@value_class
class WayIn:
    """A listener and a client that it admits; ``tenants`` is None where neither binds."""

    listener: Listen
    listener_loc: Loc
    client: str
    client_loc: Loc
    network: IPNetwork | None
    tenants: frozenset[str] | None

    @property
    def local(self) -> bool:
        """Whether it is open to this machine alone."""
        by_network = self.network is not None and self.network.is_loopback
        return by_network or is_loopback(self.listener.host)

    def __str__(self) -> str:
        return f"{self.client} at {self.listener}"


def ways_in(config: Config) -> Iterator[WayIn]:
    """Every pair of a listener and a network or user that can hand it mail."""
    for index, listener in enumerate(config.listen):
        loc: Loc = ("listen", index)
        for client_loc, client, network, names in _clients_of(config, listener):
            tenants = _both(listener.tenants, names)
            yield WayIn(listener, loc, client, client_loc, network, tenants)


def bindings(config: Config) -> Iterator[tuple[Loc, tuple[str, ...]]]:
    """Everything that can carry ``tenants``, with those it carries."""
    for index, listener in enumerate(config.listen):
        yield ("listen", index), listener.tenants
    for index, network in enumerate(config.clients.networks):
        yield ("clients", "networks", index), network.tenants
    for name, user in config.clients.users.items():
        yield ("clients", "users", name), user.tenants


def world_is_kept_out(config: Config) -> Iterator[Finding]:
    for way in ways_in(config):
        network = way.network
        if network is None or is_loopback(way.listener.host) or network.is_private:
            continue
        if network.prefixlen < _WIDEST[network.version]:
            message = (
                f"would be an open relay: it takes mail from {network} without a password; "
                "set auth: required, or narrow clients.networks"
            )
            yield Finding(way.listener_loc, message, (("clients",),))


def passwords_are_protected(config: Config) -> Iterator[Finding]:
    for index, listener in enumerate(config.listen):
        loc: Loc = ("listen", index, "auth")
        if listener.auth == "none":
            continue
        if not listener.private:
            message = (
                "passwords would cross the network in clear text: set tls: starttls or "
                "implicit, with cert_file and key_file"
            )
            yield Finding(loc, message, (("listen", index, "tls"),))
        if not config.clients.users:
            yield Finding(loc, "there are no clients.users who could log in", (("clients",),))


def listeners_have_certificates(config: Config) -> Iterator[Finding]:
    for index, listener in enumerate(config.listen):
        loc: Loc = ("listen", index)
        given = {"cert_file": listener.cert_file, "key_file": listener.key_file}
        for key, path in given.items():
            if path and listener.tls == "none":
                yield Finding((*loc, key), "is of no use, since tls is none")
            if not path and listener.tls != "none":
                message = f"{key} is missing, which tls: {listener.tls} needs"
                yield Finding((*loc, "tls"), message, ((*loc, key),))
        if listener.tls != "none":
            yield from _trouble_with_tls(loc, listener)


def tenants_are_told_apart(config: Config) -> Iterator[Finding]:
    """Two tenants may claim one domain or sender only if every client can mean but one."""
    ways = list(ways_in(config))
    for claims in _claims(config).values():
        claimants = {tenant for tenant, _, _ in claims}
        unclear = next((way for way in ways if len(_meant(claimants, way)) > 1), None)
        if len(claimants) < 2 or unclear is None:
            continue
        first, *others = claims
        for _, loc, text in (other for other in others if other[0] != first[0]):
            message = (
                f'{text} is of tenant "{first[0]}" too: give each listener, network or user that '
                f"may send it one of the two as its tenants (unclear: {unclear})"
            )
            yield Finding(loc, message, (("clients",), ("listen",)))


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    world_is_kept_out,
    passwords_are_protected,
    listeners_have_certificates,
    tenants_are_told_apart,
)


def _clients_of(
    config: Config, listener: Listen
) -> Iterator[tuple[Loc, str, IPNetwork | None, tuple[str, ...]]]:
    """Where each client of the listener stands, what it is called, and what binds it."""
    if listener.auth != "required":
        for index, entry in enumerate(config.clients.networks):
            if _reaches(entry.network, listener.host):
                loc: Loc = ("clients", "networks", index)
                yield loc, f"clients from {entry.network}", entry.network, entry.tenants
    if listener.auth != "none":
        for name, user in config.clients.users.items():
            yield ("clients", "users", name), f"user {name}", None, user.tenants


def _reaches(network: IPNetwork, host: str) -> bool:
    """Whether a connection from the network can arrive at an address of ours."""
    address = ip_address(host)
    if network.version != address.version:
        return False
    return not address.is_loopback or network.overlaps(_LOOPBACK[address.version])


def _claims(config: Config) -> dict[str, list[tuple[str, Loc, str]]]:
    """By domain or sender: who claims it, where, and how it is written."""
    claims: dict[str, list[tuple[str, Loc, str]]] = {}
    for name, tenant in config.tenants.items():
        for key, texts in (("domains", tenant.domains), ("senders", tenant.senders)):
            for index, text in enumerate(texts):
                loc: Loc = ("tenants", name, key, index)
                claims.setdefault(canonical(text), []).append((name, loc, text))
    return claims


def _meant(claimants: set[str], way: WayIn) -> set[str]:
    """Which of the claimants mail by this way could be of."""
    return claimants if way.tenants is None else claimants & way.tenants


def _trouble_with_tls(loc: Loc, listener: Listen) -> Iterator[Finding]:
    """``cert_file`` and ``key_file`` are there as keys; are they as files?"""
    cert_file, key_file = listener.cert_file, listener.key_file
    if cert_file is None or key_file is None:
        return
    unreadable = False
    for key, path in (("cert_file", cert_file), ("key_file", key_file)):
        if trouble := files.trouble_reading(path):
            unreadable = True
            yield Finding((*loc, key), trouble)
    if not unreadable and (trouble := files.trouble_with_certificate(cert_file, key_file)):
        yield Finding((*loc, "cert_file"), trouble)


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> frozenset[str] | None:
    """The tenants that two bindings leave; an empty one binds to nothing."""
    if one and other:
        return frozenset(one) & frozenset(other)
    return frozenset(one or other) or None
