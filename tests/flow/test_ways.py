"""What changes on the way out: pilots, null reverse-paths, keys, 8-bit content, many recipients."""

import asyncio
from typing import Any

import pytest
from support.flows import (
    ONE_LOOP,
    accepted,
    administration,
    endpoint,
    letter,
    receivers,
    stored,
    told,
    trail,
    until,
)
from support.mail import BODY, message
from support.upstream import SILENCE, Upstream

from relay.model.toggle import Toggle

pytestmark = ONE_LOOP

EIGHT_BIT = message("shop@acme.example", "a@x.example")


def piloted(own: Upstream, other: Upstream, pilot: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "upstreams": {"up": endpoint(own), "other": endpoint(other)},
        "tenants": {
            "acme": {
                "domains": ["acme.example"],
                "upstream": "up",
                "from": "Acme <noreply@acme.example>",
                "pilot": {"upstream": "other"} | pilot,
            }
            | more
        },
    }


async def test_a_pilot_takes_its_recipients_out_of_a_message(start_relay: Any) -> None:
    pilot = {"recipients": ["qa@acme.example"]}
    async with Upstream() as own, Upstream() as other:
        async with start_relay(own, **piloted(own, other, pilot)) as relay:
            async with relay.dialogue() as client:
                queue_id = await accepted(client, "a@x.example", "QA@acme.example", "b@x.example")
            await other.arrived(1)
            sent = await told(relay.folder, "email.sent", 2, queue_id=queue_id)
    assert receivers(own) == ["a@x.example", "b@x.example"]
    assert receivers(other) == ["QA@acme.example"]
    assert {(e["route"], e["upstream"]) for e in sent} == {("tenant", "up"), ("pilot", "other")}


async def test_a_pilot_takes_one_application(start_relay: Any) -> None:
    pilot = {"senders": ["shop@acme.example"]}
    async with Upstream() as own, Upstream() as other:
        async with start_relay(own, **piloted(own, other, pilot)) as relay:
            async with relay.dialogue() as client:
                await accepted(client, "a@x.example", "b@x.example")
                await accepted(client, sender="crm@acme.example")
            await own.arrived(1)
            await other.arrived(1)
    assert (len(own.transactions), len(receivers(other))) == (1, 2)


async def test_a_pilots_share_is_always_that_of_the_same_recipients(start_relay: Any) -> None:
    everybody = [f"r{i}@x.example" for i in range(60)]
    shares = []
    for percent in (30, 60):
        async with Upstream() as own, Upstream() as other:
            config = piloted(own, other, {"percent": percent})
            async with start_relay(own, **config) as relay, relay.dialogue() as client:
                for _ in range(2):
                    await accepted(client, *everybody)
                await own.arrived(2)
                await other.arrived(2)
            first, second = other.transactions
            assert set(first.recipients) == set(second.recipients)
            assert sorted(receivers(own) + receivers(other)) == sorted(everybody * 2)
            shares.append(set(first.recipients))
    assert 8 <= len(shares[0]) <= 28
    assert shares[0] < shares[1]


async def test_a_pilot_goes_under_the_tenants_identity_and_not_when_it_is_off(
    start_relay: Any,
) -> None:
    async with Upstream() as own, Upstream() as other, Upstream() as platform:
        config = piloted(own, other, {"percent": 100})
        config["upstreams"]["platform"] = endpoint(platform)
        default = {"upstream": "platform", "from": "Platform <noreply@platform.example>"}
        async with start_relay(own, default=default, **config) as relay:
            async with relay.dialogue() as client:
                await accepted(client, sender="www-data@web01.example", content=letter())
                (taken,) = await other.arrived(1)
                assert taken.reverse_path == "noreply@acme.example"
                assert b"From: shop@acme.example\r\n" in taken.header
                with administration(relay.folder) as store:
                    store.set_toggle(Toggle("acme", False, "test", "test", 1.0))
                await accepted(client)
                (taken,) = await platform.arrived(1)
                assert taken.reverse_path == "noreply@platform.example"
    assert not own.transactions


async def test_a_silent_pilot_delays_only_its_share(start_relay: Any) -> None:
    pilot = {"recipients": ["qa@acme.example"]}
    async with Upstream() as own, Upstream(script={"dot": SILENCE}) as other:
        config = piloted(own, other, pilot) | {"timeouts": {"drain": "100ms"}}
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            for i in range(5):
                await accepted(client, f"r{i}@x.example", "qa@acme.example")
            await until(lambda: len(own.transactions) == 5, 3)
    assert receivers(own) == [f"r{i}@x.example" for i in range(5)]


# -- the null reverse-path


async def test_a_null_reverse_path_stays_null(start_relay: Any) -> None:
    async with Upstream() as own, start_relay(own) as relay, relay.dialogue() as client:
        await accepted(client, sender="", content=letter())
        (taken,) = await own.arrived(1)
    assert taken.reverse_path == ""
    assert b"auto-submitted" not in taken.header.lower()


@pytest.mark.parametrize("fields", ["", "Auto-Submitted: auto-replied\r\n"])
async def test_a_null_reverse_path_is_replaced_where_it_is_refused(
    start_relay: Any, fields: str
) -> None:
    async with Upstream() as own:
        upstreams = {"up": endpoint(own, null_sender="bounces@acme.example")}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            await accepted(client, sender="", content=letter(fields=fields))
            (taken,) = await own.arrived(1)
            await accepted(client)
            _, plain = await own.arrived(2)
    assert taken.reverse_path == "bounces@acme.example"
    wanted = b"Auto-Submitted: auto-replied" if fields else b"Auto-Submitted: auto-generated"
    assert taken.header.count(wanted + b"\r\n") == 1
    assert taken.header.lower().count(b"auto-submitted:") == 1
    assert taken.body == b"hello\r\n"
    assert plain.reverse_path == "shop@acme.example"
    assert b"auto-submitted" not in plain.header.lower()


# -- the idempotency key


def resend(server: Upstream) -> dict[str, Any]:
    return endpoint(server, provider="resend", limits={"per_second": 100, "recipients": 2})


def keys(server: Upstream) -> list[str]:
    name = "Resend-Idempotency-Key: "
    lines = [t.header.decode().split("\r\n") for t in (*server.refused, *server.transactions)]
    return [line.removeprefix(name) for some in lines for line in some if line.startswith(name)]


async def test_an_unknown_outcome_is_tried_again_under_the_same_key(start_relay: Any) -> None:
    async with Upstream(script={"dot": [SILENCE]}) as own:
        async with start_relay(
            own, upstreams={"up": resend(own)}, timeouts={"data_reply": "200ms"}
        ) as relay, relay.dialogue() as client:  # fmt: skip
            queue_id = await accepted(client)
            await own.arrived(1)
            (sent,) = await told(relay.folder, "email.sent", queue_id=queue_id)
            (unknown,) = trail(relay.folder, "email.deferred", queue_id=queue_id)
    assert keys(own) == [queue_id, queue_id]
    assert unknown["cause"] == "outcome_unknown"
    assert sent["possible_duplicate"]
    first, second = own.refused[0], own.transactions[0]
    assert first.content == second.content


async def test_parts_of_the_recipients_have_keys_of_their_own(start_relay: Any) -> None:
    async with Upstream(script={"dot": [None, SILENCE]}) as own:
        async with start_relay(
            own, upstreams={"up": resend(own)}, timeouts={"data_reply": "200ms"}
        ) as relay, relay.dialogue() as client:  # fmt: skip
            queue_id = await accepted(client, *(f"r{i}@x.example" for i in range(4)))
            await own.arrived(2)
    found = keys(own)
    assert len(found) == 3
    assert len(set(found)) == 2
    assert all(key.startswith(queue_id) for key in found)


async def test_a_key_of_the_applications_own_stays(start_relay: Any) -> None:
    async with Upstream() as own:
        async with start_relay(own, upstreams={"up": resend(own)}) as relay:
            async with relay.dialogue() as client:
                await accepted(client, content=letter(fields="Resend-Idempotency-Key: mine\r\n"))
            await own.arrived(1)
    assert keys(own) == ["mine"]


# -- content and recipients


async def test_8_bit_content_goes_unchanged_where_it_is_not_offered(start_relay: Any) -> None:
    async with Upstream(extensions=("PIPELINING",)) as own, Upstream() as able:
        tenants = {
            "acme": {"domains": ["acme.example"], "upstream": "up"},
            "globex": {"domains": ["globex.example"], "upstream": "able"},
        }
        upstreams = {"up": endpoint(own), "able": endpoint(able)}
        async with start_relay(own, upstreams=upstreams, tenants=tenants) as relay:
            async with relay.dialogue() as client:
                for sender in ("shop@acme.example", "shop@globex.example"):
                    stuffed = EIGHT_BIT.replace(b"\r\n.", b"\r\n..")
                    await accepted(
                        client, sender=sender, content=stuffed, parameters=" BODY=8BITMIME"
                    )
                await accepted(client)
            await own.arrived(2)
            await able.arrived(1)
            sent = await told(relay.folder, "email.sent", 3)
    assert own.transactions[0].body == able.transactions[0].body == BODY
    flags = [(e["upstream"], e.get("unchanged_8bit")) for e in sent]
    assert sorted(flags, key=str) == [("able", None), ("up", None), ("up", True)]
    assert "8BITMIME" not in own.transactions[0].parameters
    assert "8BITMIME" in able.transactions[0].parameters


async def test_8_bit_content_that_nobody_declared_is_flagged_too(start_relay: Any) -> None:
    async with Upstream(extensions=()) as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            await accepted(client, content=EIGHT_BIT.replace(b"\r\n.", b"\r\n.."))
            (sent,) = await told(relay.folder, "email.sent")
    assert sent["unchanged_8bit"]
    assert own.transactions[0].body == BODY


async def test_recipients_are_split_by_the_upstreams_limit(start_relay: Any) -> None:
    everybody = [f"r{i}@x.example" for i in range(10)]
    async with Upstream() as own:
        upstreams = {"up": endpoint(own, limits={"recipients": 4})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            queue_id = await accepted(client, *everybody)
            await own.arrived(3)
            await told(relay.folder, "email.sent", 3)
            assert queue_id not in stored(relay.folder, dead=False)
    assert [len(taken.recipients) for taken in own.transactions] == [4, 4, 2]
    assert receivers(own) == everybody


@pytest.mark.parametrize("most", [1, 3, 100])
async def test_none_is_handed_over_twice_because_another_was_deferred(
    start_relay: Any, most: int
) -> None:
    script: Any = {
        "rcpt": {"grey@x.example": "450 4.2.0 greylisted", "bad@x.example": "550 5.1.1 no"}
    }
    everybody = ["a@x.example", "grey@x.example", "b@x.example", "bad@x.example", "c@x.example"]
    async with Upstream(script=script) as own:
        upstreams = {"up": endpoint(own, limits={"recipients": most})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            queue_id = await accepted(client, *everybody)
            await told(relay.folder, "email.deferred", 2, queue_id=queue_id)
            own.script = {"rcpt": {"bad@x.example": "550 5.1.1 no"}}
            await told(relay.folder, "email.dead_lettered", queue_id=queue_id)
            assert stored(relay.folder, dead=True)[queue_id] == dict.fromkeys(
                everybody, "relayed"
            ) | {"bad@x.example": "failed"}
    assert sorted(receivers(own)) == sorted(set(everybody) - {"bad@x.example"})
    asked_bad = [line for _, line in own.commands if "bad@" in line]
    assert len(asked_bad) == 1


async def test_an_unknown_outcome_of_one_part_touches_no_other(start_relay: Any) -> None:
    async with Upstream(script={"dot": [None, SILENCE]}) as own:
        upstreams = {"up": endpoint(own, limits={"recipients": 2})}
        timeouts = {"data_reply": "200ms"}
        async with start_relay(own, upstreams=upstreams, timeouts=timeouts) as relay:
            async with relay.dialogue() as client:
                await accepted(client, *(f"r{i}@x.example" for i in range(6)))
            await own.arrived(3)
            await told(relay.folder, "email.sent", 3)
            await asyncio.sleep(0.1)
    assert sorted(receivers(own)) == [f"r{i}@x.example" for i in range(6)]
    assert own.refused[0].recipients == ("r2@x.example", "r3@x.example")
