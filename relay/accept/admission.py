"""Who may send, and for whom: networks, users, and the tenants that each is bound to."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from relay.config.schema import ClientNetwork
from relay.model.ports import Bound
from relay.model.value import value_class

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@value_class
class Peer:
    """A client's address, IPv4-mapped IPv6 unmapped. Peers on a unix socket count as loopback."""

    text: str
    loopback: bool
    address: Address | None


def peer_of(peername: object) -> Peer:
    """From a transport's "peername": (host, port, ...) of TCP, anything else of a unix socket."""
    if not isinstance(peername, tuple) or not peername:
        return Peer("unix", True, None)
    return _peer_at(str(peername[0]))


@lru_cache(maxsize=10_000)
def _peer_at(host: str) -> Peer:
    # Remembered: reading an address costs 15 us, a tenth of a message on a session that is kept.
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return Peer(str(address), address.is_loopback, address)


class Admission:
    """Looks up a peer among ``clients.networks``; the answers are remembered, peers are few."""

    _MOST_REMEMBERED = 10_000

    def __init__(self, networks: Sequence[ClientNetwork]) -> None:
        self._networks = sorted(networks, key=lambda n: n.network.prefixlen, reverse=True)
        self._known: dict[str, ClientNetwork | None] = {}

    def network_of(self, peer: Peer) -> ClientNetwork | None:
        """The narrowest network that holds the peer; None if none does."""
        if peer.text not in self._known:
            if len(self._known) >= self._MOST_REMEMBERED:
                self._known.clear()
            self._known[peer.text] = self._find(peer)
        return self._known[peer.text]

    def _find(self, peer: Peer) -> ClientNetwork | None:
        address = peer.address or ipaddress.IPv4Address("127.0.0.1")
        for entry in self._networks:
            if address.version == entry.network.version and address in entry.network:
                return entry
        return None


def bound_by(*bindings: Sequence[str]) -> Bound:
    """The tenants that all bindings allow; an empty binding allows any, None is: any at all."""
    bound: Bound = None
    for binding in bindings:
        if binding:
            bound = tuple(t for t in binding if bound is None or t in bound)
    return bound
