"""Upstreams as ``relay check --connect`` finds them: side by side, then what there is to say."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from relay.cli import output
from relay.cli.upstream import endpoint

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.deliver.probe import Probe
    from relay.deliver.watching import Step

# The steps in the order in which each TLS mode makes them.
_STEPS = {
    "implicit": ("dns", "tcp", "tls", "banner", "ehlo", "auth", "quit"),
    "starttls": ("dns", "tcp", "banner", "ehlo", "starttls", "tls", "ehlo", "auth", "quit"),
    "none": ("dns", "tcp", "banner", "ehlo", "auth", "quit"),
}
# All that was found is told of so many; of more, only what is amiss.
_MOST_TOLD_WHOLE = 8


def probes(config: "Config", names: Sequence[str]) -> "list[Probe]":
    """Of these upstreams, in their order."""
    from relay.deliver.probe import probe_all

    upstreams = [config.upstreams[name] for name in names]
    return asyncio.run(probe_all(upstreams, config.hostname, config.timeouts))


def show(config: "Config", found: "Sequence[Probe]") -> None:
    for mode, steps in _STEPS.items():
        of_mode = [probe for probe in found if config.upstreams[probe.upstream].tls == mode]
        if of_mode:
            print()
            titles = ("UPSTREAM", "ENDPOINT", *(step.upper() for step in steps))
            output.table(titles, (_cells(config, probe, steps) for probe in of_mode))
    if len(found) <= _MOST_TOLD_WHOLE:
        for probe in found:
            print(f"\n{probe.upstream}")
            output.facts(_found(probe))
    _tell_what_is_amiss(found)


def row(config: "Config", probe: "Probe") -> dict[str, Any]:
    one, failure = config.upstreams[probe.upstream], probe.failure
    return {
        "about": "upstream",
        "upstream": probe.upstream,
        "host": one.host,
        "port": one.port,
        "tls": one.tls,
        "ok": failure is None,
        "failed_step": failure and failure.name,
        "cause": failure and failure.cause,
        "remedy": failure and failure.remedy,
        "warnings": list(probe.warnings),
        "duration_ms": _ms(probe.duration_s),
        "tls_version": probe.tls and probe.tls.version,
        "cipher": probe.tls and probe.tls.cipher,
        "certificate": _certificate(probe),
        "steps": [_step_row(step) for step in probe.steps],
    }


def _certificate(probe: "Probe") -> dict[str, Any] | None:
    from relay.record.audit import rfc3339

    shown = probe.certificate
    if shown is None:
        return None
    return {
        "names": list(shown.names),
        "issuer": shown.issuer,
        "expires_at": rfc3339(shown.expires_at),
    }


def _step_row(step: "Step") -> dict[str, Any]:
    return {
        "step": step.name,
        "ok": step.ok,
        "duration_ms": _ms(step.duration_s),
        "detail": step.detail or None,
        "cause": step.cause,
        "remedy": step.remedy,
        "warning": step.warning,
    }


def _cells(config: "Config", probe: "Probe", steps: Sequence[str]) -> tuple[str, ...]:
    return (probe.upstream, endpoint(config, probe.upstream), *_times(probe, steps))


def _times(probe: "Probe", steps: Sequence[str]) -> Iterator[str]:
    """One for each step; "-" for one that was not made."""
    made = iter(probe.steps)
    current = next(made, None)
    for name in steps:
        if current is None or current.name != name:
            yield "-"
            continue
        yield elapsed(current.duration_s) if current.ok else f"FAILED {elapsed(current.duration_s)}"
        current = next(made, None)


def _found(probe: "Probe") -> dict[str, str]:
    """By step, in their order; after STARTTLS there is a second EHLO."""
    found: dict[str, str] = {}
    for step in probe.steps:
        if step.detail and step.name != "quit":
            name = f"  {step.name}"
            found[f"{name} again" if name in found else name] = step.detail
    return found


def _tell_what_is_amiss(found: "Sequence[Probe]") -> None:
    failures = {probe.upstream: probe.failure for probe in found if probe.failure}
    warnings = [(probe.upstream, text) for probe in found for text in probe.warnings]
    if warnings or failures:
        print()
    for name, warning in warnings:
        print(f"warning: {name}: {output.plain(warning)}")
    if failures:
        output.facts({name: _sentence(step) for name, step in failures.items()})


def _sentence(step: "Step") -> str:
    """Cause, what the server said, and the remedy."""
    lines = (f"{step.name} FAILED: {step.cause}", step.detail, step.remedy)
    return "\n".join(line for line in lines if line)


def elapsed(seconds: float) -> str:
    """12 ms, 1.5 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
