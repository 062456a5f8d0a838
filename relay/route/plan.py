"""Which way each pending recipient of a message goes, asked anew at every attempt.

A pure function of a frozen snapshot (configuration, toggles) and a message. ``relay route`` and
the dispatcher ask the same one; the steps it took are part of the answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.config.schema import Config, Default, Tenant
from relay.model.message import Message, Recipient
from relay.model.ports import Bound
from relay.model.toggle import Toggle
from relay.route.identity import Identity
from relay.route.tenancy import Tenancy

_MOST_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What routing depends on, frozen. ``generation`` goes up with every change of it."""

    config: Config
    tenancy: Tenancy
    toggles: Mapping[str, Toggle] = field(default_factory=dict)
    generation: int = 0
    # What was asked before: senders are few, and a way costs 10 us to find, three times a message.
    known_ways: dict[tuple[str, str, Bound], "Way"] = field(default_factory=dict, compare=False)

    def with_toggles(self, toggles: Mapping[str, Toggle]) -> "Snapshot":
        """The next generation; nothing found before holds for it."""
        return Snapshot(self.config, self.tenancy, toggles, self.generation + 1)

    def is_enabled(self, tenant: Tenant) -> bool:
        """The store's toggle wins over the file."""
        toggle = self.toggles.get(tenant.name)
        return toggle.enabled if toggle else tenant.enabled


@dataclass(frozen=True, slots=True)
class Route:
    """One way, for some recipients. ``upstream`` is None where there is no way any more."""

    kind: str
    upstream: str | None
    identity: Identity | None
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    tenant: str
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """A route without its recipients, and the steps that led there."""

    tenant: str
    kind: str
    upstream: str | None
    identity: Identity | None
    steps: tuple[str, ...]


def plan(snapshot: Snapshot, message: Message) -> Plan:
    """A partition of the message's pending recipients into routes."""
    way = way_of(snapshot, message.reverse_path, message.header_from, message.origin.bound)
    route = Route(way.kind, way.upstream, way.identity, message.pending)
    return Plan(way.tenant, (route,))


def way_of(snapshot: Snapshot, reverse_path: str, header_from: str, bound: Bound) -> Way:
    """The way of a sender, and why."""
    key = (reverse_path, header_from, bound)
    way = snapshot.known_ways.get(key)
    if way is None:
        if len(snapshot.known_ways) >= _MOST_KNOWN:
            snapshot.known_ways.clear()
        way = snapshot.known_ways[key] = _find_way(snapshot, *key)
    return way


def _find_way(snapshot: Snapshot, reverse_path: str, header_from: str, bound: Bound) -> Way:
    name, why = snapshot.tenancy.find(reverse_path, header_from, bound)
    tenant = snapshot.config.tenants.get(name) if name else None
    if tenant is None:
        return _by_default(snapshot, "", (f"no tenant: {why}",))
    steps: tuple[str, ...] = (f"tenant {tenant.name}: {why}",)
    if not snapshot.is_enabled(tenant):
        return _by_default(snapshot, tenant.name, (*steps, _why_disabled(snapshot, tenant)))
    if tenant.upstream is None:
        return _by_default(snapshot, tenant.name, (*steps, "it has no upstream of its own"))
    steps = (*steps, f"enabled: upstream {tenant.upstream}")
    identity = _identity(tenant, _owned_by(snapshot.tenancy, tenant.name))
    return Way(tenant.name, "tenant", tenant.upstream, identity, steps)


def upstream_of_tenant(snapshot: Snapshot, name: str) -> str | None:
    """Where a tenant's mail goes as a rule: what claiming goes by, not yet knowing the message."""
    tenant = snapshot.config.tenants.get(name)
    if tenant and tenant.upstream and snapshot.is_enabled(tenant):
        return tenant.upstream
    default = snapshot.config.default
    return default.upstream if default else None


def _by_default(snapshot: Snapshot, tenant: str, steps: tuple[str, ...]) -> Way:
    """The default and only the default; no way at all where a reload has removed it."""
    default = snapshot.config.default
    if default is None:
        return Way(tenant, "default", None, None, (*steps, "there is no default: it waits"))
    home = default.from_.address if default.from_ else ""
    identity = _identity(default, _at_domain_of(home))
    steps = (*steps, f"default: upstream {default.upstream}")
    return Way(tenant, "default", default.upstream, identity, steps)


def _why_disabled(snapshot: Snapshot, tenant: Tenant) -> str:
    toggle = snapshot.toggles.get(tenant.name)
    if toggle is None:
        return "disabled in the configuration"
    return f"disabled by {toggle.actor}: {toggle.reason}"


def _identity(source: Tenant | Default, owns: Callable[[str], bool]) -> Identity | None:
    if source.from_ is None and source.reply_to is None:
        return None
    return Identity(source.from_, source.reply_to, source.rewrite_from, owns)


def _owned_by(tenancy: Tenancy, tenant: str) -> Callable[[str], bool]:
    return lambda address: tenancy.owns(tenant, address)


def _at_domain_of(home: str) -> Callable[[str], bool]:
    domain = home.rpartition("@")[2].lower()
    return lambda address: address.rpartition("@")[2].lower() == domain
