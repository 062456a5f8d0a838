"""What ``relay doctor`` looks at: under which domains mail leaves, and by which upstreams.

Composed of doctor, route and deliver's probes: it asks the functions that the running relay asks,
for one sender of each domain. It knows neither the store nor the command line.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from relay.config.schema import Config, Default, Tenant, Upstream
from relay.deliver.probe import Probe, probe_all
from relay.doctor import upstreams as own
from relay.doctor.answers import Dns
from relay.doctor.checkup import check_up
from relay.doctor.finding import Finding
from relay.doctor.subject import Hop, Leaving, Subject
from relay.model.address import domain_of
from relay.model.toggle import Toggle
from relay.route.identity import Identity, reverse_path_under
from relay.route.plan import Snapshot, way_of
from relay.route.tenancy import Tenancy

_ANYBODY = "postmaster"  # the one local part that every domain has (RFC 5321 section 4.5.1)


def subjects(config: Config, toggles: Mapping[str, Toggle], names: Sequence[str]) -> list[Subject]:
    """The tenants of these names; without any all of them, and the default."""
    tenancy = Tenancy(config.tenants.values(), has_default=config.default is not None)
    snapshot = Snapshot(config, tenancy, toggles)
    found = [_of_tenant(snapshot, config.tenants[name]) for name in names or config.tenants]
    if config.default and not names:
        found.append(_of_default(config, config.default))
    return found


async def examine(
    config: Config, subjects: Sequence[Subject], others: Sequence[Subject]
) -> list[list[Finding]]:
    """For each subject what was found: of its domains, then of the upstreams it leaves by. Raises
    NoNameserver."""
    hops = [_hops(subject) for subject in subjects]
    names = list(dict.fromkeys(hop.upstream for hop in chain.from_iterable(hops)))
    servers = [(server.host, server.port) for server in config.doctor.nameservers]
    dns = Dns(servers, config.doctor.timeout)
    probed = [config.upstreams[name] for name in names]
    of_domains, probes = await asyncio.gather(
        check_up(dns, subjects, others), probe_all(probed, config.hostname, config.timeouts)
    )
    of_upstreams = {
        one.upstream: _of_upstream(config.upstreams[one.upstream], one) for one in probes
    }
    return [
        [*findings, *chain.from_iterable(of_upstreams[hop.upstream] for hop in mine)]
        for findings, mine in zip(of_domains, hops, strict=True)
    ]


# -- under which domains, and by whom


def _of_tenant(snapshot: Snapshot, tenant: Tenant) -> Subject:
    """By its own upstreams, also while it is off, since it will be on again; and by the default
    where its mail takes that just now."""
    enabled = Toggle(tenant.name, True, "", "", at=time.time())
    own_way = Snapshot(snapshot.config, snapshot.tenancy, {tenant.name: enabled})
    leaving = list(
        chain.from_iterable(
            _leaving(one, tenant, sender)
            for sender in _senders(tenant)
            for one in (own_way, snapshot)
        )
    )
    wildcards = [domain[2:] for domain in tenant.domains if domain.startswith("*.")]
    return Subject(
        tenant=tenant.name,
        leaving=tuple(dict.fromkeys(leaving)),
        selectors=tenant.dkim_selectors,
        wildcards=tuple(wildcards) if tenant.rewrite_from != "always" else (),
        bounces=_bounces(snapshot.config, leaving),
        hops=_of_no_domain(own_way, tenant) if not leaving else (),
    )


def _of_no_domain(snapshot: Snapshot, tenant: Tenant) -> tuple[Hop, ...]:
    """Of a tenant that is known by its clients alone, or by wildcards."""
    way = way_of(snapshot, "", "", (tenant.name,))
    return (_hop(snapshot.config.upstreams[way.upstream]),) if way.upstream else ()


def _of_default(config: Config, default: Default) -> Subject:
    """Without a ``from`` its mail leaves under whatever name it came with."""
    hop = _hop(config.upstreams[default.upstream])
    if default.from_ is None:
        return Subject(None, (), hops=(hop,))
    domain = domain_of(default.from_.address)
    leaving = (Leaving(hop, domain, domain),)
    return Subject(None, leaving, bounces=_bounces(config, leaving), hops=(hop,))


def _senders(tenant: Tenant) -> Iterator[str]:
    """One of each domain, and each that is named."""
    for domain in tenant.domains:
        if not domain.startswith("*."):
            yield f"{_ANYBODY}@{domain}"
    yield from tenant.senders
    if tenant.from_ and tenant.rewrite_from != "never":
        yield tenant.from_.address


def _leaving(snapshot: Snapshot, tenant: Tenant, sender: str) -> Iterator[Leaving]:
    way = way_of(snapshot, sender, sender, (tenant.name,))
    if way.upstream is None:
        return
    names = [way.upstream]
    if way.kind != "default":
        names += _others(snapshot.config, tenant)
    from_domain = domain_of(_from_under(way.identity, sender))
    reverse_domain = domain_of(reverse_path_under(way.identity, sender))
    for name in dict.fromkeys(names):
        yield Leaving(_hop(snapshot.config.upstreams[name]), from_domain, reverse_domain)


def _others(config: Config, tenant: Tenant) -> Iterator[str]:
    """The upstreams that a part of the tenant's mail takes, or would in need."""
    if tenant.pilot:
        yield tenant.pilot.upstream
    if tenant.failover:
        yield from tenant.failover.to
    yield from (one.upstream for one in config.classes.values() if one.upstream)


def _from_under(identity: Identity | None, sender: str) -> str:
    if identity and identity.from_ and identity.rewrites(sender):
        return identity.from_.address
    return sender


def _bounces(config: Config, leaving: Sequence[Leaving]) -> tuple[tuple[str, Hop], ...]:
    """Domains that stand in the place of the null reverse-path, by the hop that wants it so."""
    hops = dict.fromkeys(one.hop for one in leaving)
    senders = ((config.upstreams[hop.upstream].null_sender, hop) for hop in hops)
    return tuple((domain_of(sender), hop) for sender, hop in senders if sender != "keep")


def _hop(upstream: Upstream) -> Hop:
    return Hop(upstream.name, upstream.host, upstream.preset)


def _hops(subject: Subject) -> list[Hop]:
    return list(dict.fromkeys([*(one.hop for one in subject.leaving), *subject.hops]))


# -- the upstreams themselves


def _of_upstream(upstream: Upstream, probe: Probe) -> list[Finding]:
    return [_tls(upstream, probe), _secrets(upstream, probe)]


def _tls(upstream: Upstream, probe: Probe) -> Finding:
    failure = probe.failure
    if failure and failure.name != "auth":
        return own.unreached_finding(upstream.name, _why(probe))
    if upstream.tls == "none" or probe.certificate is None:
        return own.plaintext_finding(upstream.name)
    return own.certificate_finding(upstream.name, probe.certificate.expires_at, time.time())


def _secrets(upstream: Upstream, probe: Probe) -> Finding:
    secrets = [one for one in (upstream.username, upstream.password) if one is not None]
    troubles = [trouble for one in secrets if (trouble := one.trouble)]
    if not troubles and probe.failure and probe.failure.name == "auth":
        troubles = [_why(probe)]
    references = dict.fromkeys(str(one) for one in secrets)
    return own.secrets_finding(upstream.name, list(references), troubles)


def _why(probe: Probe) -> str:
    """Cause, what was said, and the remedy."""
    failure = probe.failure
    assert failure is not None
    told = (f"{failure.name} failed: {failure.cause}", failure.detail, failure.remedy)
    return "; ".join(" ".join(part.split()) for part in told if part)
