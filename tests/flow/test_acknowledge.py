"""``acknowledge: relayed``: the application hears what the upstream says."""

import asyncio
import socket
import struct
import time
from typing import Any

import pytest
from support.flows import (
    ONE_LOOP,
    accepted,
    administration,
    endpoint,
    letter,
    names,
    receivers,
    stored,
    submit,
    told,
    trail,
)
from support.ports import free_port
from support.upstream import SILENCE, Slowly, Upstream

from relay.model.suppression import Source, Suppression

pytestmark = ONE_LOOP

REFUSED = "550 5.7.1 not from you, not today"


def relayed(within: str = "2s", **more: Any) -> dict[str, Any]:
    acme = {"domains": ["acme.example"], "upstream": "up"}
    return {"acme": acme | {"acknowledge": {"mode": "relayed", "within": within}} | more}


async def test_the_upstreams_own_words(start_relay: Any) -> None:
    async with Upstream(script={"dot": "250 2.6.0 <17@up> stored as 17"}) as own:
        async with start_relay(own, tenants=relayed()) as relay, relay.dialogue() as client:
            assert await submit(client) == "250 2.6.0 <17@up> stored as 17"
            assert await submit(client, "b@x.example", "c@x.example") == (
                "250 2.6.0 <17@up> stored as 17"
            )
            # What was said is stored.
            assert len(trail(relay.folder, "email.sent")) == 2
            assert not stored(relay.folder, dead=False)
    assert receivers(own) == ["a@x.example", "b@x.example", "c@x.example"]


async def test_the_words_of_a_reply_of_many_lines_are_one_reply(start_relay: Any) -> None:
    async with Upstream(script={"dot": "250 2.0.0 taken\n250 2.0.0 as 17"}) as own:
        async with start_relay(own, tenants=relayed()) as relay, relay.dialogue() as client:
            reply = await submit(client)
            assert reply.startswith("250")
            assert "taken" in reply
            assert (await submit(client)).startswith("250")


@pytest.mark.parametrize(
    "script", [{"dot": REFUSED}, {"rcpt": REFUSED}, {"data": REFUSED}], ids=["dot", "rcpt", "data"]
)
async def test_a_refusal_of_all_is_the_applications_to_hear(start_relay: Any, script: Any) -> None:
    async with Upstream(script=dict(script)) as own:
        async with (
            start_relay(
                own, tenants=relayed(dsn=True, owner="dana@acme.example"), alerts={"gather": "0s"}
            ) as relay,
            relay.dialogue() as client,
        ):
            assert await submit(client, "a@x.example", "b@x.example") == REFUSED
            (failed,) = await told(relay.folder, "email.send_failed")
            assert failed["recipients"] == ["a@x.example", "b@x.example"]
            await asyncio.sleep(0.2)
            about = names(trail(relay.folder, queue_id=failed["queue_id"]))
            assert about == ["email.accepted", "email.send_failed"]
            assert not stored(relay.folder, dead=True)
            assert not stored(relay.folder, dead=False)
            assert not trail(relay.folder, "email.dsn_sent")
            # The session goes on.
            own.script.clear()
            assert (await submit(client)).startswith("250 2.0.0 taken")
        (rejected,) = trail(relay.folder, "email.rejected")
        assert rejected["reply"]["code"] == 550


async def test_a_refusal_of_all_in_several_handovers(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": REFUSED}) as own:
        upstreams = {"up": endpoint(own, limits={"recipients": 1})}
        async with start_relay(own, upstreams=upstreams, tenants=relayed()) as relay:
            async with relay.dialogue() as client:
                assert await submit(client, "a@x.example", "b@x.example") == REFUSED
            assert not stored(relay.folder, dead=True)


async def test_a_refusal_of_some_is_the_queues_affair(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": {"bad@x.example": REFUSED}}) as own:
        async with start_relay(own, tenants=relayed()) as relay, relay.dialogue() as client:
            queue_id = await accepted(client, "good@x.example", "bad@x.example")
            (dead,) = await told(relay.folder, "email.dead_lettered")
            assert dead["queue_id"] == queue_id
            assert dead["recipients"] == ["bad@x.example"]
    assert receivers(own) == ["good@x.example"]


async def test_a_message_that_is_deferred_is_answered_at_once(start_relay: Any) -> None:
    async with Upstream(script={"dot": ["451 4.3.0 later"]}) as own:
        async with start_relay(own, tenants=relayed("30s")) as relay, relay.dialogue() as client:
            started = time.monotonic()
            await accepted(client)
            assert time.monotonic() - started < 1
            await own.arrived(1)


async def test_a_slow_upstream_is_waited_for_so_long_and_no_longer(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(1.5)}) as own:
        async with start_relay(own, tenants=relayed("1s")) as relay, relay.dialogue() as client:
            started = time.monotonic()
            await accepted(client)
            assert 0.9 < time.monotonic() - started < 1.4
            await own.arrived(1)
            await told(relay.folder, "email.sent")
            # The late answer is nobody's: the dialogue is where it was.
            own.script.clear()
            assert (await submit(client)).startswith("250 2.0.0 taken")


async def test_a_refusal_that_comes_too_late_is_a_dead_letter(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(1.3, REFUSED)}) as own:
        async with start_relay(own, tenants=relayed("1s")) as relay, relay.dialogue() as client:
            queue_id = await accepted(client)
            (dead,) = await told(relay.folder, "email.dead_lettered")
            assert dead["queue_id"] == queue_id
            assert (await client.say("NOOP")).startswith("250")


async def hang_up_while_waiting(start_relay: Any, *, politely: bool) -> None:
    async with Upstream(script={"dot": Slowly(0.5, REFUSED)}) as own:
        async with start_relay(own, tenants=relayed(dsn=True)) as relay:
            async with relay.dialogue() as client:
                for command in ("MAIL FROM:<shop@acme.example>", "RCPT TO:<a@x.example>", "DATA"):
                    await client.say(command)
                client.send(letter() + b".\r\n")
                await told(relay.folder, "email.accepted")
                if not politely:
                    at_once = struct.pack("ii", 1, 0)
                    connection = client.writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                client.writer.transport.abort()
            (dead,) = await told(relay.folder, "email.dead_lettered", within_s=2)
            assert dead["queue_id"] in stored(relay.folder, dead=True)
            await told(relay.folder, "email.dsn_sent", queue_id=dead["queue_id"])


async def test_a_client_that_was_cut_off_does_not_hear_it(start_relay: Any) -> None:
    await hang_up_while_waiting(start_relay, politely=False)


async def test_a_client_that_has_gone_does_not_hear_it(start_relay: Any) -> None:
    """Its program ended, or lost its patience: nobody hears of the failure otherwise."""
    await hang_up_while_waiting(start_relay, politely=True)


async def test_an_upstream_that_is_down_is_not_waited_for(start_relay: Any) -> None:
    nobody = Upstream()
    nobody.port = free_port()
    upstreams = {"up": endpoint(nobody)}
    async with start_relay(nobody, upstreams=upstreams, tenants=relayed("30s")) as relay:
        async with relay.dialogue() as client:
            for _ in range(3):
                started = time.monotonic()
                await accepted(client)
                assert time.monotonic() - started < 2
        assert len(stored(relay.folder, dead=False)) == 3


async def test_others_are_served_while_one_waits(start_relay: Any) -> None:
    tenants = relayed("5s") | {"globex": {"domains": ["globex.example"], "upstream": "other"}}
    async with Upstream(script={"dot": SILENCE}) as own, Upstream() as other:
        upstreams = {"up": endpoint(own), "other": endpoint(other)}
        async with start_relay(
            own, upstreams=upstreams, tenants=tenants, timeouts={"drain": "100ms"}
        ) as relay, relay.dialogue() as one, relay.dialogue() as two:  # fmt: skip
            waiting = asyncio.create_task(submit(one))
            await asyncio.sleep(0.1)
            await accepted(two, sender="a@globex.example")
            await other.arrived(1, timeout_s=2)
            assert not waiting.done()
            waiting.cancel()


async def test_a_stop_in_the_middle_still_answers(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(0.5)}) as own:
        async with start_relay(own, tenants=relayed("5s")) as relay:
            async with relay.dialogue() as client:
                waiting = asyncio.create_task(submit(client))
                await told(relay.folder, "email.accepted")
                relay.app.stop("test")
                assert (await waiting).startswith("250")
    assert len(own.transactions) == 1


async def test_a_suppressed_recipient_is_no_refusal(start_relay: Any) -> None:
    async with Upstream() as own:
        async with start_relay(own, tenants=relayed("30s")) as relay:
            entry = Suppression(
                "acme", "gone@x.example", Source.MANUAL, "left", "test", time.time()
            )
            with administration(relay.folder) as store:
                store.suppress([entry])
            async with relay.dialogue() as client:
                started = time.monotonic()
                await accepted(client, "gone@x.example")
                await accepted(client, "gone@x.example", "here@x.example")
                assert time.monotonic() - started < 5
    assert receivers(own) == ["here@x.example"]


async def test_what_the_upstream_is_known_not_to_take_is_refused_in_our_words(
    start_relay: Any,
) -> None:
    """It never said anything itself, so there was a 250 and a dead letter."""
    async with Upstream(extensions=("PIPELINING", "SIZE 100")) as own:
        tenants = {
            "acme": {"domains": ["acme.example"], "upstream": "up", "acknowledge": "relayed"}
        }
        async with start_relay(own, tenants=tenants) as relay, relay.dialogue() as client:
            assert (await submit(client, "a@x.example")).startswith("552 5.3.4")
            assert not stored(relay.folder, dead=True)
