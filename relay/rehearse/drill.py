"""``relay drill``: every scene, for each tenant, some of them side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from relay.config.schema import Tenant
from relay.rehearse.outages import DOWN, OUTAGES, Outage, outage, outage_and_recovery
from relay.rehearse.play import Play, Script, play
from relay.rehearse.refusal import dead_letters
from relay.rehearse.switch import toggled_off
from relay.rehearse.verdict import Finding, Scene

# Each act has a relay of its own, which is mostly waiting.
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Act:
    """One relay's scenes. ``reply_s``: how long it waits for an upstream's reply."""

    run: Callable[[Play], Awaitable[list[Scene]]]
    reply_s: float | None = None


async def drill(script: Script) -> AsyncIterator[list[Scene]]:
    """The scenes of each act, in their order, as soon as it is over. Raises StageError."""
    turns = asyncio.Semaphore(_AT_ONCE)
    running = [asyncio.create_task(_performed(script, act, turns)) for act in ACTS]
    try:
        for task in running:
            yield _with_missing(await task, script.owner)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _performed(script: Script, act: Act, turns: asyncio.Semaphore) -> list[Scene]:
    async with turns, play(script, reply_s=act.reply_s) as staged:
        return await act.run(staged)


async def _of_outage(what: Outage, staged: Play) -> list[Scene]:
    return [await outage(staged, what)]


async def _of_toggle(staged: Play) -> list[Scene]:
    return [await toggled_off(staged)]


async def _of_dead_letters(staged: Play) -> list[Scene]:
    return [await dead_letters(staged)]


ACTS = (
    Act(outage_and_recovery),
    *(Act(partial(_of_outage, what), what.reply_s) for what in OUTAGES),
    Act(_of_toggle),
    Act(_of_dead_letters),
)
SCENES = len(ACTS) + 1


def _with_missing(scenes: list[Scene], tenant: Tenant | None) -> list[Scene]:
    """Told once, where it is felt first."""
    return [
        scene.also(*_missing(tenant)) if tenant and scene.name == DOWN.name else scene
        for scene in scenes
    ]


def _missing(tenant: Tenant) -> Iterator[Finding]:
    """What people will look for at three in the morning."""
    if tenant.owner is None:
        yield Finding(f"{tenant.name} has no owner")
    if tenant.recovery is None:
        yield Finding(f"{tenant.name} has no recovery: an alert can't say what to do there")
    if tenant.failover is None and tenant.upstream is not None:
        yield Finding(f"{tenant.name} has no failover: while its upstream is down its mail waits")
