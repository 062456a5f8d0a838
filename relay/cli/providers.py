"""``relay providers``: what the presets know of each provider."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output

if TYPE_CHECKING:
    from relay.model.provider import Provider, ProviderLimits

app = typer.Typer()

_TLS = {"implicit": "implicit TLS", "starttls": "STARTTLS"}


@app.command(
    epilog=options.examples(
        "relay providers", "relay providers sendgrid", "relay providers --json | jq .name"
    )
)
def providers(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Only this one, with its replies, sources, and an upstream to paste.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """The providers that an upstream can name: hosts, ports, user name, limits, notes."""
    from relay.config.providers import providers

    known = providers()
    chosen = [access.named("provider", name, known)] if name else list(known.values())
    if as_json:
        output.json_lines(map(_row, chosen))
        return
    for provider in chosen:
        output.facts({provider.name: provider.title, **_facts(provider, whole=name is not None)})
        print()
    print(_example(chosen[0]) if name else "relay providers NAME shows one whole.")


def _facts(provider: "Provider", *, whole: bool) -> dict[str, str]:
    facts = {
        "  hosts": "\n".join(_hosts(provider)),
        "  user": provider.username or provider.username_form,
        "  limits": ", ".join(_limits(provider.limits)),
        "  notes": "\n".join(provider.notes),
    }
    if whole:
        facts |= {
            "  regions": ", ".join(provider.regions),
            "  replies": "\n".join(f"{r.example}  -> {r.cause}" for r in provider.replies),
            "  sources": "\n".join(provider.sources),
        }
    return {name: told for name, told in facts.items() if told}


def _hosts(provider: "Provider") -> Iterator[str]:
    """smtp.sendgrid.net: 465 implicit TLS; 587, 2525, 25 STARTTLS."""
    for host, endpoints in groupby(provider.endpoints, lambda endpoint: endpoint.host):
        modes = (
            ", ".join(str(endpoint.port) for endpoint in alike) + f" {_TLS[tls]}"
            for tls, alike in groupby(endpoints, lambda endpoint: endpoint.tls)
        )
        yield f"{host.replace('{region}', 'REGION')}: {'; '.join(modes)}"


def _limits(limits: "ProviderLimits") -> Iterator[str]:
    yield f"{limits.connections} connections"
    yield f"{limits.messages_per_connection} messages on each"
    yield f"{limits.idle_s:g}s idle"
    if limits.recipients:
        yield f"{limits.recipients} recipients a message"
    if limits.message_bytes:
        yield f"{output.size(limits.message_bytes)} a message"
    rates = {
        "second": limits.per_second,
        "minute": limits.per_minute,
        "hour": limits.per_hour,
        "day": limits.per_day,
    }
    for time, most in rates.items():
        if most:
            counts = limits.per_day_counts if time == "day" else limits.counts
            yield f"{most:g} {counts} a {time}"


def _example(provider: "Provider") -> str:
    """An upstream as it could stand in the file."""
    from relay.config.presets import knows_username

    name = f"my-{provider.name}"
    lines = ["upstreams:", f"  {name}:", f"    provider: {provider.name}"]
    if any("{region}" in endpoint.host for endpoint in provider.endpoints):
        lines.append(f"    region: {next(iter(provider.regions), 'REGION')}")
    if not knows_username(provider):
        lines.append(f"    username: USERNAME # {provider.username_form}")
    lines.append(f"    password: file:/etc/relay/secrets/{name}")
    return "\n".join(lines)


def _row(provider: "Provider") -> dict[str, Any]:
    limits = provider.limits
    return {
        "name": provider.name,
        "title": provider.title,
        "endpoints": [
            {"host": endpoint.host, "port": endpoint.port, "tls": endpoint.tls}
            for endpoint in provider.endpoints
        ],
        "username": provider.username,
        "username_form": provider.username_form or None,
        "limits": asdict(limits),
        "regions": provider.regions,
        "notes": provider.notes,
        "sources": provider.sources,
        "upstream": _example(provider),
    }
