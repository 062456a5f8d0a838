"""Alive is who answers, be it with an error; ready is who takes mail and can keep it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from relay.model.ports import StoreError
from relay.web import health
from relay.web.health import Health
from relay.web.observed import Observed


class Relay:
    def __init__(self, try_store: Callable[[], Awaitable[None]], refusal: str | None = None):
        self._try, self._refusal, self.tried = try_store, refusal, 0

    def refusal(self) -> str | None:
        return self._refusal

    async def try_store(self) -> None:
        self.tried += 1
        await self._try()


def health_of(relay: Relay, patience_s: float = 5.0) -> Health:
    return Health(cast(Observed, relay), patience_s)


async def works() -> None: ...


async def fails() -> None:
    raise StoreError("the disk is full")


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_all_is_well() -> None:
    well = health_of(Relay(works))
    assert await well.why_dead() is None
    assert await well.why_unready() is None


async def test_a_store_that_fails() -> None:
    failing = health_of(Relay(fails))
    assert await failing.why_dead() is None
    assert await failing.why_unready() == "the store failed: the disk is full"


async def test_a_writer_that_hangs() -> None:
    hanging = health_of(Relay(hangs), 0.05)
    assert await hanging.why_dead() == "the store's writer gives no answer for 0.05 s"
    assert await hanging.why_unready() == "the store's writer gives no answer for 0.05 s"


async def test_no_mail_is_taken() -> None:
    relay = Relay(works, "the relay is stopping")
    assert await health_of(relay).why_unready() == "the relay is stopping"
    assert await health_of(relay).why_dead() is None


async def test_the_disk_is_spared(monkeypatch: Any) -> None:
    relay = Relay(works)
    asked = health_of(relay)
    await asyncio.gather(*(asked.why_dead() for _ in range(100)))
    assert relay.tried == 1
    monkeypatch.setattr(health, "_ASKED_EVERY_S", 0.0)
    await asked.why_dead()
    assert relay.tried == 2
