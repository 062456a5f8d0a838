"""``relay check``: is the configuration sound, and is what it says what holds?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.problem import Problem
    from relay.config.schema import Config
    from relay.model.toggle import Toggle

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "relay check",
        "relay check --connect",
        "relay check --connect acme-sendgrid platform",
        "relay check --connect --json | jq 'select(.about == \"upstream\" and .ok == false)'",
    )
)
def check(
    context: typer.Context,
    upstreams: Annotated[
        list[str] | None,
        typer.Argument(metavar="UPSTREAM", help="With --connect: only these."),
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Try each upstream, step by step.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Is the configuration sound, and do its upstreams let us in?

    Reads it as serve would: every problem with its line, or what it comes to, with warnings. With
    --connect each upstream is tried as mail would go: DNS, TCP, TLS, EHLO, AUTH; no mail is sent.
    Status 0, also with warnings; 1 where a step failed; 78 where serve would not start.
    """
    if upstreams and not connect:
        raise typer.BadParameter("say --connect, too", param_hint="UPSTREAM")
    config = _configuration(context, as_json)
    names = [access.named("upstream", name, config.upstreams).name for name in upstreams or ()]
    if as_json:
        output.json_lines(_rows(config))
    else:
        _show(config)
    if connect and not _connect(config, names or list(config.upstreams), as_json):
        raise typer.Exit(1)


def _configuration(context: typer.Context, as_json: bool) -> "Config":
    """Problems are rows too, where rows are asked for."""
    from relay.config import ConfigError, load

    if not as_json:
        return access.configuration(context)
    try:
        return load(*access.sources(context))
    except ConfigError as error:
        output.json_lines(_row("problem", problem) for problem in error.problems)
        raise typer.Exit(access.CONFIGURATION) from None


def _show(config: "Config") -> None:
    from relay.config.advice import warnings

    print(f"configuration OK: {config.source or 'from the environment alone'}")
    output.facts(_summary(config))
    for warning in warnings(config):
        print(f"warning: {output.plain(str(warning))}")
    for difference in _differences(config):
        print(f"note: {output.plain(difference)}")


def _rows(config: "Config") -> Iterator[dict[str, Any]]:
    """What ``_show`` says."""
    from relay.config.advice import warnings

    yield {
        "about": "summary",
        "configuration": str(config.source) if config.source else None,
        "listeners": [str(listener) for listener in config.listen],
        "upstreams": list(config.upstreams),
        "default": config.default and config.default.upstream,
        "tenants": list(config.tenants),
        "disabled": [name for name, tenant in config.tenants.items() if not tenant.enabled],
        "store": str(config.store),
    }
    for warning in warnings(config):
        yield _row("warning", warning)
    for difference in _differences(config):
        yield {"about": "note", "message": difference}


def _row(about: str, problem: "Problem") -> dict[str, Any]:
    place = problem.place
    return {
        "about": about,
        "source": place and place.source,
        "line": (place and place.line) or None,
        "column": (place and place.column) or None,
        "key": problem.key or None,
        "message": problem.message,
    }


def _connect(config: "Config", names: Sequence[str], as_json: bool) -> bool:
    """Whether all of them let us in."""
    from relay.cli.check import upstreams as probed

    if not names and not as_json:
        print("no upstreams to connect to")
    # Whoever waits for an upstream that hangs can read what there is until then.
    output.flush()
    found = probed.probes(config, names)
    if as_json:
        output.json_lines(probed.row(config, probe) for probe in found)
    else:
        probed.show(config, found)
    return all(probe.failure is None for probe in found)


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
    end = f" until {output.moment(toggle.until)}" if toggle.until else ""
    return f"{name} is {state}{end} by {who}{why}, though the file has it {written}"
