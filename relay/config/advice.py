"""warnings(): what a configuration may do but should not, for ``relay check``.

One function for each piece of advice, like the checks; nothing here stops the relay.
"""

from collections.abc import Callable, Iterator

from relay.config import exposure, files, ways_out
from relay.config.addresses import is_loopback, web_url
from relay.config.derived import IMPLICIT_PORTS
from relay.config.finding import Finding
from relay.config.problem import Loc, Problem, did_you_mean, reading_order
from relay.config.schema import Config, Secret, SecretError

_STARTTLS_PORTS = (25, 587, 2525, 2587)


def warnings(config: Config) -> list[Problem]:
    """All that an admin should know, in the order of the file. Reads the secrets."""
    found = (finding for advise in _ADVICE for finding in advise(config))
    problems = [config.places.problem(finding.loc, finding.message) for finding in found]
    return sorted(problems, key=reading_order)


def plain_secrets(config: Config) -> Iterator[Finding]:
    for loc, secret in _secrets(config):
        if secret.plain and loc[-1] == "password":
            message = "stands in the file as plain text: use file:, credential: or env:"
            yield Finding(loc, message)
    if config.store.has_password:
        message = "holds a password as plain text: use the service's ~/.pgpass"
        yield Finding(("store",), message)


def open_secret_files(config: Config) -> Iterator[Finding]:
    for loc, secret in _secrets(config):
        if secret.file and (trouble := files.too_open(secret.file)):
            yield Finding(loc, trouble)
    for index, listener in enumerate(config.listen):
        if listener.key_file and (trouble := files.too_open(listener.key_file)):
            yield Finding(("listen", index, "key_file"), trouble)
    inside = any(s.plain and loc[-1] != "username" for loc, s in _secrets(config))
    if inside and config.source and (trouble := files.too_open(config.source)):
        yield Finding((), f"holds secrets, and {trouble}")


def missing_secrets(config: Config) -> Iterator[Finding]:
    for loc, secret in _secrets(config):
        try:
            secret.reveal()
        except SecretError as error:
            yield Finding(loc, str(error))


def tls_on_odd_ports(config: Config) -> Iterator[Finding]:
    modes: list[tuple[Loc, str, int]] = [
        (("upstreams", name, "tls"), upstream.tls, upstream.port)
        for name, upstream in config.upstreams.items()
    ]
    for index, listener in enumerate(config.listen):
        modes.append((("listen", index, "tls"), listener.tls, listener.port))
    for loc, tls, port in modes:
        if tls == "implicit" and port in _STARTTLS_PORTS:
            yield Finding(loc, f"implicit does not fit port {port}: that is for starttls")
        if tls == "starttls" and port in IMPLICIT_PORTS:
            yield Finding(loc, f"starttls does not fit port {port}: that is for implicit")


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


def shared_credentials(config: Config) -> Iterator[Finding]:
    """A provider that locks or limits one tenant's credentials would hit the other's mail too."""
    first_by: dict[str, str] = {}
    for name, tenant in config.tenants.items():
        if tenant.upstream is not None:
            first_by.setdefault(tenant.upstream, name)
    for loc, upstream_name in ways_out.named_upstreams(config):
        upstream, first = config.upstreams.get(upstream_name), first_by.get(upstream_name)
        if loc[0] in ("default", "alerts") or upstream is None or upstream.username is None:
            continue
        if loc[0] == "tenants" and first not in (None, loc[1]):
            yield Finding(loc, f'has credentials, and tenant "{first}" sends by it too')
        if loc[0] == "classes" and first is not None and len(config.tenants) > 1:
            message = f'has credentials, and tenant "{first}" sends by it: others would, too'
            yield Finding(loc, message)


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


def webhooks(config: Config) -> Iterator[Finding]:
    """A webhook's URL often holds a token, and what is posted tells of the mail."""
    loc: Loc = ("alerts", "webhook")
    if config.alerts.webhook is None:
        return
    try:
        url = web_url(config.alerts.webhook.reveal())
    except SecretError:  # which missing_secrets tells of
        return
    except ValueError as error:
        yield Finding(loc, str(error))
        return
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield Finding(loc, "alerts would cross the network in clear text: use https")


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


def strange_regions(config: Config) -> Iterator[Finding]:
    """A provider opens new ones, so that it may be the preset that is behind."""
    for name, upstream in config.upstreams.items():
        preset, region = upstream.preset, upstream.region
        if preset is None or region is None or region in preset.regions:
            continue
        if preset.regions:
            message = f'"{region}" is none that we know of{did_you_mean(region, preset.regions)}'
        else:
            message = (
                f"is of no use to this preset: where {preset.title}'s host is another, set host"
            )
        yield Finding(("upstreams", name, "region"), message)


def missing_logins(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        if upstream.preset and upstream.preset.username and not upstream.password:
            message = f"there is no password, without which {upstream.preset.title} takes no mail"
            yield Finding(("upstreams", name), message)


def passwords_of_microsoft365(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        if upstream.provider == "microsoft365" and upstream.password:
            message = (
                "Microsoft 365 turns passwords for SMTP off at the end of December 2026, and has "
                "none for new tenants after that"
            )
            yield Finding(("upstreams", name, "password"), message)


def _secrets(config: Config) -> Iterator[tuple[Loc, Secret]]:
    for name, upstream in config.upstreams.items():
        if upstream.username and upstream.username != upstream.password:
            yield ("upstreams", name, "username"), upstream.username
        if upstream.password:
            yield ("upstreams", name, "password"), upstream.password
    if config.alerts.webhook:
        yield ("alerts", "webhook"), config.alerts.webhook
    for name, user in config.clients.users.items():
        yield ("clients", "users", name, "password_hash"), user.password_hash


_ADVICE: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    plain_secrets,
    missing_secrets,
    open_secret_files,
    tls_on_odd_ports,
    unbound_clients,
    public_networks,
    shared_credentials,
    unfit_tenants,
    owners_out_of_reach,
    webhooks,
    strange_regions,
    missing_logins,
    passwords_of_microsoft365,
    loose_ends,
    short_host_name,
)
