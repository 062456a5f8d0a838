"""``relay config inventory``: what there is, whose it is, why it is so, and how it last went.

It gathers; ``document`` puts it in the form of a table or of a document. It tells where secrets
are kept, and no secret.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.schema import Config, Tenant, Upstream
    from relay.config.secrets import Secret
    from relay.model.toggle import Switch, Toggle
    from relay.queue.sqlite.admin import Administration

app = typer.Typer()

Row = dict[str, Any]

_TOGGLED = ("tenant.disabled", "tenant.enabled", "tenant.reset")
_TESTED = ("test.sent", "test.failed")
_FAILED = ("email.send_failed", "email.expired")
# Without these nobody knows whom to call, and where to look.
_NEEDED = ("owner", "recovery")
# Of an event, what the next admin asks: when, what, who, how it went.
_KEPT = ("ts", "event", "actor", "reason", "until", "result", "cause", "upstream", "reply")


@app.command(
    epilog=options.examples(
        "relay config inventory",
        "relay config inventory --markdown > relay.md",
        "relay config inventory --json | jq 'select(.missing != null and .missing != [])'",
    )
)
def inventory(
    context: typer.Context,
    as_json: options.Json = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="A document to hand to the next admin.")
    ] = False,
) -> None:
    """What is configured, whose it is, and how it last went.

    Every tenant with its owner and notes, its secrets' ages, the last toggle, test, doctor, drill,
    mail sent and failure; and what is missing. Tells where secrets are kept, and shows none.
    """
    if as_json and as_markdown:
        raise typer.BadParameter("one or the other", param_hint="--json, --markdown")
    config = access.configuration(context)
    rows = list(_rows(config, _histories(config)))
    if as_json:
        output.json_lines(rows)
        return
    from relay.cli.config import document

    (document.show if as_markdown else document.table)(rows)


@dataclass(frozen=True, slots=True)
class History:
    """What the store knows of a tenant; nothing where there is no store yet. Events as they were
    told, ``sent_at`` in Unix seconds."""

    toggle: "Toggle | None" = None
    toggled: Row | None = None
    tested: Row | None = None
    checked: Row | None = None
    drilled: Row | None = None
    failed: Row | None = None
    sent_at: float | None = None


def _histories(config: "Config") -> dict[str, History]:
    from relay.queue.errors import StoreMissing

    try:
        with access.store(config) as store:
            toggles, sent = store.toggles(), store.last_sent()
            return {
                name: _history(store, name, toggles.get(name), sent.get(name))
                for name in config.tenants
            }
    except Trouble as trouble:
        if isinstance(trouble.__cause__, StoreMissing):
            return {}
        raise


def _history(
    store: "Administration", name: str, toggle: "Toggle | None", sent_at: float | None
) -> History:
    return History(
        toggle,
        toggled=_latest(store, _TOGGLED, name),
        tested=_latest(store, _TESTED, name),
        checked=_latest(store, ("doctor.checked",), name),
        drilled=_latest(store, ("drill.run",), name),
        failed=_latest(store, _FAILED, name),
        sent_at=sent_at,
    )


def _latest(store: "Administration", names: tuple[str, ...], tenant: str) -> Row | None:
    import orjson

    line = store.latest(names, tenant)
    if line is None:
        return None
    event: Row = orjson.loads(line)
    return {key: event[key] for key in _KEPT if event.get(key) is not None}


def _rows(config: "Config", histories: Mapping[str, History]) -> Iterator[Row]:
    """``about`` says what a row is of: relay, default, upstream or tenant."""
    from relay.config.switches import switch_of

    yield _relay(config)
    if config.default:
        yield _default(config)
    named = list(_named(config))
    users = _gathered((upstream, user) for user, upstream in named)
    for upstream in config.upstreams.values():
        # What is no tenant's comes first: a list of thousands is cut short.
        used_by = sorted(users.get(upstream.name, []), key=lambda user: user[0] != "(")
        yield _upstream(upstream, used_by)
    secrets = {name: _secrets(upstream) for name, upstream in config.upstreams.items()}
    ways = _gathered(named)
    for tenant in config.tenants.values():
        history = histories.get(tenant.name, History())
        switch = switch_of(config, tenant.name, history.toggle)
        kept = [secret for name in ways.get(tenant.name, ()) for secret in secrets[name]]
        yield _tenant(tenant) | _told(switch, history) | {"secrets": kept}


def _relay(config: "Config") -> Row:
    alerts = config.alerts
    return {
        "about": "relay",
        "hostname": config.hostname,
        "configuration": str(config.source) if config.source else None,
        "store": str(config.store),
        "listen": [str(one) for one in config.listen],
        "alerts": str(alerts.email) if alerts.email else None,
        "alerts_webhook": alerts.webhook is not None,
        "alerts_upstream": alerts.upstream,
    }


def _default(config: "Config") -> Row:
    default = config.default
    return {"about": "default"} | (_identity(default) if default else {})


def _identity(one: Any) -> Row:
    return {
        "upstream": one.upstream,
        "from": _text(one.from_),
        "reply_to": _text(one.reply_to),
        "rewrite_from": one.rewrite_from,
    }


def _upstream(upstream: "Upstream", users: list[str]) -> Row:
    return {
        "about": "upstream",
        "upstream": upstream.name,
        "provider": upstream.provider,
        "host": upstream.host,
        "port": upstream.port,
        "tls": upstream.tls,
        "used_by": users,
        "secrets": _secrets(upstream),
    }


def _secrets(upstream: "Upstream") -> list[Row]:
    settings = {"username": upstream.username, "password": upstream.password}
    return [
        {"setting": f"upstreams.{upstream.name}.{setting}"} | _kept(secret)
        for setting, secret in settings.items()
        if secret is not None
    ]


def _kept(secret: "Secret") -> Row:
    """``changed_at`` is null where nobody knows: of a variable, of text in the configuration."""
    from relay.record.audit import rfc3339

    changed_at = secret.changed_at
    told = None if changed_at is None else rfc3339(changed_at)
    return {"reference": secret.reference, "changed_at": told}


def _tenant(tenant: "Tenant") -> Row:
    pilot, failover = tenant.pilot, tenant.failover
    return {
        "about": "tenant",
        "tenant": tenant.name,
        "domains": list(tenant.domains),
        "senders": list(tenant.senders),
        **_identity(tenant),
        "pilot": {"upstream": pilot.upstream, "percent": pilot.percent} if pilot else None,
        "failover": list(failover.to) if failover else [],
        "owner": _text(tenant.owner),
        "recovery": tenant.recovery,
        "notes": tenant.notes,
        "missing": [key for key in _NEEDED if not getattr(tenant, key)],
    }


def _told(switch: "Switch", history: History) -> Row:
    """``toggle`` is null where the file's word alone counts."""
    from relay.record.audit import rfc3339
    from relay.record.rows import toggle_row

    toggle = switch.toggle
    return {
        "enabled": switch.enabled,
        "enabled_in_file": switch.enabled_in_file,
        "toggle": {"enabled": toggle.enabled} | toggle_row(toggle) if toggle else None,
        "last_toggle": history.toggled,
        "last_test": history.tested,
        "last_doctor": history.checked,
        "last_drill": history.drilled,
        "last_sent": None if history.sent_at is None else rfc3339(history.sent_at),
        "last_failure": history.failed,
    }


def _named(config: "Config") -> "Iterator[tuple[str, str]]":
    """Who names which upstream: tenants, and in parentheses what else does."""
    from relay.config.ways_out import named_upstreams

    for loc, upstream in named_upstreams(config):
        section, name = loc[0], str(loc[1])
        other = f"({section})" if section in ("default", "alerts") else f"(class {name})"
        yield name if section == "tenants" else other, upstream


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """By the first of each pair the second ones, each once."""
    found: dict[str, dict[str, None]] = {}
    for key, value in pairs:
        found.setdefault(key, {})[value] = None
    return {key: list(values) for key, values in found.items()}


def _text(mailbox: Any) -> str | None:
    return str(mailbox) if mailbox else None
