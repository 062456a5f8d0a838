"""What is held back after failures, for how long, and what is not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.flows import Event, accepted, administration, endpoint, told, trail, until
from support.ports import free_port
from support.upstream import Script, Slowly, Upstream

BYE = "421 4.3.2 closing"
NO = "550 5.7.60 you may not send as this sender"

# Pauses that are soon over; and one that no test lives to see the end of.
SHORT = {"first": "150ms", "factor": 1.3, "longest": "300ms", "give_up_after": "5m"}
LONG = {"first": "30m", "longest": "1h", "give_up_after": "2d"}
ACME = {"domains": ["acme.example"], "upstream": "up"}
GLOBEX = {"domains": ["globex.example"], "upstream": "up"}


@contextlib.asynccontextmanager
async def closed() -> AsyncIterator[Upstream]:
    """One that is not there yet; ``start`` it."""
    upstream = Upstream()
    upstream.port = free_port()
    try:
        yield upstream
    finally:
        await upstream.stop()


def paused(folder: Path, **fields: Any) -> list[Event]:
    return trail(folder, "upstream.paused", **fields)


def resumed(folder: Path, **fields: Any) -> list[Event]:
    return trail(folder, "upstream.resumed", **fields)


async def pause(folder: Path, upstream: str = "up", until: float | None = None) -> None:
    def do() -> None:
        with administration(folder) as store:
            store.pause_upstream(upstream, "dana", "maintenance", until)

    await asyncio.to_thread(do)


async def resume(folder: Path, upstream: str = "up") -> None:
    def do() -> None:
        with administration(folder) as store:
            store.resume_upstream(upstream, "dana", "it is over")

    await asyncio.to_thread(do)


def attempts(folder: Path) -> list[int]:
    """How many failures of its own each queued recipient has."""
    with administration(folder) as store:
        return [r.attempts for listed in store.messages(False) for r in listed.message.recipients]


class Watch:
    """Notes the most there was of something, at any time while it watched."""

    def __init__(self, value: Callable[[], int]) -> None:
        self._value = value
        self.most = 0

    async def __aenter__(self) -> "Watch":
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self._value())
            await asyncio.sleep(0.002)


# -- the whole upstream


async def test_thirty_wait_and_one_at_a_time_probes(start_relay: Any) -> None:
    """``attempts: 1`` would end any of them at its first failure, if it were its own."""
    async with Upstream(script={"banner": Slowly(0.03, BYE)}) as own:
        upstreams = {"up": endpoint(own, limits={"connections": 4})}
        retry = SHORT | {"attempts": 1}
        async with start_relay(own, upstreams=upstreams, retry=retry) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
                await told(relay.folder, "upstream.paused")
                for _ in range(29):
                    await accepted(client)
            async with Watch(lambda: own.open_connections) as watch:
                failures = await told(relay.folder, "email.deferred", 4)
            assert watch.most == 1
            probes = [failure["queue_id"] for failure in failures[1:]]
            assert len(set(probes)) == len(probes)
            assert await asyncio.to_thread(attempts, relay.folder) == [0] * 30
            assert not resumed(relay.folder)
            own.script.clear()
            await own.arrived(30)
            await told(relay.folder, "email.sent", 30)
            assert len(paused(relay.folder)) == len(resumed(relay.folder)) == 1
    assert len(own.transactions) == 30


async def test_the_first_probe_is_another_message(start_relay: Any) -> None:
    async with Upstream(script={"banner": BYE}) as own, start_relay(own, retry=SHORT) as relay:
        async with relay.dialogue() as client:
            first = await accepted(client)
            await told(relay.folder, "upstream.paused")
            await accepted(client)
        (_, probe, *_) = await told(relay.folder, "email.deferred", 2)
        assert probe["queue_id"] != first


async def test_another_login_at_the_same_host_is_not_concerned(start_relay: Any) -> None:
    async with Upstream(users={"acme": "right", "globex": "right"}) as own:
        upstreams = {
            "up": endpoint(own, username="acme", password="wrong"),
            "other": endpoint(own, username="globex", password="right"),
        }
        tenants = {"acme": ACME, "globex": GLOBEX | {"upstream": "other"}}
        async with start_relay(own, upstreams=upstreams, tenants=tenants, retry=LONG) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
                (one,) = await told(relay.folder, "upstream.paused")
                await accepted(client, sender="shop@globex.example")
                await own.arrived(1, timeout_s=2)
    assert (one["upstream"], one["cause"]) == ("up", "authentication_failed")
    assert [t.user for t in own.transactions] == ["globex"]


@pytest.mark.parametrize(("down", "up"), [("up", "fast"), ("fast", "up")])
async def test_mail_of_the_tenant_that_takes_another_way_goes_on(
    start_relay: Any, down: str, up: str
) -> None:
    """A class has an upstream of its own; more mail waits than fits in memory for one upstream."""
    classes = {"codes": {"match": {"subject": "code"}, "upstream": "fast"}}
    subject = {"up": "hi", "fast": "code"}
    content = {name: f"Subject: {subject[name]}\r\n\r\n".encode() for name in subject}
    async with Upstream() as server, closed() as gone:
        upstreams = {up: endpoint(server), down: endpoint(gone)}
        more: dict[str, Any] = {"upstreams": upstreams, "classes": classes, "retry": LONG}
        async with start_relay(server, **more) as relay, relay.dialogue() as client:
            for _ in range(100):
                await accepted(client, content=content[down])
            await told(relay.folder, "upstream.paused", upstream=down)
            for i in range(20):
                await accepted(client, f"r{i}@x.example", content=content[up])
            await server.arrived(20, timeout_s=3)
            assert [p["upstream"] for p in paused(relay.folder)] == [down]


async def test_a_421_after_mail_counts_when_a_second_message_meets_it(start_relay: Any) -> None:
    script: Script = {"rcpt": {"bad@x.example": BYE}}
    async with Upstream(script=script) as own, start_relay(own, retry=SHORT) as relay:
        async with relay.dialogue() as client:
            await accepted(client, "bad@x.example")
            await told(relay.folder, "email.deferred", 3)
            assert not paused(relay.folder)
            assert await asyncio.to_thread(attempts, relay.folder) >= [2]
            await accepted(client, "good@x.example")
            await own.arrived(1, timeout_s=1)
            own.script["rcpt"] = BYE
            await accepted(client, "good@x.example")
            (one,) = await told(relay.folder, "upstream.paused")
            assert (one["scope"], one["cause"]) == ("upstream", "upstream_unavailable")
            own.script.clear()
            await own.arrived(3)
            await told(relay.folder, "upstream.resumed")
            assert len(paused(relay.folder)) == len(resumed(relay.folder)) == 1


# -- senders, and a tenant's way


async def test_a_refused_sender_holds_back_that_address_alone(start_relay: Any) -> None:
    async with Upstream(script={"mail": {"a@acme.example": NO}}) as own:
        async with start_relay(own, retry=SHORT) as relay, relay.dialogue() as client:
            for _ in range(5):
                await accepted(client, sender="a@acme.example")
            await told(relay.folder, "email.deferred", 2)
            for _ in range(5):
                await accepted(client, sender="b@acme.example")
            await own.arrived(5, timeout_s=2)
            await told(relay.folder, "email.sent", 5)
            (one,) = paused(relay.folder)
            assert (one["scope"], one["sender"]) == ("sender", "a@acme.example")
            assert one["tenant"] == "acme"
            assert await asyncio.to_thread(attempts, relay.folder) == [0] * 5
            own.script.clear()
            await own.arrived(10)
            (over,) = await told(relay.folder, "upstream.resumed")
            assert (over["scope"], over["sender"]) == ("sender", "a@acme.example")


async def refuse(relay: Any, client: Any, *names: str) -> None:
    for name in names:
        await accepted(client, sender=f"{name}@acme.example")
        await told(relay.folder, "upstream.paused", sender=f"{name}@acme.example")


async def test_three_refused_senders_close_the_tenants_way(start_relay: Any) -> None:
    """And not that of the other tenant on the same upstream."""
    script: Script = {"mail": {f"{name}@acme.example": NO for name in "abcd"}}
    tenants = {"acme": ACME, "globex": GLOBEX}
    async with Upstream(script=script) as own:
        async with start_relay(own, tenants=tenants, retry=LONG) as relay:
            async with relay.dialogue() as client:
                await refuse(relay, client, "a", "b")
                assert not paused(relay.folder, scope="tenant")
                await refuse(relay, client, "c")
                (way,) = await told(relay.folder, "upstream.paused", scope="tenant")
                assert (way["tenant"], way["cause"]) == ("acme", "sender_refused")
                own.commands.clear()
                await accepted(client, sender="good@acme.example")
                await accepted(client, sender="a@globex.example")
                await own.arrived(1, timeout_s=2)
                await asyncio.sleep(0.3)
            assert [t.reverse_path for t in own.transactions] == ["a@globex.example"]
            assert not [line for _, line in own.commands if "@acme.example" in line]
            own.script.clear()
            await resume(relay.folder)
            await own.arrived(5)
            scopes = [event["scope"] for event in await told(relay.folder, "upstream.resumed", 4)]
            assert sorted(scopes) == ["sender", "sender", "sender", "tenant"]


async def test_two_refused_senders_and_a_success_are_no_reason(start_relay: Any) -> None:
    script: Script = {"mail": {f"{name}@acme.example": NO for name in "abcd"}}
    async with Upstream(script=script) as own:
        async with start_relay(own, retry=LONG) as relay, relay.dialogue() as client:
            await refuse(relay, client, "a", "b")
            await accepted(client, sender="good@acme.example")
            await own.arrived(1, timeout_s=2)
            await refuse(relay, client, "c", "d")
            await accepted(client, sender="good@acme.example")
            await own.arrived(2, timeout_s=2)
            assert not paused(relay.folder, scope="tenant")


async def test_a_good_sender_reopens_the_tenants_way(start_relay: Any) -> None:
    """It is the probe sooner or later, though three bad ones have waited for longer."""
    script: Script = {"mail": {f"{name}@acme.example": NO for name in "abc"}}
    async with Upstream(script=script) as own:
        async with start_relay(own, retry=SHORT) as relay, relay.dialogue() as client:
            await refuse(relay, client, "a", "b", "c")
            await told(relay.folder, "upstream.paused", scope="tenant")
            await accepted(client, sender="good@acme.example")
            await own.arrived(1, timeout_s=5)
            await told(relay.folder, "upstream.resumed", scope="tenant")


# -- by hand


async def test_a_pause_by_hand_holds_before_the_next_attempt(start_relay: Any) -> None:
    """The message that is under way goes, those in line behind it do not."""
    async with Upstream(script={"dot": Slowly(0.3)}) as own:
        upstreams = {"up": endpoint(own, limits={"connections": 1})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            for _ in range(3):
                await accepted(client)
            await until(lambda: any(line == "DATA" for _, line in own.commands))
            await pause(relay.folder)
            await accepted(client)
            await asyncio.sleep(1.5)
            assert len(own.transactions) == 1
            own.script.clear()
            await resume(relay.folder)
            await own.arrived(4, timeout_s=3)
            (one,), (over,) = paused(relay.folder), resumed(relay.folder)
            assert (one["actor"], one["reason"], one["until"]) == ("dana", "maintenance", None)
            assert (over["actor"], over["reason"]) == ("dana", "it is over")
            assert not trail(relay.folder, "email.deferred")


async def test_a_pause_by_hand_survives_restarts(start_relay: Any) -> None:
    """Made and ended while the relay is down, and in force while it is up."""
    async with Upstream() as own:
        async with start_relay(own) as relay:
            folder = relay.folder
        await pause(folder)
        async with start_relay(own) as relay, relay.dialogue() as client:
            await accepted(client)
        async with start_relay(own):
            await asyncio.sleep(0.5)
            assert not own.connections
        await resume(folder)
        async with start_relay(own):
            await own.arrived(1, timeout_s=2)
    assert len(paused(folder)) == len(resumed(folder)) == 1


async def test_a_pause_by_hand_ends_at_its_time(start_relay: Any) -> None:
    async with Upstream() as own, start_relay(own) as relay, relay.dialogue() as client:
        await pause(relay.folder, until=time.time() + 1.0)
        await accepted(client)
        await asyncio.sleep(0.5)
        assert not own.connections
        await own.arrived(1, timeout_s=3)
        (over,) = await told(relay.folder, "upstream.resumed")
        assert (over["actor"], over["reason"]) == ("dana", "")


async def test_resumed_by_hand_it_is_tried_at_once(start_relay: Any) -> None:
    """In vain first: then it is paused anew, and told of anew."""
    async with (
        closed() as own,
        start_relay(own, retry=LONG) as relay,
        relay.dialogue() as client,
    ):
        await accepted(client)
        await told(relay.folder, "upstream.paused")
        await resume(relay.folder)
        await told(relay.folder, "upstream.paused", 2)
        await own.start()
        await resume(relay.folder)
        await own.arrived(1, timeout_s=3)
        assert len(paused(relay.folder)) == len(resumed(relay.folder)) == 2


# -- restarts


async def test_a_backlog_behind_a_pause_is_probed_at_once_by_the_next_life(
    start_relay: Any,
) -> None:
    async with closed() as own:
        async with start_relay(own, retry=LONG) as relay, relay.dialogue() as client:
            for i in range(150):
                await accepted(client, f"r{i}@x.example")
            await told(relay.folder, "upstream.paused")
        async with start_relay(own, retry=LONG):
            # In vain: one attempt, and nothing to tell that was not told.
            await told(relay.folder, "relay.started", 2)
            failures = len(trail(relay.folder, "email.deferred"))
            await told(relay.folder, "email.deferred", failures)
            await asyncio.sleep(0.3)
            assert len(paused(relay.folder)) == 1
            assert not resumed(relay.folder)
        await own.start()
        async with start_relay(own, retry=LONG):
            await own.arrived(150)
            await told(relay.folder, "email.sent", 150)
        receivers = [t.recipients[0] for t in own.transactions]
        assert sorted(receivers) == sorted(f"r{i}@x.example" for i in range(150))
        assert len(paused(relay.folder)) == len(resumed(relay.folder)) == 1


# -- age goes on


async def check_expired(folder: Path, queue_id: str, last_cause: str | None) -> None:
    (event,) = await told(folder, "email.expired", queue_id=queue_id, within_s=5)
    assert (event["cause"], event["last_cause"]) == ("expired", last_cause)
    await told(folder, "email.dead_lettered", queue_id=queue_id)


async def test_a_message_of_a_class_expires_during_a_pause(start_relay: Any) -> None:
    classes = {"codes": {"match": {"subject": "code"}, "give_up_after": "1s"}}
    async with Upstream() as own, start_relay(own, classes=classes) as relay:
        async with relay.dialogue() as client:
            await pause(relay.folder)
            code = await accepted(client, "code@x.example", content=b"Subject: code\r\n\r\n")
            await accepted(client, "other@x.example")
            await check_expired(relay.folder, code, None)
            await resume(relay.folder)
            await own.arrived(1, timeout_s=3)
            await asyncio.sleep(0.2)
    assert [t.recipients for t in own.transactions] == [("other@x.example",)]


async def test_any_message_expires_during_a_pause(start_relay: Any) -> None:
    """The one that began the pause has met its cause, the other was never tried."""
    retry = {"first": "100ms", "longest": "200ms", "give_up_after": "2s"}
    async with (
        closed() as own,
        start_relay(own, retry=retry) as relay,
        relay.dialogue() as client,
    ):
        first = await accepted(client)
        await told(relay.folder, "upstream.paused")
        await pause(relay.folder)
        second = await accepted(client)
        await check_expired(relay.folder, first, "connection_refused")
        await check_expired(relay.folder, second, None)


# -- failover


FAILOVER = ACME | {
    "from": "Acme <noreply@acme.example>",
    "rewrite_from": "always",
    "failover": {"to": ["broken", "spare"], "after": "600ms"},
}


async def test_failover_takes_over_and_gives_back(start_relay: Any) -> None:
    """Under the tenant's own identity; the first of the failovers is down as well."""
    async with closed() as own, closed() as broken, Upstream() as spare, Upstream() as platform:
        upstreams = {
            "up": endpoint(own),
            "broken": endpoint(broken),
            "spare": endpoint(spare),
            "platform": endpoint(platform),
        }
        default = {"upstream": "platform", "from": "Platform <noreply@platform.example>"}
        more: dict[str, Any] = {"upstreams": upstreams, "tenants": {"acme": FAILOVER}}
        more |= {"retry": LONG, "default": default}
        async with start_relay(own, **more) as relay, relay.dialogue() as client:
            await accepted(client)
            await told(relay.folder, "upstream.paused", upstream="up")
            await asyncio.sleep(0.2)
            assert not spare.connections, "before its time"
            (taken,) = await spare.arrived(1, timeout_s=3)
            (sent,) = await told(relay.folder, "email.sent")
            assert (sent["route"], sent["upstream"]) == ("failover", "spare")
            assert taken.reverse_path == "noreply@acme.example"
            assert b"From: Acme <noreply@acme.example>\r\n" in taken.header
            await accepted(client)
            await spare.arrived(2, timeout_s=1)
            await own.start()
            await resume(relay.folder)
            await told(relay.folder, "upstream.resumed", upstream="up")
            await accepted(client)
            await own.arrived(1, timeout_s=2)
            assert not platform.connections
            assert len(spare.transactions) == 2


async def test_the_upstream_is_probed_though_its_failover_takes_the_mail(start_relay: Any) -> None:
    """Otherwise it would never come back by itself."""
    failover = {"to": ["spare"], "after": "200ms"}
    async with closed() as own, Upstream() as spare:
        more: dict[str, Any] = {"upstreams": {"up": endpoint(own), "spare": endpoint(spare)}}
        more |= {"tenants": {"acme": ACME | {"failover": failover}}, "retry": SHORT}
        async with start_relay(own, **more) as relay, relay.dialogue() as client:
            await accepted(client)
            await spare.arrived(1, timeout_s=3)
            await own.start()
            for _ in range(20):
                await accepted(client)
                await asyncio.sleep(0.1)
                if own.transactions:
                    break
            assert own.transactions
            await told(relay.folder, "upstream.resumed", upstream="up")


async def test_the_default_is_no_failover(start_relay: Any) -> None:
    async with closed() as own, Upstream() as platform:
        more: dict[str, Any] = {"upstreams": {"up": endpoint(own), "platform": endpoint(platform)}}
        more |= {"default": {"upstream": "platform"}, "retry": SHORT}
        async with start_relay(own, **more) as relay, relay.dialogue() as client:
            await accepted(client)
            await told(relay.folder, "email.deferred", 2)
            assert not platform.connections
