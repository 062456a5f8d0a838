"""The operator's configuration, as a rehearsal has it: the same tenants, upstreams, limits, classes
and alerts, with all that lies outside put on loopback.

It takes what it knows to be harmless, and leaves out what it does not know: no secret, no real host
and no path of the operator's comes through.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from relay.config.document import Document, read_document
from relay.config.environment import override
from relay.config.quantities import duration_s
from relay.config.schema import Config
from relay.rehearse.upstream import Tls

Section = dict[str, Any]

# Nobody listens there: upstreams that no scene is about get no mail.
_NOWHERE = 9
_SECTIONS = (
    "hostname", "aliases", "limits", "timeouts", "queue", "upstreams", "default", "tenants",
    "classes", "retry", "suppression", "alerts",
)  # fmt: skip
_OF_UPSTREAM = ("provider", "region", "null_sender", "limits")
_OF_ALERTS = ("email", "upstream", "gather")
# They are counted by the hour and the day, which a rehearsal doesn't have.
_UNCAPPED = {"per_second": 10_000, "per_minute": 10**9, "per_hour": 10**9, "per_day": 10**9}
# Nobody logs in: a class may name a user, who then has to be there.
_NO_PASSWORD = "$argon2id$v=19$m=8,t=1,p=1$bm9ib2R5bm8$bm9ib2R5bG9nc2luaGVyZQ"  # noqa: S105
# Between these a wait of retry's comes to lie, and it grows: so few attempts fail in a scene that
# their number tells nobody anything, and the person need not wait.
_WAITS_S = (0.2, 1.0)
_LEAST_FACTOR = 2
_SHORTEST_CONNECT_S = 5.0
# Nothing is to expire while it is rehearsed.
_SHORTEST_LIFE_S = 300.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Of a stand-in. ``secret`` is the file of its password; None where nobody logs in."""

    port: int
    tls: Tls
    secret: Path | None = None


@dataclass(frozen=True, slots=True)
class Casting:
    """Who stands for whom. ``tenant`` is whose mail it is about, "" for mail of no tenant;
    ``bystander`` a made-up tenant, with an upstream of that name, whose mail is to go on meanwhile;
    ``ports`` are where the relay listens for the mail of the one and the other.
    ``pace``: the clock runs so many times as fast. ``reply_s`` replaces timeouts.reply."""

    tenant: str
    bystander: str
    ports: tuple[int, int]
    folder: Path
    ca_file: Path
    endpoints: Mapping[str, Endpoint]
    webhook_url: str
    pace: float
    reply_s: float | None = None


def as_written(path: Path | None, environ: Mapping[str, str]) -> Section:
    """The file and the variables over it, of a configuration that has been found sound."""
    document = read_document(path.read_bytes(), str(path)) if path else Document()
    override(document, environ, fileless=path is None)
    return document.data


def rehearsed(written: Mapping[str, Any], config: Config, casting: Casting) -> str:
    """YAML for the relay of a rehearsal. ``config`` is what ``written`` comes to."""
    data = {key: written[key] for key in _SECTIONS if written.get(key) is not None}
    data |= _outside(config, casting)
    data["upstreams"] = _upstreams(written.get("upstreams") or {}, config, casting)
    data["tenants"] = _tenants(written.get("tenants") or {}, config, casting)
    data["classes"] = _classes(written.get("classes") or {}, casting.pace)
    data["retry"] = _retry(written.get("retry") or {}, config, casting.pace)
    data["alerts"] = _alerts(written.get("alerts") or {}, config, casting)
    data["timeouts"] = _timeouts(written.get("timeouts") or {}, config, casting)
    data["queue"] = {**(written.get("queue") or {}), "min_free_disk": "0B"}
    if data.get("default"):
        data["default"] = {k: v for k, v in data["default"].items() if k != "per_tenant"}
    return yaml.dump(_plain(data), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def _outside(config: Config, casting: Casting) -> Section:
    """Where it listens, to whom, and where it keeps things: two ports, each for one tenant alone,
    so that the mail is that tenant's whoever else claims its domain."""
    bound = {"tenants": [casting.tenant]} if casting.tenant else {}
    mine, theirs = ({"address": f"127.0.0.1:{port}", "auth": "none"} for port in casting.ports)
    return {
        "store": f"sqlite://{casting.folder}/relay.db",
        "listen": [mine | bound, theirs | {"tenants": [casting.bystander]}],
        "clients": {
            "networks": ["127.0.0.0/8"],
            "users": {name: {"password_hash": _NO_PASSWORD} for name in config.clients.users},
        },
    }


def _upstreams(written: Section, config: Config, casting: Casting) -> Section:
    found = {name: _upstream(written[name] or {}, name, casting) for name in config.upstreams}
    return {**found, casting.bystander: _upstream({}, casting.bystander, casting)}


def _upstream(written: Section, name: str, casting: Casting) -> Section:
    """What is known of the provider stays; the way to it leads to its stand-in."""
    endpoint = casting.endpoints.get(name, Endpoint(_NOWHERE, "none"))
    entry = {key: written[key] for key in _OF_UPSTREAM if written.get(key) is not None}
    entry["limits"] = {**entry.get("limits", {}), **_UNCAPPED}
    entry |= {"host": "127.0.0.1", "port": endpoint.port, "tls": endpoint.tls}
    if endpoint.tls != "none":
        entry["ca_file"] = str(casting.ca_file)
    if endpoint.secret:
        entry |= {"username": name, "password": f"file:{endpoint.secret}"}
    return entry


def _tenants(written: Section, config: Config, casting: Casting) -> Section:
    found = {name: dict(written[name] or {}) for name in config.tenants}
    # What is rehearsed is the tenant's own way.
    found.get(casting.tenant, {}).pop("pilot", None)
    for name, tenant in config.tenants.items():
        if tenant.failover:
            after = _duration(tenant.failover.after / casting.pace)
            found[name]["failover"] = {**found[name]["failover"], "after": after}
        if tenant.acknowledge.mode == "relayed":
            within = _duration(max(1.0, tenant.acknowledge.within / casting.pace))
            found[name]["acknowledge"] = {"mode": "relayed", "within": within}
    bystander = {"domains": ["bystander.invalid"], "upstream": casting.bystander}
    return {**found, casting.bystander: bystander}


def _classes(written: Section, pace: float) -> Section:
    classes = {name: dict(entry or {}) for name, entry in written.items()}
    for entry in classes.values():
        retry = dict(entry.get("retry") or {})
        for key in ("first", "longest"):
            if retry.get(key) is not None:
                retry[key] = _wait(duration_s(str(retry[key])), pace)
        for place in (entry, retry):
            if place.get("give_up_after") is not None:
                life = duration_s(str(place["give_up_after"]))
                place["give_up_after"] = _duration(max(life, _SHORTEST_LIFE_S))
        entry["retry"] = retry
    return classes


def _retry(written: Section, config: Config, pace: float) -> Section:
    return {
        **written,
        "first": _wait(config.retry.first, pace),
        "factor": max(config.retry.factor, _LEAST_FACTOR),
        "longest": _duration(_WAITS_S[1]),
        "give_up_after": _duration(max(config.retry.give_up_after, _SHORTEST_LIFE_S)),
    }


def _alerts(written: Section, config: Config, casting: Casting) -> Section:
    alerts = {key: written[key] for key in _OF_ALERTS if written.get(key) is not None}
    alerts["gather"] = _duration(config.alerts.gather / casting.pace)
    if config.alerts.webhook:
        alerts["webhook"] = casting.webhook_url
    return alerts


def _timeouts(written: Section, config: Config, casting: Casting) -> Section:
    timeouts = {
        **written,
        "connect": _duration(max(config.timeouts.connect, _SHORTEST_CONNECT_S)),
        "drain": "1s",
    }
    if casting.reply_s is not None:
        timeouts["reply"] = _duration(casting.reply_s)
    return timeouts


def _wait(seconds: float, pace: float) -> str:
    shortest, longest = _WAITS_S
    return _duration(min(max(seconds / pace, shortest), longest))


def _duration(seconds: float) -> str:
    return f"{max(seconds, 0.0):.3f}s"


def _plain(value: Any) -> Any:
    """Values out of variables may be more than text: as text they say the same."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | bool | int | float) or value is None else str(value)
