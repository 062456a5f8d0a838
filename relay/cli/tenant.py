"""``relay tenant``: who there is, which way each one's mail goes, and the switch.

The switch is in the store: a running relay looks there before its next attempt, and it stays as it
is when the configuration is reloaded, until it is reset.
"""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.schema import Config, Tenant
    from relay.model.toggle import Toggle

app = options.group("Tenants: who there is, and the switch.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant, as the file names it.")]
_NO_DEFAULT = (
    "there is no default upstream, so its mail would have no way; set default: in the "
    "configuration, and restart the relay"
)


@app.command("list", epilog=options.examples("relay tenant list", "relay tenant list --json"))
def list_(context: typer.Context, as_json: options.Json = False) -> None:
    """Every tenant, on or off, and its way."""
    config = access.configuration(context)
    toggles = access.toggles(config)
    rows = [_row(config, tenant, toggles.get(tenant.name)) for tenant in config.tenants.values()]
    if as_json:
        output.json_lines(rows)
    elif not output.table(_TITLES, map(_cells, rows)):
        print("no tenants")


@app.command(epilog=options.examples("relay tenant show acme"))
def show(context: typer.Context, name: Name, as_json: options.Json = False) -> None:
    """One tenant in full.

    Its senders, its way, its identity, and what the next admin should know.
    """
    config = access.configuration(context)
    tenant = access.named("tenant", name, config.tenants)
    row = _row(config, tenant, access.toggles(config).get(name))
    row |= {
        "from": str(tenant.from_) if tenant.from_ else None,
        "reply_to": str(tenant.reply_to) if tenant.reply_to else None,
        "rewrite_from": tenant.rewrite_from,
        "recovery": tenant.recovery,
        "notes": tenant.notes,
    }
    if as_json:
        output.json_lines([row])
    else:
        told = {key.replace("_", " "): _text(value) for key, value in row.items()}
        output.facts({key: text for key, text in told.items() if text})


@app.command(
    epilog=options.examples('relay tenant disable acme --reason "the provider suspended us"')
)
def disable(
    context: typer.Context,
    name: Name,
    reason: options.Reason,
) -> None:
    """Turn a tenant off.

    From the next attempt on, also of what is queued, its mail leaves by the default upstream
    under the default's identity. It stays so through reloads and restarts.
    """
    config = access.configuration(context)
    access.named("tenant", name, config.tenants)
    if config.default is None:
        raise Trouble(f"{name} can't be disabled: {_NO_DEFAULT}")
    _toggle(config, name, enabled=False, reason=options.one_line(reason))
    sender = config.default.from_
    identity = f" as {sender.address}" if sender else ""
    print(f"{name} is disabled: its mail leaves by {config.default.upstream}{identity}")


@app.command(epilog=options.examples("relay tenant enable acme --reason 'account restored'"))
def enable(
    context: typer.Context,
    name: Name,
    reason: options.Reason = "",
) -> None:
    """Turn a tenant on.

    From the next attempt on its mail leaves by its own upstream, whatever the file says.
    """
    config = access.configuration(context)
    tenant = access.named("tenant", name, config.tenants)
    _toggle(config, name, enabled=True, reason=options.one_line_or_none(reason))
    upstream = tenant.upstream or "the default, having no upstream of its own"
    print(f"{name} is enabled: its mail leaves by {upstream}")


@app.command(epilog=options.examples("relay tenant reset acme"))
def reset(
    context: typer.Context,
    name: Name,
    reason: options.Reason = "",
) -> None:
    """Forget disable and enable.

    What the configuration says of the tenant counts again.
    """
    config = access.configuration(context)
    with access.store(config) as store:
        if name not in store.toggles():
            access.named("tenant", name, config.tenants)
            print(f"{name} was never switched: the configuration counts already")
            return
        store.reset_toggle(name, access.actor(), options.one_line_or_none(reason))
    tenant = config.tenants.get(name)
    word = "unknown" if tenant is None else "enabled" if tenant.enabled else "disabled"
    print(f"{name} is {word}, as the configuration says")


_TITLES = ("TENANT", "STATE", "BY", "DOMAINS", "OWNER", "SINCE", "REASON")


def _row(config: "Config", tenant: "Tenant", toggle: "Toggle | None") -> dict[str, Any]:
    """``leaves_by`` is the upstream that its mail takes now; the toggle's facts are null where
    the configuration alone counts."""
    from relay.record.audit import rfc3339

    enabled = toggle.enabled if toggle else tenant.enabled
    own = enabled and tenant.upstream is not None
    default = config.default.upstream if config.default else None
    return {
        "tenant": tenant.name,
        "enabled": enabled,
        "enabled_in_file": tenant.enabled,
        "upstream": tenant.upstream,
        "route": "tenant" if own else "default",
        "leaves_by": tenant.upstream if own else default,
        "domains": list(tenant.domains),
        "senders": list(tenant.senders),
        "owner": str(tenant.owner) if tenant.owner else None,
        "actor": toggle.actor if toggle else None,
        "reason": toggle.reason if toggle else None,
        "since": rfc3339(toggle.at) if toggle else None,
        "until": rfc3339(toggle.until) if toggle and toggle.until else None,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    by = row["leaves_by"] or "no way"
    return (
        row["tenant"],
        "enabled" if row["enabled"] else "disabled",
        by if row["route"] == "tenant" else f"{by} (default)",
        output.shortened([*row["domains"], *row["senders"]]) or "-",
        row["owner"] or "-",
        row["since"][:10] if row["since"] else "-",
        f"{row['reason']} ({row['actor']})" if row["actor"] else "-",
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value or "")


def _toggle(config: "Config", name: str, *, enabled: bool, reason: str) -> None:
    from relay.model.toggle import Toggle

    with access.store(config) as store:
        store.set_toggle(Toggle(name, enabled, reason, access.actor(), at=time.time()))
