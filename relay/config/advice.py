"""warnings(): what a configuration may do but should not, for ``relay check``.

One function for each piece of advice, like the checks; nothing here stops the relay.
"""

from collections.abc import Callable, Iterator

from relay.config import (
    advice_on_certificates,
    advice_on_clients,
    advice_on_secrets,
    advice_on_upstreams,
    exposure,
    ways_out,
)
from relay.config.finding import Finding
from relay.config.problem import Problem, reading_order
from relay.config.schema import Config


def warnings(config: Config) -> list[Problem]:
    """All that an admin should know, in the order of the file. Reads the secrets."""
    found = (finding for advise in _ADVICE for finding in advise(config))
    problems = [config.places.problem(finding.loc, finding.message) for finding in found]
    return sorted(problems, key=reading_order)


def unfit_tenants(config: Config) -> Iterator[Finding]:
    bound = {name for _, names in exposure.bindings(config) if len(names) == 1 for name in names}
    for name, tenant in config.tenants.items():
        if tenant.owner is None and config.alerts.email is None:
            yield Finding(("tenants", name), "has no owner: nobody hears of its failures")
        if not (tenant.domains or tenant.senders or name in bound):
            message = "has no domains and no senders, so no mail is ever its own"
            yield Finding(("tenants", name), message)


def owners_out_of_reach(config: Config) -> Iterator[Finding]:
    if config.default or config.alerts.upstream:
        return
    name = next((name for name, tenant in config.tenants.items() if tenant.owner), None)
    if name is not None:
        message = "no alert could be mailed to an owner: set alerts.upstream, or a default"
        yield Finding(("tenants", name, "owner"), message)


def loose_ends(config: Config) -> Iterator[Finding]:
    """What is written down and never used."""
    used = {upstream for _, upstream in ways_out.named_upstreams(config)}
    for name in config.upstreams:
        if name not in used:
            yield Finding(("upstreams", name), "no tenant, class or default names it")
    if config.clients.users and all(listener.auth == "none" for listener in config.listen):
        yield Finding(("clients", "users"), "no listener lets them log in: set its auth")
    if not config.tenants and not config.default:
        yield Finding((), "there are no tenants and no default: all mail is refused")


def short_host_name(config: Config) -> Iterator[Finding]:
    if "." not in config.hostname:
        message = f"{config.hostname} has no domain: some providers refuse it at EHLO"
        yield Finding(("hostname",), message)


_ADVICE: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    *advice_on_secrets.ADVICE,
    *advice_on_clients.ADVICE,
    *advice_on_upstreams.ADVICE,
    *advice_on_certificates.ADVICE,
    unfit_tenants,
    owners_out_of_reach,
    loose_ends,
    short_host_name,
)
