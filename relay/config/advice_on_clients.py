"""Advice on who may send: clients that nothing binds, networks that are everybody's."""

from collections.abc import Callable, Iterator

from relay.config import exposure
from relay.config.addresses import is_loopback
from relay.config.finding import Finding
from relay.config.problem import Loc
from relay.config.schema import Config


def unbound_clients(config: Config) -> Iterator[Finding]:
    """Whoever comes from beyond this machine should be known to send for somebody."""
    seen: set[Loc] = set()
    for way in exposure.ways_in(config):
        if way.tenants is not None or not config.tenants or way.local or way.client_loc in seen:
            continue
        seen.add(way.client_loc)
        yield Finding(way.client_loc, f"{way.client} may send as any tenant: give them tenants")


def public_networks(config: Config) -> Iterator[Finding]:
    seen: set[Loc] = set()
    for way in exposure.ways_in(config):
        if way.network is None or not way.network.is_global:
            continue
        if way.local or way.client_loc in seen:
            continue
        seen.add(way.client_loc)
        message = (
            f"{way.network} is a public network, and sends without a password at {way.listener}"
        )
        yield Finding(way.client_loc, message)


def listeners_for_nobody(config: Config) -> Iterator[Finding]:
    """What answers the network is there for somebody: for containers, most of all."""
    open_to_others = {way.listener_loc for way in exposure.ways_in(config) if not way.local}
    for index, listener in enumerate(config.listen):
        loc: Loc = ("listen", index)
        if is_loopback(listener.host) or loc in open_to_others:
            continue
        message = (
            f"{listener} answers the network, and admits nobody from there: name those who may "
            "send in clients.networks (RELAY_CLIENTS__NETWORKS)"
        )
        yield Finding(loc, message, (("clients",),))


ADVICE: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    unbound_clients,
    public_networks,
    listeners_for_nobody,
)
