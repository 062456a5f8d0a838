"""What no single value shows: references, ways without an end, numbers that contradict.

One function for each rule. All of them look at a whole configuration; none stops at its first
finding.
"""

from collections.abc import Callable, Iterator
from ipaddress import ip_address

from relay.config import exposure, files, presets, ways_out
from relay.config.addresses import is_loopback
from relay.config.finding import Finding
from relay.config.problem import Loc, did_you_mean
from relay.config.schema import Config, Default, Retry, Tenant


def findings(config: Config) -> Iterator[Finding]:
    """Everything that makes the configuration unusable."""
    for check in (*_CHECKS, *ways_out.CHECKS, *exposure.CHECKS):
        yield from check(config)


def tenants_exist(config: Config) -> Iterator[Finding]:
    for loc, names in exposure.bindings(config):
        for index, name in enumerate(names):
            yield from ways_out.exists("tenant", name, config.tenants, (*loc, "tenants", index))


def users_exist(config: Config) -> Iterator[Finding]:
    users = config.clients.users
    for class_name, message_class in config.classes.items():
        for name in message_class.match.user:
            if name not in users:
                loc: Loc = ("classes", class_name, "match", "user")
                message = f'no user named "{name}" under clients.users{did_you_mean(name, users)}'
                yield Finding(loc, message, (("clients",),))


def rewriting_has_a_sender(config: Config) -> Iterator[Finding]:
    identities: list[tuple[Loc, Tenant | Default]] = [
        (("tenants", name), tenant) for name, tenant in config.tenants.items()
    ]
    if config.default:
        identities.append((("default",), config.default))
    for loc, identity in identities:
        if identity.rewrite_from != "never" and identity.from_ is None:
            message = f"{identity.rewrite_from} needs from, the sender to rewrite to"
            yield Finding((*loc, "rewrite_from"), message, ((*loc, "from"),))


def upstreams_are_protected(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        if upstream.tls != "none" or is_loopback(upstream.host):
            continue
        what = "mail and password" if upstream.password else "mail"
        message = f"none is for loopback only: {what} would cross the network in clear text"
        yield Finding(("upstreams", name, "tls"), message, (("upstreams", name, "host"),))


def regions_belong_to_presets(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        loc: Loc = ("upstreams", name, "region")
        if upstream.preset is None:
            if upstream.region:
                message = "is of no use: only the preset of a provider asks for it"
                yield Finding(loc, message, (("upstreams", name, "provider"),))
        elif upstream.host == presets.NO_HOST:
            example = "".join(upstream.preset.regions[:1])
            message = f"is missing: the host of {upstream.provider} depends on it; like {example}"
            yield Finding(loc, message)


def credentials_are_pairs(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        loc: Loc = ("upstreams", name)
        if upstream.username and not upstream.password:
            message = "there is no password beside it"
            yield Finding((*loc, "username"), message, ((*loc, "password"),))
        if upstream.password and not upstream.username:
            preset = upstream.preset
            form = f"; for {preset.title} it is {preset.username_form}" if preset else ""
            message = f"there is no username beside it{form}"
            yield Finding((*loc, "password"), message, ((*loc, "username"),))


def ca_files_are_usable(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        loc: Loc = ("upstreams", name, "ca_file")
        if upstream.ca_file is None:
            continue
        if upstream.tls == "none":
            yield Finding(loc, "nothing is verified by it, since tls is none")
        trouble = files.trouble_reading(upstream.ca_file) or files.trouble_with_ca(upstream.ca_file)
        if trouble:
            yield Finding(loc, trouble)


def listen_addresses_differ(config: Config) -> Iterator[Finding]:
    """Two of one port can't be bound where one is the address of all."""
    for index, listen in enumerate(config.listen):
        for other in config.listen[:index]:
            if listen.port and listen.port == other.port and _overlap(listen.host, other.host):
                message = f"{listen} is taken already by the listener {other}"
                yield Finding(("listen", index), message)


def retry_grows(config: Config) -> Iterator[Finding]:
    yield from _growth(config.retry, ("retry",))
    for name, message_class in config.classes.items():
        if message_class.give_up_after is not None or message_class.retry.model_fields_set:
            own: Loc = ("classes", name)
            yield from _growth(message_class.retry_from(config.retry), (*own, "retry"), own)


def _growth(retry: Retry, loc: Loc, *others: Loc) -> Iterator[Finding]:
    """``others``: where values can stand, beside ``loc`` and retry itself."""
    where = (loc, *others, ("retry",))
    if retry.first > retry.longest:
        message = (
            f"the first wait ({retry.first:g}s) is longer than the longest ({retry.longest:g}s)"
        )
        rests_on = tuple((*one, key) for one in where for key in ("first", "longest"))
        yield Finding((*loc, "first"), message, rests_on)
    if retry.first >= retry.give_up_after:
        message = f"nothing would be tried twice: give_up_after is {retry.give_up_after:g}s"
        rests_on = tuple((*one, key) for one in where for key in ("first", "give_up_after"))
        yield Finding((*loc, "first"), message, rests_on)


def largest_message_fits(config: Config) -> Iterator[Finding]:
    if config.limits.message_size > config.queue.max_bytes:
        message = "is less than limits.message_size: the largest messages could never be queued"
        yield Finding(("queue", "max_bytes"), message, (("limits", "message_size"),))


def something_listens(config: Config) -> Iterator[Finding]:
    if not config.listen:
        yield Finding(("listen",), "is empty: no application could hand in its mail")


def _overlap(one: str, other: str) -> bool:
    a, b = ip_address(one), ip_address(other)
    return a.version == b.version and (a == b or a.is_unspecified or b.is_unspecified)


_CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    tenants_exist,
    users_exist,
    rewriting_has_a_sender,
    upstreams_are_protected,
    regions_belong_to_presets,
    credentials_are_pairs,
    ca_files_are_usable,
    something_listens,
    listen_addresses_differ,
    retry_grows,
    largest_message_fits,
)
