"""``relay check``: is the configuration sound, and is what it says what holds?"""

from typing import TYPE_CHECKING

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.toggle import Toggle

app = typer.Typer()


@app.command(epilog=options.examples("relay check", "relay --config ./config.yaml check"))
def check(context: typer.Context) -> None:
    """Is the configuration sound?

    Reads it as serve would: every problem with its line, or what it comes to, with warnings.
    Status 0, also with warnings; 78 where serve would not start.
    """
    from relay.config import warnings

    config = access.configuration(context)
    print(f"configuration OK: {config.source or 'from the environment alone'}")
    output.facts(_summary(config))
    for warning in warnings(config):
        print(f"warning: {output.plain(str(warning))}")
    for difference in _differences(config):
        print(f"note: {output.plain(difference)}")


def _summary(config: "Config") -> dict[str, str]:
    tenants = config.tenants.values()
    disabled = sum(not tenant.enabled for tenant in tenants)
    return {
        "  listeners": ", ".join(map(str, config.listen)),
        "  upstreams": ", ".join(config.upstreams) or "none",
        "  default": _default(config),
        "  tenants": f"{len(tenants)}" + (f", {disabled} disabled" if disabled else ""),
        "  store": str(config.store),
    }


def _default(config: "Config") -> str:
    if config.default is None:
        return "none: unrouted senders are refused, and no tenant can be disabled"
    identity = config.default.from_
    return config.default.upstream + (f" as {identity.address}" if identity else "")


def _differences(config: "Config") -> list[str]:
    """Where the store's toggles are not what the file says."""
    try:
        toggles = access.toggles(config)
    except Trouble as trouble:
        return [f"the toggles are not known: {trouble}"]
    return [
        difference
        for name, toggle in sorted(toggles.items())
        if (difference := _difference(config, name, toggle))
    ]


def _difference(config: "Config", name: str, toggle: "Toggle") -> str | None:
    tenant = config.tenants.get(name)
    if tenant is None:
        return f'there is a toggle for "{name}", a tenant that the file does not have'
    if tenant.enabled == toggle.enabled:
        return None
    state, written = ("enabled", "disabled") if toggle.enabled else ("disabled", "enabled")
    who = f"{toggle.actor} on {output.moment(toggle.at)}"
    why = f" ({toggle.reason})" if toggle.reason else ""
    return f"{name} is {state} by {who}{why}, though the file has it {written}"
