"""Which way each pending recipient of a message goes, asked anew at every attempt.

A pure function of a frozen snapshot (configuration, toggles), what is down, and a message. ``relay
route`` and the dispatcher ask the same one; the steps it took are part of the answer.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from relay.config.schema import Config, Default, Failover, Pilot, Tenant
from relay.model.address import canonical
from relay.model.message import Kind, Message, Recipient
from relay.model.ports import Bound
from relay.model.toggle import Toggle
from relay.model.value import value_class
from relay.route.identity import Identity
from relay.route.tenancy import Tenancy

_MOST_KNOWN = 4096

# Whether an upstream has been down for a tenant for longer than so many seconds.
IsDown = Callable[[str, str, float], bool]


def nothing_down(upstream: str, tenant: str, after_s: float) -> bool:
    return False


@value_class
class Snapshot:
    """What routing depends on, frozen. ``generation`` goes up with every change of it."""

    config: Config
    tenancy: Tenancy
    toggles: Mapping[str, Toggle] = field(default_factory=dict)
    generation: int = 0
    # What was asked before: senders are few, and a way costs 10 us to find, three times a message.
    known_ways: dict[tuple[str, str, Bound, str], "Way"] = field(
        default_factory=dict, compare=False
    )

    def with_toggles(self, toggles: Mapping[str, Toggle]) -> "Snapshot":
        """The next generation; nothing found before holds for it."""
        return Snapshot(self.config, self.tenancy, toggles, self.generation + 1)

    def is_enabled(self, tenant: Tenant) -> bool:
        """The store's toggle wins over the file."""
        toggle = self.toggles.get(tenant.name)
        return toggle.enabled if toggle else tenant.enabled


@value_class
class Route:
    """One way, for some recipients. ``upstream`` is None where there is no way any more."""

    kind: str
    upstream: str | None
    identity: Identity | None
    recipients: tuple[Recipient, ...]


@value_class
class Plan:
    tenant: str
    routes: tuple[Route, ...]


@value_class
class Way:
    """A route without its recipients, and the steps that led there. ``pilot`` and ``failover`` are
    those that hold for it."""

    tenant: str
    kind: str
    upstream: str | None
    identity: Identity | None
    steps: tuple[str, ...]
    pilot: Pilot | None = None
    failover: Failover | None = None


def plan(snapshot: Snapshot, message: Message, is_down: IsDown = nothing_down) -> Plan:
    """A partition of the message's pending recipients into routes."""
    if message.kind is Kind.ALERT:
        return _plan_of_alert(snapshot, message, is_down)
    way = way_of(
        snapshot,
        message.reverse_path,
        message.header_from,
        message.origin.bound,
        message.message_class,
    )
    recipients = message.pending
    if way.pilot is None:
        return Plan(way.tenant, (_route(way, recipients, is_down),))
    piloted = [r for r in recipients if is_piloted(way.pilot, message.reverse_path, r.address)]
    others = tuple(r for r in recipients if r not in piloted)
    routes = [_route(way, others, is_down)] if others else []
    if piloted:
        routes.append(Route("pilot", way.pilot.upstream, way.identity, tuple(piloted)))
    return Plan(way.tenant, tuple(routes))


def _route(way: Way, recipients: tuple[Recipient, ...], is_down: IsDown) -> Route:
    """The way itself, or the first failover that is up while it has been down for long enough."""
    failover = way.failover
    if failover and way.upstream and is_down(way.upstream, way.tenant, failover.after):
        for upstream in failover.to:
            if not is_down(upstream, way.tenant, 0.0):
                return Route("failover", upstream, way.identity, recipients)
    return Route(way.kind, way.upstream, way.identity, recipients)


def is_piloted(pilot: Pilot, sender: str, recipient: str) -> bool:
    """Named senders and recipients, and a share of the others by a stable hash of the recipient:
    who is in the share at 10 % is in it at 20 % too."""
    address = canonical(recipient)
    if address in map(canonical, pilot.recipients):
        return True
    if sender and canonical(sender) in map(canonical, pilot.senders):
        return True
    digest = hashlib.blake2b(address.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return int.from_bytes(digest) < pilot.percent / 100 * 2**32


def _plan_of_alert(snapshot: Snapshot, message: Message, is_down: IsDown) -> Plan:
    """By alerts.upstream, else the default; never by one that is down if another is up."""
    config = snapshot.config
    default = config.default.upstream if config.default else None
    ways = [name for name in (config.alerts.upstream, default) if name]
    up = [name for name in ways if not is_down(name, "", 0.0)]
    upstream = next(iter([*up, *ways]), None)
    return Plan("", (Route("default", upstream, None, message.pending),))


def way_of(
    snapshot: Snapshot, reverse_path: str, header_from: str, bound: Bound, message_class: str = ""
) -> Way:
    """The way of a sender, and why."""
    key = (reverse_path, header_from, bound, message_class)
    way = snapshot.known_ways.get(key)
    if way is None:
        if len(snapshot.known_ways) >= _MOST_KNOWN:
            snapshot.known_ways.clear()
        way = snapshot.known_ways[key] = _find_way(snapshot, *key)
    return way


def _find_way(
    snapshot: Snapshot, reverse_path: str, header_from: str, bound: Bound, message_class: str
) -> Way:
    name, why = snapshot.tenancy.find(reverse_path, header_from, bound)
    tenant = snapshot.config.tenants.get(name) if name else None
    if tenant is None:
        return _by_default(snapshot, "", (f"no tenant: {why}",))
    steps: tuple[str, ...] = (f"tenant {tenant.name}: {why}",)
    if not snapshot.is_enabled(tenant):
        return _by_default(snapshot, tenant.name, (*steps, _why_disabled(snapshot, tenant)))
    if tenant.upstream is None:
        return _by_default(snapshot, tenant.name, (*steps, "it has no upstream of its own"))
    identity = _identity(tenant, _owned_by(snapshot.tenancy, tenant.name))
    chosen = snapshot.config.classes.get(message_class)
    if chosen and chosen.upstream:
        steps = (*steps, f"class {chosen.name}: upstream {chosen.upstream}")
        return Way(tenant.name, "class", chosen.upstream, identity, steps)
    steps = (*steps, f"enabled: upstream {tenant.upstream}", *_further_steps(tenant))
    return Way(
        tenant.name, "tenant", tenant.upstream, identity, steps, tenant.pilot, tenant.failover
    )


def _further_steps(tenant: Tenant) -> Sequence[str]:
    steps = []
    if tenant.pilot:
        steps.append(f"pilot: {tenant.pilot.percent:g} % of the recipients and those named, "
                     f"upstream {tenant.pilot.upstream}")  # fmt: skip
    if tenant.failover:
        others = ", ".join(tenant.failover.to)
        steps.append(f"failover, once it has been down for {tenant.failover.after:g} s: {others}")
    return steps


def upstreams_of_tenant(snapshot: Snapshot, name: str, is_down: IsDown) -> tuple[str, ...]:
    """Every upstream that the tenant's mail may take now, the usual one first, but for classes with
    upstreams of their own: what claiming goes by, not yet knowing the message."""
    config = snapshot.config
    tenant = config.tenants.get(name)
    if tenant is None or tenant.upstream is None or not snapshot.is_enabled(tenant):
        ways = [config.default.upstream] if config.default else []
        if not name and config.alerts.upstream:
            ways.append(config.alerts.upstream)
        return tuple(dict.fromkeys(ways))
    usual = Way(tenant.name, "tenant", tenant.upstream, None, (), failover=tenant.failover)
    ways = [_route(usual, (), is_down).upstream or tenant.upstream]
    if tenant.pilot:
        ways.append(tenant.pilot.upstream)
    return tuple(dict.fromkeys(ways))


def classes_apart(snapshot: Snapshot, name: str) -> Mapping[str, str]:
    """The classes of the tenant's mail that have upstreams of their own, and these."""
    tenant = snapshot.config.tenants.get(name)
    if tenant is None or tenant.upstream is None or not snapshot.is_enabled(tenant):
        return {}
    classes = snapshot.config.classes.items()
    return {one: chosen.upstream for one, chosen in classes if chosen.upstream}


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
