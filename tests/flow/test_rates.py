"""What an upstream bears: mail that is more waits, in order, and says until when."""

import asyncio
import time
from typing import Any

import pytest
from support.flows import (
    ONE_LOOP,
    accepted,
    endpoint,
    receivers,
    stored,
    submit,
    told,
    trail,
    until,
)
from support.upstream import Upstream

pytestmark = ONE_LOOP

DEFAULT = {"upstream": "platform"}


def by_default(*names: str) -> dict[str, Any]:
    return {name: {"domains": [f"{name}.example"]} for name in names}


async def test_per_second_spreads_the_mail(start_relay: Any) -> None:
    async with Upstream() as own:
        upstreams = {"up": endpoint(own, limits={"per_second": 4, "connections": 1})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            for i in range(10):
                await accepted(client, f"r{i}@x.example")
            await own.arrived(10)
            # A wait that is over in a second is no pause, and no failure.
            assert not trail(relay.folder, "upstream.paused")
            assert not trail(relay.folder, "email.deferred")
    times = [taken.at for taken in own.transactions]
    assert all(later - earlier > 0.95 for earlier, later in zip(times, times[4:], strict=False))
    assert times[-1] - times[0] < 3.5
    assert receivers(own) == [f"r{i}@x.example" for i in range(10)]


async def test_less_than_one_in_a_second(start_relay: Any) -> None:
    async with Upstream() as own:
        upstreams = {"up": endpoint(own, limits={"per_second": 0.8})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            await accepted(client)
            await accepted(client)
            first, second = await own.arrived(2)
    assert 1.15 < second.at - first.at < 2


async def test_recipients_are_counted_where_the_provider_does(start_relay: Any) -> None:
    async with Upstream() as own:
        limits = {"per_second": 2, "counts": "recipients"}
        upstreams = {"up": endpoint(own, limits=limits)}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            await accepted(client, "a@x.example", "b@x.example", "c@x.example")
            first, second = await own.arrived(2)
    # Three at once would break the limit by themselves.
    assert (first.recipients, second.recipients) == (
        ("a@x.example", "b@x.example"),
        ("c@x.example",),
    )
    assert second.at - first.at > 0.95


async def test_a_days_quota_holds_and_is_told_once(start_relay: Any) -> None:
    async with Upstream() as own, Upstream() as other:
        upstreams = {"up": endpoint(own, limits={"per_day": 2}), "other": endpoint(other)}
        tenants = {
            "acme": {"domains": ["acme.example"], "upstream": "up"},
            "globex": {"domains": ["globex.example"], "upstream": "other"},
        }
        more: dict[str, Any] = {"upstreams": upstreams, "tenants": tenants}
        async with start_relay(own, **more) as relay, relay.dialogue() as client:
            for i in range(6):
                await accepted(client, f"r{i}@x.example")
            (paused,) = await told(relay.folder, "upstream.paused")
            assert (paused["upstream"], paused["scope"]) == ("up", "upstream")
            assert (paused["cause"], paused["actor"]) == ("quota_exceeded", "relay")
            assert "per_day" in paused["detail"]
            assert paused["remedy"]
            assert _seconds_until(paused["until"]) > 86000
            await accepted(client, sender="a@globex.example")
            await other.arrived(1)
            await asyncio.sleep(0.5)
            assert len(own.transactions) == 2
            waiting = stored(relay.folder, dead=False)
            assert len(waiting) == 4
        # The count is not forgotten, nor is the pause told anew.
        async with start_relay(own, **more) as relay, relay.dialogue() as client:
            await accepted(client)
            await asyncio.sleep(0.7)
            assert len(own.transactions) == 2
            assert len(trail(relay.folder, "upstream.paused")) == 1
            assert not trail(relay.folder, "upstream.resumed")
            assert not trail(relay.folder, "email.deferred")
    assert receivers(own) == ["r0@x.example", "r1@x.example"]


def _seconds_until(until: Any) -> float:
    from datetime import datetime

    if isinstance(until, str):
        return datetime.fromisoformat(until).timestamp() - time.time()
    return float(until) - time.time()


async def test_a_higher_quota_after_a_restart_opens_the_way(start_relay: Any) -> None:
    async with Upstream() as own:
        few = {"up": endpoint(own, limits={"per_day": 1})}
        async with start_relay(own, upstreams=few) as relay, relay.dialogue() as client:
            for _ in range(3):
                await accepted(client)
            await told(relay.folder, "upstream.paused")
        many = {"up": endpoint(own, limits={"per_day": 100})}
        async with start_relay(own, upstreams=many) as relay:
            await own.arrived(3)
            await told(relay.folder, "upstream.resumed")


async def test_what_the_upstream_refuses_counts_and_what_it_never_saw_does_not(
    start_relay: Any,
) -> None:
    """A connection that never came about costs nothing of the quota."""
    async with Upstream(script={"banner": ["421 4.3.2 busy"] * 3}) as own:
        upstreams = {"up": endpoint(own, limits={"per_hour": 2})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            await accepted(client)
            await accepted(client)
            await own.arrived(2)
            assert not trail(relay.folder, "upstream.paused", cause="quota_exceeded")


@pytest.mark.parametrize(
    "rates",
    [
        {"per_hour": 2},
        {"per_day": 2},
        {"per_minute": 2},
    ],
)
async def test_the_default_caps_each_tenant_by_itself(start_relay: Any, rates: Any) -> None:
    async with Upstream() as platform:
        async with (
            start_relay(
                platform,
                upstreams={"platform": endpoint(platform)},
                tenants=by_default("acme", "globex"),
                default=DEFAULT | {"per_tenant": rates},
                timeouts={"drain": "100ms"},
            ) as relay,
            relay.dialogue() as client,
        ):
            for i in range(6):
                await accepted(client, f"acme{i}@x.example")
            await platform.arrived(2)
            await asyncio.sleep(0.3)
            for i in range(2):
                await accepted(client, f"globex{i}@x.example", sender="a@globex.example")
            await platform.arrived(4, timeout_s=3)
            await asyncio.sleep(0.3)
            if "per_minute" not in rates:
                (paused,) = trail(relay.folder, "upstream.paused")
                assert (paused["tenant"], paused["scope"]) == ("acme", "tenant")
                assert paused["cause"] == "quota_exceeded"
    assert sorted(receivers(platform)) == [
        "acme0@x.example", "acme1@x.example", "globex0@x.example", "globex1@x.example",
    ]  # fmt: skip


async def test_unrouted_mail_is_no_tenants_and_holds_up_none(start_relay: Any) -> None:
    async with Upstream() as platform:
        async with (
            start_relay(
                platform,
                upstreams={"platform": endpoint(platform)},
                tenants=by_default("acme"),
                default=DEFAULT | {"per_tenant": {"per_hour": 1}},
            ) as relay,
            relay.dialogue() as client,
        ):
            for i in range(3):
                await accepted(client, f"nobody{i}@x.example", sender="a@unrouted.example")
            await platform.arrived(1)
            await accepted(client, "acme@x.example")
            await until(lambda: "acme@x.example" in receivers(platform), 3)


async def test_recipients_are_counted_on_the_default(start_relay: Any) -> None:
    """One message to many is no way around the cap."""
    async with Upstream() as platform:
        async with (
            start_relay(
                platform,
                upstreams={"platform": endpoint(platform)},
                tenants=by_default("acme"),
                default=DEFAULT | {"per_tenant": {"per_hour": 3}},
            ) as relay,
            relay.dialogue() as client,
        ):
            reply = await submit(client, *(f"r{i}@x.example" for i in range(5)))
            assert reply.startswith("250")
            await told(relay.folder, "upstream.paused")
            await asyncio.sleep(0.2)
            (states,) = stored(relay.folder, dead=False).values()
    assert receivers(platform) == [f"r{i}@x.example" for i in range(3)]
    assert list(states.values()) == ["relayed"] * 3 + ["pending"] * 2
