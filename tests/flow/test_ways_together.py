"""Several ways at once, each with troubles of its own: found in review, where one way's trouble
reached further than it should.
"""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from support.flows import (
    ONE_LOOP,
    accepted,
    administration,
    endpoint,
    letter,
    submit,
    told,
    trail,
    until,
)
from support.ports import free_port
from support.upstream import SILENCE, Slowly, Upstream

from relay.dispatch.handover import Packer
from relay.model.ports import StoreError
from relay.model.toggle import Toggle

pytestmark = ONE_LOOP

LONG = {"first": "30m", "longest": "1h", "give_up_after": "2d"}
SHORT = {"first": "400ms", "factor": 1, "longest": "400ms", "give_up_after": "2d"}
PILOT = {"upstream": "pi", "percent": 0, "recipients": ["qa@x.example"]}


def acme(**more: Any) -> dict[str, Any]:
    return {"acme": {"domains": ["acme.example"], "upstream": "up"} | more}


async def test_a_closed_way_does_not_hurry_what_was_deferred_on_another(start_relay: Any) -> None:
    """It was tried 700 times in three seconds, at a server that had said "later"."""
    async with Upstream(script={"rcpt": "451 4.3.0 come back later"}) as pilot:
        closed = {"host": "127.0.0.1", "port": free_port(), "tls": "none"}
        upstreams = {"up": closed, "pi": endpoint(pilot)}
        async with start_relay(
            pilot, upstreams=upstreams, tenants=acme(pilot=PILOT), retry=LONG
        ) as relay:
            async with relay.dialogue() as client:
                await accepted(client, "a@x.example")
                await told(relay.folder, "upstream.paused")
                await accepted(client, "qa@x.example", "b@x.example")
            await asyncio.sleep(1)
            asked = [line for _, line in pilot.commands if line.startswith("RCPT")]
            assert len(asked) == 1


async def test_an_error_on_one_way_does_not_cut_another_behind_its_dot(
    start_relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the pilot had taken was forgotten, and sent again without a flag."""
    whole, failed = Packer.hand_over, []

    async def failing(self: Packer, message: Any, route: Any, *more: Any) -> Any:
        if route.upstream == "up" and not failed:
            failed.append(route)
            await asyncio.sleep(0.2)
            raise StoreError("disk I/O error")
        return await whole(self, message, route, *more)

    monkeypatch.setattr(Packer, "hand_over", failing)
    async with Upstream() as own, Upstream(script={"dot": [Slowly(0.6)]}) as pilot:
        upstreams = {"up": endpoint(own), "pi": endpoint(pilot)}
        async with start_relay(
            own, upstreams=upstreams, tenants=acme(pilot=PILOT), retry=SHORT
        ) as relay:
            async with relay.dialogue() as client:
                await accepted(client, "qa@x.example", "b@x.example")
            await own.arrived(1)
            await told(relay.folder, "email.sent", 2)
            assert len(pilot.transactions) == 1


@pytest.mark.parametrize("same_tenant", [True, False])
async def test_a_message_that_an_upstream_cannot_bear_does_not_starve_the_others(
    start_relay: Any, *, same_tenant: bool
) -> None:
    """It was the probe each time: the first by tenant, or by priority."""
    classes = {"hi": {"match": {"sender": "bad@acme.example"}, "priority": "high"}}
    good = "ok@acme.example" if same_tenant else "ok@beta.example"
    tenants = acme() | {"beta": {"domains": ["beta.example"], "upstream": "up"}}
    crashed = {"dot": {"bad@acme.example": "421 4.3.0 crashed", "*": None}}
    async with Upstream(script=crashed) as own:
        async with start_relay(
            own,
            upstreams={"up": endpoint(own)},
            tenants=tenants,
            classes=classes if same_tenant else {},
            retry=SHORT,
        ) as relay:
            async with relay.dialogue() as client:
                for name in "ab":
                    await accepted(client, f"{name}@x.example", sender="bad@acme.example")
                await told(relay.folder, "upstream.paused", within_s=8)
                for i in range(3):
                    await accepted(client, f"good{i}@x.example", sender=good)
            await own.arrived(3, timeout_s=8)
    assert Counter(t.reverse_path for t in own.transactions) == {good: 3}


async def test_a_toggle_counts_for_who_waits_for_a_rate(start_relay: Any) -> None:
    """It left by the old upstream 0.3 s after the tenant was disabled."""
    limits = {"per_second": 0.5}
    async with Upstream() as own, Upstream() as platform:
        upstreams = {"up": endpoint(own, limits=limits), "platform": endpoint(platform)}
        async with start_relay(
            own, upstreams=upstreams, tenants=acme(), default={"upstream": "platform"}
        ) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
                await own.arrived(1)
                begun = time.monotonic()
                await accepted(client)
            # Between two of the looks that the relay takes by itself, just before its turn.
            await asyncio.sleep(1.9 - (time.monotonic() - begun))
            with administration(relay.folder) as store:
                store.set_toggle(Toggle("acme", False, "suspended", "dana", time.time()))
            await platform.arrived(1, timeout_s=5)
            assert len(own.transactions) == 1


async def test_a_refused_null_sender_holds_back_nothing_else(start_relay: Any) -> None:
    """It closed the tenant's whole way, or the upstream for everybody."""
    async with Upstream(script={"mail": {"": "550 5.7.1 no bounces here"}}) as own:
        async with start_relay(own, tenants=acme(), retry=LONG) as relay:
            async with relay.dialogue() as client:
                content = b"From: shop@acme.example\r\nSubject: x\r\n\r\nx\r\n"
                reply = await submit(client, "a@x.example", sender="", content=content)
                assert reply.startswith("250")
                (paused,) = await told(relay.folder, "upstream.paused")
                assert (paused["scope"], paused["sender"]) == ("sender", "<>")
                await accepted(client)
            await own.arrived(1, timeout_s=3)


async def test_stopping_the_relay_is_no_failure_of_the_upstream(start_relay: Any) -> None:
    """Two messages that our own end had cut paused it, and told its owner."""
    async with Upstream(script={"data": SILENCE}) as own:
        timeouts = {"drain": "100ms"}
        async with start_relay(own, tenants=acme(), timeouts=timeouts, retry=LONG) as relay:
            async with relay.dialogue() as client:
                for name in "ab":
                    await accepted(client, f"{name}@x.example")
            await until(lambda: len([c for _, c in own.commands if c == "DATA"]) == 2)
            folder = relay.folder
    assert not trail(folder, "upstream.paused")
    with administration(folder) as store:
        listed = list(store.messages(dead=False))
    assert [r.attempts for one in listed for r in one.message.recipients] == [0, 0]


async def test_a_class_with_a_way_of_its_own_does_not_wait_behind_a_hung_upstream(
    start_relay: Any,
) -> None:
    """A one-time code that had met one 451 was not tried again while the tenant's upstream hung."""
    otp = {"match": {"subject": "code"}, "priority": "high", "upstream": "ot"}
    otp |= {"retry": {"first": "300ms", "longest": "300ms"}}
    async with (
        Upstream(script={"dot": SILENCE}) as own,
        Upstream(script={"rcpt": ["451 4.3.0 later"]}) as other,
    ):
        upstreams = {"up": endpoint(own), "ot": endpoint(other)}
        timeouts = {"drain": "100ms"}
        async with start_relay(
            own, upstreams=upstreams, tenants=acme(), classes={"otp": otp}, timeouts=timeouts
        ) as relay:
            async with relay.dialogue() as client:
                for i in range(80):
                    await accepted(client, f"r{i}@x.example")
                await accepted(client, "code@x.example", content=letter("your code"))
            await other.arrived(1, timeout_s=5)
