"""``relay tenant``: who there is, which way each one's mail goes, and the switch.

The switch is in the store: a running relay looks there before its next attempt, and it stays as it
is when the configuration is reloaded, until it is reset.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.schema import Config, Tenant
    from relay.model.toggle import Toggle
    from relay.queue.sqlite.admin import Administration

app = options.group("Tenants: who there is, and the switch.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant, as the file names it.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Return when nothing is under way on the old way.")
]
Patience = Annotated[
    str, typer.Option("--patience", metavar="5m", help="How long --wait waits at most.")
]
_PATIENCE = "5m"
_LOOK_AGAIN_S = 0.05
_INTERRUPTED = 130
_STILL_UNDER_WAY = (
    "an attempt that began before is still under way after {}; the switch holds all the same, and "
    "that attempt ends with the upstream's reply, or after timeouts.data_reply"
)
_NO_DEFAULT = (
    "there is no default upstream, so its mail would have no way; set default: in the "
    "configuration, and restart the relay"
)


@app.command("list", epilog=options.examples("relay tenant list", "relay tenant list --json"))
def list_(context: typer.Context, as_json: options.Json = False) -> None:
    """Every tenant, on or off, until when, and its way."""
    config = access.configuration(context)
    known = [s for s in switches(config, access.toggles(config)) if s.tenant in config.tenants]
    if as_json:
        output.json_lines(_row(config, config.tenants[switch.tenant], switch) for switch in known)
    elif not output.table(_TITLES, (_cells(config, switch) for switch in known)):
        print("no tenants")


@app.command(epilog=options.examples("relay tenant show acme"))
def show(context: typer.Context, name: Name, as_json: options.Json = False) -> None:
    """One tenant in full.

    Its senders, its way, its identity, and what the next admin should know.
    """
    config = access.configuration(context)
    tenant = access.named("tenant", name, config.tenants)
    switch = Switch(name, tenant.enabled, access.toggles(config).get(name))
    row = _row(config, tenant, switch)
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
    epilog=options.examples(
        'relay tenant disable acme --reason "the provider suspended us"',
        'relay tenant disable acme --reason "key leaked" --wait',
        'relay tenant disable acme --reason "their maintenance" --for 2h',
    )
)
def disable(
    context: typer.Context,
    name: Name,
    reason: options.Reason,
    lasting: options.Lasting = None,
    wait: Wait = False,
    patience: Patience = _PATIENCE,
) -> None:
    """Turn a tenant off.

    From the next attempt on, also of what is queued, its mail leaves by the default upstream
    under the default's identity. It stays so through reloads and restarts; with --for it ends by
    itself, and the configuration counts again.
    """
    config = access.configuration(context)
    access.named("tenant", name, config.tenants)
    if config.default is None:
        raise Trouble(f"{name} can't be disabled: {_NO_DEFAULT}")
    sender = config.default.from_
    way = config.default.upstream + (f" as {sender.address}" if sender else "")
    word = Word(False, options.one_line(reason), options.ending(lasting))
    _toggle(config, name, word, way, _patience_s(wait, patience))


@app.command(
    epilog=options.examples(
        "relay tenant enable acme --reason 'account restored'",
        "relay tenant enable acme --reason 'one more try' --for 30m",
    )
)
def enable(
    context: typer.Context,
    name: Name,
    reason: options.Reason,
    lasting: options.Lasting = None,
    wait: Wait = False,
    patience: Patience = _PATIENCE,
) -> None:
    """Turn a tenant on.

    From the next attempt on its mail leaves by its own upstream, whatever the file says; with
    --for until then, when the configuration counts again.
    """
    config = access.configuration(context)
    tenant = access.named("tenant", name, config.tenants)
    way = tenant.upstream or "the default, having no upstream of its own"
    word = Word(True, options.one_line(reason), options.ending(lasting))
    _toggle(config, name, word, way, _patience_s(wait, patience))


@app.command(epilog=options.examples("relay tenant reset acme --reason 'back to normal'"))
def reset(
    context: typer.Context,
    name: Name,
    reason: options.Reason,
    wait: Wait = False,
    patience: Patience = _PATIENCE,
) -> None:
    """Forget disable and enable.

    What the configuration says of the tenant counts again.
    """
    patience_s, why = _patience_s(wait, patience), options.one_line(reason)
    config = access.configuration(context)
    with access.store(config) as store:
        if name not in store.toggles():
            access.named("tenant", name, config.tenants)
            print(f"{name} was never switched: the configuration counts already")
            return
        generation = store.reset_toggle(name, access.actor(), why)
        tenant = config.tenants.get(name)
        word = "unknown" if tenant is None else _state(tenant.enabled)
        print(f"{name} is {word}, as the configuration says")
        _wait(store, generation, patience_s)


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a tenant, and until when (Unix seconds; None: until it is undone)."""

    enabled: bool
    reason: str
    until: float | None


def _toggle(config: "Config", name: str, word: Word, way: str, patience_s: float | None) -> None:
    from relay.model.toggle import Toggle

    toggle = Toggle(name, word.enabled, word.reason, access.actor(), time.time(), word.until)
    end = f" until {output.moment(word.until)}" if word.until else ""
    with access.store(config) as store:
        generation = store.set_toggle(toggle)
        print(f"{name} is {_state(word.enabled)}{end}: its mail leaves by {way}")
        _wait(store, generation, patience_s)


def _patience_s(wait: bool, patience: str) -> float | None:
    """None: nobody waits."""
    length_s = options.length_s(patience, "--patience")
    return length_s if wait else None


def _wait(store: "Administration", generation: int, patience_s: float | None) -> None:
    """Until no attempt is under way that began before, or no relay is there to make one. Trouble
    when patience ends; the switch holds all the same."""
    if patience_s is None:
        return
    # Whoever waits can read what was done.
    output.flush()
    deadline = time.monotonic() + patience_s
    try:
        while store.served_by() is not None and store.reached() < generation:
            if time.monotonic() > deadline:
                raise Trouble(_STILL_UNDER_WAY.format(output.duration(patience_s)))
            time.sleep(_LOOK_AGAIN_S)
    except KeyboardInterrupt:
        print("not waited for; the switch holds all the same", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None
    print("nothing is under way on the old way")


@dataclass(frozen=True, slots=True)
class Switch:
    """Both words for a tenant: the store's, if there is one, and the file's; None where the file
    does not have the tenant."""

    tenant: str
    enabled_in_file: bool | None
    toggle: "Toggle | None"

    @property
    def enabled(self) -> bool:
        return self.toggle.enabled if self.toggle else bool(self.enabled_in_file)

    @property
    def is_news(self) -> bool:
        """It is off, or on though the file says otherwise."""
        return not self.enabled or self.enabled_in_file is not True

    @property
    def state(self) -> str:
        state = _state(self.enabled)
        if self.enabled_in_file is None:
            return f"{state} (not in the file)"
        if self.enabled_in_file is self.enabled:
            return state
        return f"{state} ({_state(self.enabled_in_file)} in the file)"

    @property
    def ends(self) -> str:
        return output.until(self.toggle.until) if self.toggle and self.toggle.until else "-"

    @property
    def why(self) -> str:
        if self.toggle is None:
            return "as the file says" if not self.enabled else "-"
        return f"{self.toggle.reason or 'no reason given'} ({self.toggle.actor})"

    @property
    def row(self) -> dict[str, Any]:
        """The toggle's facts are null where the configuration alone counts."""
        from relay.record.audit import rfc3339

        toggle = self.toggle
        return {
            "tenant": self.tenant,
            "enabled": self.enabled,
            "enabled_in_file": self.enabled_in_file,
            "actor": toggle.actor if toggle else None,
            "reason": toggle.reason if toggle else None,
            "since": rfc3339(toggle.at) if toggle else None,
            "until": rfc3339(toggle.until) if toggle and toggle.until else None,
        }


def switches(config: "Config", toggles: "Mapping[str, Toggle]") -> list[Switch]:
    """Of all tenants of the file, and of those that only have a toggle left."""
    known = [
        Switch(tenant.name, tenant.enabled, toggles.get(tenant.name))
        for tenant in config.tenants.values()
    ]
    gone = sorted(set(toggles) - set(config.tenants))
    return known + [Switch(name, None, toggles[name]) for name in gone]


_TITLES = ("TENANT", "STATE", "BY", "DOMAINS", "OWNER", "SINCE", "UNTIL", "REASON")


def _row(config: "Config", tenant: "Tenant", switch: Switch) -> dict[str, Any]:
    """``leaves_by`` is the upstream that its mail takes now."""
    own = switch.enabled and tenant.upstream is not None
    default = config.default.upstream if config.default else None
    of_switch = switch.row
    return {
        "tenant": tenant.name,
        "enabled": of_switch.pop("enabled"),
        "enabled_in_file": of_switch.pop("enabled_in_file"),
        "upstream": tenant.upstream,
        "route": "tenant" if own else "default",
        "leaves_by": tenant.upstream if own else default,
        "domains": list(tenant.domains),
        "senders": list(tenant.senders),
        "owner": str(tenant.owner) if tenant.owner else None,
    } | of_switch


def _cells(config: "Config", switch: Switch) -> tuple[str, ...]:
    tenant = config.tenants[switch.tenant]
    row = _row(config, tenant, switch)
    by = row["leaves_by"] or "no way"
    return (
        switch.tenant,
        switch.state,
        by if row["route"] == "tenant" else f"{by} (default)",
        output.shortened([*row["domains"], *row["senders"]]) or "-",
        row["owner"] or "-",
        row["since"][:10] if row["since"] else "-",
        switch.ends,
        switch.why if switch.toggle else "-",
    )


def _state(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value or "")
