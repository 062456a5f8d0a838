"""By which upstreams mail leaves: each name has one behind it, and each way leads elsewhere."""

from collections.abc import Callable, Collection, Iterator

from relay.config.finding import Finding
from relay.config.problem import Loc, did_you_mean
from relay.config.schema import Config


def named_upstreams(config: Config) -> Iterator[tuple[Loc, str]]:
    """Every place where an upstream is named."""
    for name, tenant in config.tenants.items():
        loc: Loc = ("tenants", name)
        if tenant.upstream is not None:
            yield (*loc, "upstream"), tenant.upstream
        if tenant.failover:
            for index, upstream in enumerate(tenant.failover.to):
                yield (*loc, "failover", "to", index), upstream
        if tenant.pilot:
            yield (*loc, "pilot", "upstream"), tenant.pilot.upstream
    for name, message_class in config.classes.items():
        if message_class.upstream is not None:
            yield ("classes", name, "upstream"), message_class.upstream
    if config.default:
        yield ("default", "upstream"), config.default.upstream
    if config.alerts.upstream is not None:
        yield ("alerts", "upstream"), config.alerts.upstream


def upstreams_exist(config: Config) -> Iterator[Finding]:
    for loc, name in named_upstreams(config):
        yield from exists("upstream", name, config.upstreams, loc)


def tenants_have_a_way(config: Config) -> Iterator[Finding]:
    if config.default:
        return
    rests_on: tuple[Loc, ...] = (("default",),)
    for name, tenant in config.tenants.items():
        if not tenant.enabled:
            message = "is off, and there is no default to send its mail by"
            yield Finding(("tenants", name, "enabled"), message, rests_on)
        if tenant.upstream is None:
            message = "names no upstream, and there is no default"
            loc: Loc = ("tenants", name, "upstream")
            yield Finding(("tenants", name), message, (*rests_on, loc))


def other_ways_need_a_first(config: Config) -> Iterator[Finding]:
    """A tenant without an upstream takes the default, and only the default."""
    for name, tenant in config.tenants.items():
        if tenant.upstream is not None:
            continue
        for key, value in (("failover", tenant.failover), ("pilot", tenant.pilot)):
            if value:
                message = "is of no use: the tenant has no upstream, and lives on the default"
                rests_on: Loc = ("tenants", name, "upstream")
                yield Finding(("tenants", name, key), message, (rests_on,))


def failover_leads_elsewhere(config: Config) -> Iterator[Finding]:
    for name, tenant in config.tenants.items():
        ways = tenant.failover.to if tenant.failover else ()
        for index, way in enumerate(ways):
            loc: Loc = ("tenants", name, "failover", "to", index)
            if way == tenant.upstream:
                message = f'"{way}" is the tenant\'s upstream itself'
                yield Finding(loc, message, (("tenants", name, "upstream"),))
            elif way in ways[:index]:
                yield Finding(loc, f'"{way}" stands here twice')


def pilots_lead_elsewhere(config: Config) -> Iterator[Finding]:
    for name, tenant in config.tenants.items():
        pilot, loc = tenant.pilot, ("tenants", name, "pilot")
        if pilot is None:
            continue
        if pilot.upstream == tenant.upstream:
            message = f'"{pilot.upstream}" is the tenant\'s upstream itself'
            yield Finding((*loc, "upstream"), message, (("tenants", name, "upstream"),))
        if "percent" not in pilot.model_fields_set and not (pilot.recipients or pilot.senders):
            yield Finding(loc, "is for nobody: give it percent, recipients or senders")


def alerts_have_a_way(config: Config) -> Iterator[Finding]:
    alerts = config.alerts
    if alerts.email and not (alerts.upstream or alerts.webhook or config.default):
        message = "has no way: set alerts.upstream, or a default"
        rests_on: tuple[Loc, ...] = (("default",), ("alerts", "upstream"), ("alerts", "webhook"))
        yield Finding(("alerts", "email"), message, rests_on)


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    upstreams_exist,
    tenants_have_a_way,
    other_ways_need_a_first,
    failover_leads_elsewhere,
    pilots_lead_elsewhere,
    alerts_have_a_way,
)


def exists(noun: str, name: str, known: Collection[str], loc: Loc) -> Iterator[Finding]:
    if name not in known:
        message = f'no {noun} named "{name}"{did_you_mean(name, known)}'
        yield Finding(loc, message, ((f"{noun}s", name),))
