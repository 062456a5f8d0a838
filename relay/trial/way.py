"""Which way a sample takes for a tenant, and from whom: asked of the functions that route mail, as
if the tenant were on, or, for the default, off.
"""

import time
from dataclasses import dataclass

from relay.config.addresses import Mailbox, mailbox
from relay.config.schema import Config, Tenant
from relay.config.ways_out import named_upstreams
from relay.model.toggle import Toggle
from relay.route.identity import Identity, reverse_path_under
from relay.route.plan import Snapshot, Way, way_of
from relay.route.tenancy import Tenancy

DEFAULT = "default"
NULL = "<>"


class NoWay(Exception):
    """The samples can't go; the text is for whoever asked."""


@dataclass(frozen=True, slots=True)
class SampleWay:
    """``sender`` is who writes, ``reverse_path`` where bounces would go ("" is null), both before
    the identity. ``chosen``: that it is the default was not asked for."""

    tenant: Tenant
    kind: str
    upstream: str
    identity: Identity | None
    sender: Mailbox
    reverse_path: str
    chosen: bool = True

    def leaves_as(self, null_sender: str) -> str:
        """The reverse-path on the wire."""
        path = reverse_path_under(self.identity, self.reverse_path)
        return path or ("" if null_sender == "keep" else null_sender)


def way_for(config: Config, tenant: Tenant, sender: str | None, via: str | None) -> SampleWay:
    """``via`` is DEFAULT, an upstream of the configuration, or None: as the tenant's mail goes.
    Raises NoWay, and ValueError for a sender that is no address."""
    by_default = via == DEFAULT or (via is None and tenant.upstream is None)
    if via is not None and via != DEFAULT:
        _check_upstream(config, tenant, via)
        tenant = tenant.model_copy(update={"upstream": via})
    tenancy = Tenancy(config.tenants.values(), has_default=config.default is not None)
    mail_from = _sender(tenant, sender)
    way = _way(config, tenancy, tenant, mail_from.address, enabled=not by_default)
    if way.upstream is None:
        raise NoWay("there is no default: set one in the configuration, or test another upstream")
    if sender not in (None, NULL):
        _check_sender(tenancy, tenant.name, way.identity, mail_from.address)
    return SampleWay(
        tenant=tenant,
        kind=way.kind if by_default else _kind(config, config.tenants[tenant.name], way.upstream),
        upstream=way.upstream,
        identity=way.identity,
        sender=mail_from,
        reverse_path="" if sender == NULL else mail_from.address,
        chosen=via is not None or not by_default,
    )


def _way(config: Config, tenancy: Tenancy, tenant: Tenant, address: str, *, enabled: bool) -> Way:
    toggle = Toggle(tenant.name, enabled, "", "", at=time.time())
    tenants = {**config.tenants, tenant.name: tenant}
    tried = config.model_copy(update={"tenants": tenants})
    snapshot = Snapshot(tried, tenancy, {tenant.name: toggle})
    return way_of(snapshot, address, address, (tenant.name,))


def _check_upstream(config: Config, tenant: Tenant, via: str) -> None:
    """Another tenant's credentials are not to be used for this one's mail, not even once."""
    users = [loc for loc, name in named_upstreams(config) if name == via]
    others = [str(loc[1]) for loc in users if loc[0] == "tenants"]
    if others and tenant.name not in others and len(others) == len(users):
        raise NoWay(
            f"{via} is {others[0]}'s: no mail of {tenant.name} goes by it, unless its upstream, "
            "failover or pilot names it"
        )


def _kind(config: Config, tenant: Tenant, upstream: str) -> str:
    """What the trail calls the way."""
    if upstream == tenant.upstream:
        return "tenant"
    if tenant.pilot and upstream == tenant.pilot.upstream:
        return "pilot"
    if tenant.failover and upstream in tenant.failover.to:
        return "failover"
    in_class = any(one.upstream == upstream for one in config.classes.values())
    return "class" if in_class else "tenant"


def _sender(tenant: Tenant, sender: str | None) -> Mailbox:
    if sender not in (None, NULL):
        return mailbox(sender or "")
    if tenant.from_:
        return tenant.from_
    domains = [domain for domain in tenant.domains if not domain.startswith("*.")]
    if domains:
        return Mailbox("", f"postmaster@{domains[0]}")
    if tenant.senders:
        return Mailbox("", tenant.senders[0])
    raise NoWay(f"{tenant.name} has no from and no domain to send from: say --from ADDRESS")


def _check_sender(tenancy: Tenancy, tenant: str, identity: Identity | None, address: str) -> None:
    if tenancy.owns(tenant, address) or (identity and identity.rewrites(address)):
        return
    raise NoWay(f"{address} is not {tenant}'s: its domains and senders do not hold it")
