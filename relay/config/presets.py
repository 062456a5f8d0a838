"""What a provider's preset supplies where the file is silent: endpoint, user name, limits.

It fills in before a mapping is checked, so it leaves what it does not understand to the schema.
The presets' reader is imported where an upstream names one: it takes a megabyte.
"""

import re
from functools import cache
from typing import Any

from relay.config.problem import did_you_mean
from relay.config.secrets import Secret, secret
from relay.model.provider import Endpoint, Provider, ProviderLimits

# Stands for a host that can't be told until another key is mended, so that this other key alone
# is complained of. It exists nowhere (RFC 2606).
NO_HOST = "host.invalid"

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
# Where the user name is the password once more: a server token, at Postmark.
_PASSWORD_IS_USERNAME = frozenset({"postmark"})


def provider_name(text: str) -> str:
    """The name of a preset that there is."""
    from relay.config.providers import provider_names

    known = provider_names()
    if text not in known:
        raise ValueError(f'no provider named "{text}"{did_you_mean(text.lower(), known)}')
    return text


def region(text: str) -> str:
    """A region's name as it can stand in a host's name."""
    if not _REGION.fullmatch(text.lower()):
        raise ValueError(f'"{text}" is no region: write it like eu-west-1')
    return text.lower()


def fill(value: Any) -> Any:
    """An upstream's keys with what its preset adds to them."""
    if not isinstance(value, dict) or value.get("provider") is None:
        return value
    from relay.config.providers import provider, provider_names

    if value["provider"] not in provider_names():
        return {"host": NO_HOST, **value}
    preset = provider(value["provider"])
    filled = {**_endpoint(preset, value), **_username(preset, value), **value}
    limits = value.get("limits", {})
    if isinstance(limits, dict):
        own_word = {"(per_day_counts)": None} if "counts" in limits else {}
        filled["limits"] = {**_limits(preset.limits), **own_word, **limits}
    return filled


def username_of(name: str) -> str | None:
    """The user name that a provider has for all, which is no secret."""
    from relay.config.providers import provider

    return provider(name).username


def knows_username(preset: Provider) -> bool:
    """Whether an upstream of this preset needs none of its own."""
    return preset.username is not None or preset.name in _PASSWORD_IS_USERNAME


def _endpoint(preset: Provider, value: dict[str, Any]) -> dict[str, object]:
    """The first endpoint that the file's own port and TLS mode fit; none: the host alone."""
    for endpoint in preset.endpoints:
        fits_port = value.get("port", endpoint.port) == endpoint.port
        if fits_port and value.get("tls", endpoint.tls) == endpoint.tls:
            host = _host(endpoint, value.get("region"))
            return {"host": host, "port": endpoint.port, "tls": endpoint.tls}
    return {"host": _host(preset.endpoints[0], value.get("region"))}


def _host(endpoint: Endpoint, region_written: object) -> str:
    if "{region}" not in endpoint.host:
        return endpoint.host
    if not isinstance(region_written, str) or not _REGION.fullmatch(region_written.lower()):
        return NO_HOST
    return endpoint.host.replace("{region}", region_written.lower())


def _username(preset: Provider, value: dict[str, Any]) -> dict[str, object]:
    """Only beside a password: without one there is no AUTH."""
    password = value.get("password")
    if password is None:
        return {}
    if preset.username is not None:
        return {"username": preset.username}
    if preset.name in _PASSWORD_IS_USERNAME and _is_sound(password):
        return {"username": password}
    return {}


def _is_sound(password: object) -> bool:
    """Whether it can be read as a secret: if it can't, once is enough to say so."""
    if not isinstance(password, str):
        return isinstance(password, Secret)
    try:
        secret(password)
    except ValueError:
        return False
    return True


@cache
def _limits(limits: ProviderLimits) -> dict[str, object]:
    """As the file would have them."""
    known: dict[str, object] = {
        "connections": limits.connections,
        "messages_per_connection": limits.messages_per_connection,
        "idle": f"{limits.idle_s:.3f}".rstrip("0").rstrip(".") + "s",
        "recipients": limits.recipients,
        "per_second": limits.per_second,
        "per_minute": limits.per_minute,
        "per_hour": limits.per_hour,
        "per_day": limits.per_day,
        "counts": limits.counts,
        "(per_day_counts)": limits.per_day_counts,
    }
    return {key: value for key, value in known.items() if value is not None}
