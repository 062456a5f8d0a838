"""``relay tenant``: who there is, which way each one's mail goes, and the switch.

The switch is in the store: a running relay looks there before its next attempt, and it stays as it
is when the configuration is reloaded, until it is reset.
"""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble
from relay.cli.tenant import switch as words

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.toggle import Switch
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
    "configuration, and relay reload"
)


@app.command("list", epilog=options.examples("relay tenant list", "relay tenant list --json"))
def list_(context: typer.Context, as_json: options.Json = False) -> None:
    """Every tenant, on or off, until when, and its way."""
    from relay.config.switches import switches

    config = access.configuration(context)
    known = [s for s in switches(config, access.toggles(config)) if s.tenant in config.tenants]
    if as_json:
        output.json_lines(_row(config, switch) for switch in known)
    elif not output.table(_TITLES, (_cells(config, switch) for switch in known)):
        print("no tenants")


@app.command(epilog=options.examples("relay tenant show acme"))
def show(context: typer.Context, name: Name, as_json: options.Json = False) -> None:
    """One tenant in full.

    Its senders, its way, its identity, and what the next admin should know.
    """
    from relay.config.switches import switch_of

    config = access.configuration(context)
    tenant = access.named("tenant", name, config.tenants)
    switch = switch_of(config, name, access.toggles(config).get(name))
    row = _row(config, switch) | {
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
    as_json: options.Json = False,
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
    _toggle(config, name, word, way, How(_patience_s(wait, patience), as_json))


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
    as_json: options.Json = False,
) -> None:
    """Turn a tenant on.

    From the next attempt on its mail leaves by its own upstream, whatever the file says; with
    --for until then, when the configuration counts again.
    """
    config = access.configuration(context)
    tenant = access.named("tenant", name, config.tenants)
    way = tenant.upstream or "the default, having no upstream of its own"
    word = Word(True, options.one_line(reason), options.ending(lasting))
    _toggle(config, name, word, way, How(_patience_s(wait, patience), as_json))


@app.command(epilog=options.examples("relay tenant reset acme --reason 'back to normal'"))
def reset(
    context: typer.Context,
    name: Name,
    reason: options.Reason,
    wait: Wait = False,
    patience: Patience = _PATIENCE,
    as_json: options.Json = False,
) -> None:
    """Forget disable and enable.

    What the configuration says of the tenant counts again.
    """
    from relay.config.switches import switch_of

    how, why = How(_patience_s(wait, patience), as_json), options.one_line(reason)
    config = access.configuration(context)
    with access.store(config) as store:
        if name not in store.toggles():
            access.named("tenant", name, config.tenants)
            never = f"{name} was never switched: the configuration counts already"
            how.tell(never, _row(config, switch_of(config, name, None)) | {"generation": None})
            return
        generation = store.reset_toggle(name, access.actor(), why)
        switch = switch_of(config, name, None)
        word = "unknown" if switch.enabled_in_file is None else words.state_word(switch.enabled)
        told = f"{name} is {word}, as the configuration says"
        how.tell(told, _row(config, switch) | {"generation": generation})
        _wait(store, generation, how)


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a tenant, and until when (Unix seconds; None: until it is undone)."""

    enabled: bool
    reason: str
    until: float | None


@dataclass(frozen=True, slots=True)
class How:
    """What is wanted beside the switch: to wait so long at most (None: not at all), and a row."""

    patience_s: float | None
    as_json: bool

    def tell(self, sentence: str, row: dict[str, Any]) -> None:
        if self.as_json:
            output.json_lines([row])
        else:
            print(sentence)


def _toggle(config: "Config", name: str, word: Word, way: str, how: How) -> None:
    from relay.config.switches import switch_of
    from relay.model.toggle import Toggle

    toggle = Toggle(name, word.enabled, word.reason, access.actor(), time.time(), word.until)
    end = f" until {output.moment(word.until)}" if word.until else ""
    with access.store(config) as store:
        generation = store.set_toggle(toggle)
        told = f"{name} is {words.state_word(word.enabled)}{end}: its mail leaves by {way}"
        switch = switch_of(config, name, toggle)
        how.tell(told, _row(config, switch) | {"generation": generation})
        _wait(store, generation, how)


def _patience_s(wait: bool, patience: str) -> float | None:
    """None: nobody waits."""
    length_s = options.length_s(patience, "--patience")
    return length_s if wait else None


def _wait(store: "Administration", generation: int, how: How) -> None:
    """Until no attempt is under way that began before, or no relay is there to make one. Trouble
    when patience ends; the switch holds all the same."""
    if how.patience_s is None:
        return
    # Whoever waits can read what was done.
    output.flush()
    deadline = time.monotonic() + how.patience_s
    try:
        while store.served_by() is not None and store.reached() < generation:
            if time.monotonic() > deadline:
                raise Trouble(_STILL_UNDER_WAY.format(output.duration(how.patience_s)))
            time.sleep(_LOOK_AGAIN_S)
    except KeyboardInterrupt:
        print("not waited for; the switch holds all the same", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None
    if not how.as_json:
        print("nothing is under way on the old way")


_TITLES = ("TENANT", "STATE", "BY", "DOMAINS", "OWNER", "SINCE", "UNTIL", "REASON")


def _row(config: "Config", switch: "Switch") -> dict[str, Any]:
    """``leaves_by`` is the upstream that its mail takes now. Of a tenant that the file does not
    have, what is known is its switch."""
    from relay.record.rows import switch_row

    tenant, of_switch = config.tenants.get(switch.tenant), switch_row(switch)
    if tenant is None:
        return of_switch
    own = switch.enabled and tenant.upstream is not None
    default = config.default.upstream if config.default else None
    return {
        "tenant": of_switch.pop("tenant"),
        "enabled": of_switch.pop("enabled"),
        "enabled_in_file": of_switch.pop("enabled_in_file"),
        "upstream": tenant.upstream,
        "route": "tenant" if own else "default",
        "leaves_by": tenant.upstream if own else default,
        "domains": list(tenant.domains),
        "senders": list(tenant.senders),
        "owner": str(tenant.owner) if tenant.owner else None,
    } | of_switch


def _cells(config: "Config", switch: "Switch") -> tuple[str, ...]:
    row = _row(config, switch)
    by = row["leaves_by"] or "no way"
    return (
        switch.tenant,
        words.state(switch),
        by if row["route"] == "tenant" else f"{by} (default)",
        output.shortened([*row["domains"], *row["senders"]]) or "-",
        row["owner"] or "-",
        row["since"][:10] if row["since"] else "-",
        words.ends(switch),
        words.why(switch) if switch.toggle else "-",
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value or "")
