"""Advice on upstreams: what does not fit the port, or is not as the provider has it."""

import re
from collections.abc import Callable, Iterator

from relay.config import ways_out
from relay.config.addresses import is_loopback
from relay.config.derived import IMPLICIT_PORTS
from relay.config.finding import Finding
from relay.config.problem import Loc, did_you_mean
from relay.config.schema import Config, Secret, SecretError
from relay.model.provider import Provider

_STARTTLS_PORTS = (25, 587, 2525, 2587)
_LOGIN_IS_ADDRESS = frozenset(
    ("fastmail", "gmail", "google-relay", "icloud", "mailgun", "microsoft365", "yahoo", "zoho")
)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_APP_PASSWORD = re.compile(r"[a-z]{16}", re.IGNORECASE)
# The passwords of SMTP credentials have 44 characters.
_AWS_SECRET_KEY = re.compile(r"[A-Za-z0-9+/]{40}")


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


def foreign_hosts(config: Config) -> Iterator[Finding]:
    """A preset's limits and reply table are those of its provider alone."""
    for name, upstream in config.upstreams.items():
        preset = upstream.preset
        if preset and not is_loopback(upstream.host) and not _is_host_of(preset, upstream.host):
            message = f"is none of {_short(preset)} that we know of: that has {_hosts(preset)}"
            yield Finding(("upstreams", name, "host"), message)


def foreign_ports(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        preset = upstream.preset
        if preset is None or not _is_host_of(preset, upstream.host):
            continue
        ports = [endpoint.port for endpoint in preset.endpoints]
        if upstream.port not in ports:
            message = f"{_short(preset)} has none but {', '.join(map(str, ports))}"
            yield Finding(("upstreams", name, "port"), message)


def missing_logins(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        if upstream.preset and upstream.preset.username and not upstream.password:
            message = f"there is no password, without which {upstream.preset.title} takes no mail"
            yield Finding(("upstreams", name), message)


def unfit_usernames(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        username = _revealed(upstream.username)
        if upstream.preset and username and (trouble := _no_login_of(upstream.preset, username)):
            yield Finding(("upstreams", name, "username"), trouble)


def unfit_passwords(config: Config) -> Iterator[Finding]:
    """Told by their form, which is all that can be seen of them here."""
    for name, upstream in config.upstreams.items():
        password, loc = _revealed(upstream.password), ("upstreams", name, "password")
        if not password:
            continue
        if upstream.provider == "gmail" and not _APP_PASSWORD.fullmatch(password.replace(" ", "")):
            message = "is not an app password, which has 16 letters: Google takes no other"
            yield Finding(loc, message)
        if upstream.provider == "ses" and _AWS_SECRET_KEY.fullmatch(password):
            message = (
                "looks like an AWS secret access key, which SES does not take by SMTP: make SMTP "
                "credentials in its console"
            )
            yield Finding(loc, message)


def half_server_tokens(config: Config) -> Iterator[Finding]:
    """Of Postmark, whose server token is user name and password, and whose SMTP tokens are not."""
    for name, upstream in config.upstreams.items():
        username, password = _revealed(upstream.username), _revealed(upstream.password)
        if upstream.provider != "postmark" or not username or not password:
            continue
        if username != password and (_UUID.fullmatch(username) or _UUID.fullmatch(password)):
            message = "a server token of Postmark is the password too: remove username"
            yield Finding(("upstreams", name, "username"), message)


def passwords_of_microsoft365(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        if upstream.provider == "microsoft365" and upstream.password:
            message = (
                "Microsoft 365 turns passwords for SMTP off at the end of December 2026, and has "
                "none for new tenants after that"
            )
            yield Finding(("upstreams", name, "password"), message)


def _is_host_of(preset: Provider, host: str) -> bool:
    """By the name before its top level: smtp.eu.mailgun.org and smtp.zoho.eu are theirs, too."""
    own = {endpoint.host.split(".")[-2] for endpoint in preset.endpoints}
    return not own.isdisjoint(host.split("."))


def _hosts(preset: Provider) -> str:
    hosts = dict.fromkeys(endpoint.host for endpoint in preset.endpoints)
    return " and ".join(hosts).replace("{region}", "REGION")


def _short(preset: Provider) -> str:
    """Its title without what comes behind a comma, for use within a sentence."""
    return preset.title.partition(",")[0]


def _no_login_of(preset: Provider, username: str) -> str | None:
    if preset.username is not None and username != preset.username:
        return f"is not the one that {_short(preset)} has for all: {preset.username}"
    if preset.name in _LOGIN_IS_ADDRESS and not _ADDRESS.fullmatch(username):
        return f"is no address: for {_short(preset)} it is {preset.username_form}"
    return None


def _revealed(secret: Secret | None) -> str | None:
    """None where it can't be had, of which the advice on secrets tells."""
    try:
        return secret.reveal() if secret else None
    except SecretError:
        return None


ADVICE: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    tls_on_odd_ports,
    shared_credentials,
    strange_regions,
    foreign_hosts,
    foreign_ports,
    missing_logins,
    unfit_usernames,
    half_server_tokens,
    unfit_passwords,
    passwords_of_microsoft365,
)
