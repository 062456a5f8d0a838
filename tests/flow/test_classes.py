"""Classes: what a message is decides when, how long, which way, and how urgently it goes."""

import asyncio
import base64
import time
from typing import Any

import pytest
from argon2 import PasswordHasher
from support.flows import (
    ONE_LOOP,
    accepted,
    administration,
    endpoint,
    letter,
    names,
    receivers,
    stored,
    told,
    trail,
    until,
)
from support.ports import free_port
from support.upstream import Slowly, Upstream

from relay.dispatch import attempt
from relay.model.suppression import Source, Suppression

pytestmark = ONE_LOOP

OTP = {"match": {"subject": "(?i)verification code"}, "priority": "high"}
CODE = letter("Your Verification Code")


async def classes_told(start_relay: Any, classes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A message of each kind; the class in email.sent by Subject."""
    mail = {
        "code": {"content": CODE},
        "encoded": {"content": letter("=?utf-8?q?Verification_code?=")},
        "list": {"content": letter(fields="List-Unsubscribe: <https://x.example>\r\n")},
        "report": {"sender": "reports@eu.acme.example"},
        "vip": {"recipient": "Boss@Globex.example"},
        "plain": {},
    } | more
    found = {}
    async with (
        Upstream() as own,
        start_relay(
            own,
            classes=classes,
            tenants={"acme": {"domains": ["acme.example", "*.acme.example"], "upstream": "up"}},
        ) as relay,
    ):
        async with relay.dialogue() as client:
            for kind, how in mail.items():
                how = dict(how)
                recipient = how.pop("recipient", "a@x.example")
                queue_id = await accepted(client, recipient, **how)
                (sent,) = await told(relay.folder, "email.sent", queue_id=queue_id)
                (taken,) = trail(relay.folder, "email.accepted", queue_id=queue_id)
                assert taken["class"] == sent["class"], kind
                found[kind] = sent["class"]
    return found


@pytest.mark.parametrize(
    ("match", "whose"),
    [
        ({"subject": "(?i)verification code"}, {"code", "encoded"}),
        ({"header": {"List-Unsubscribe": ".+"}}, {"list"}),
        ({"sender": "reports@*.acme.example"}, {"report"}),
        ({"recipient": "@globex.example"}, {"vip"}),
        ({"sender": "acme.example", "subject": "^hi$"}, {"list", "plain", "vip"}),
    ],
    ids=["subject", "header", "sender", "recipient", "all of them"],
)
async def test_the_class_is_told(start_relay: Any, match: Any, whose: set[str]) -> None:
    found = await classes_told(start_relay, {"special": {"match": match}})
    assert {kind for kind, name in found.items() if name} == whose


async def test_the_first_class_that_matches_holds(start_relay: Any) -> None:
    classes = {
        "first": {"match": {"subject": "code"}},
        "otp": OTP,
        "rest": {"match": {"sender": "*"}},
    }
    found = await classes_told(start_relay, classes)
    assert (found["encoded"], found["code"], found["plain"]) == ("first", "otp", "rest")


async def test_by_the_user_who_logged_in(start_relay: Any) -> None:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users = {name: {"password_hash": cheap.hash("s3cret")} for name in ("crm", "shop")}
    clients = {"networks": ["127.0.0.0/8"], "users": users}
    async with (
        Upstream() as own,
        start_relay(own, clients=clients, classes={"crm": {"match": {"user": "crm"}}}) as relay,
    ):
        for user, expected in (("crm", "crm"), ("shop", None)):
            async with relay.dialogue() as client:
                plain = base64.b64encode(f"\0{user}\0s3cret".encode()).decode()
                assert (await client.say(f"AUTH PLAIN {plain}")).startswith("235")
                queue_id = await accepted(client)
                (sent,) = await told(relay.folder, "email.sent", queue_id=queue_id)
                assert sent["class"] == expected


async def test_a_class_goes_its_own_way(start_relay: Any) -> None:
    async with Upstream() as own, Upstream() as fast, Upstream() as platform:
        async with start_relay(
            own,
            upstreams={
                "up": endpoint(own), "fast": endpoint(fast), "platform": endpoint(platform),
            },
            tenants={
                "acme": {"domains": ["acme.example"], "upstream": "up"},
                "initech": {"domains": ["initech.example"]},
            },
            default={"upstream": "platform"},
            classes={"otp": OTP | {"upstream": "fast"}},
        ) as relay, relay.dialogue() as client:  # fmt: skip
            await accepted(client, content=CODE)
            await accepted(client)
            await accepted(client, sender="it@initech.example", content=CODE)
            await fast.arrived(1)
            await own.arrived(1)
            await platform.arrived(1)
            sent = await told(relay.folder, "email.sent", 3)
    ways = {(e["upstream"], e["route"], e["class"], e["tenant"]) for e in sent}
    assert ways == {
        ("fast", "class", "otp", "acme"),
        ("up", "tenant", None, "acme"),
        ("platform", "default", "otp", "initech"),
    }


async def test_a_class_is_tried_again_on_its_own_schedule(start_relay: Any) -> None:
    classes = {"otp": OTP | {"retry": {"first": "50ms", "longest": "100ms"}}}
    retry = {"first": "30s", "longest": "1h"}
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own:
        async with start_relay(own, classes=classes, retry=retry) as relay:
            async with relay.dialogue() as client:
                plain = await accepted(client)
                code = await accepted(client, content=CODE)
            await told(relay.folder, "email.deferred", 4, queue_id=code)
            assert len(trail(relay.folder, "email.deferred", queue_id=plain)) == 1


async def test_a_class_may_have_few_attempts(start_relay: Any) -> None:
    classes = {"otp": OTP | {"retry": {"attempts": 2}}}
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own:
        async with start_relay(own, classes=classes) as relay, relay.dialogue() as client:
            code = await accepted(client, content=CODE)
            (expired,) = await told(relay.folder, "email.expired", queue_id=code)
            assert (expired["last_cause"], expired["class"]) == ("message_refused", "otp")
            assert len(trail(relay.folder, "email.deferred", queue_id=code)) == 2
            assert trail(relay.folder, "email.dead_lettered", queue_id=code)


async def test_a_stale_code_is_expired_and_not_sent(start_relay: Any) -> None:
    """It waits for its next attempt while its time runs out; other mail does not expire."""
    classes = {
        "otp": OTP | {"give_up_after": "1s", "retry": {"first": "300ms", "longest": "400ms"}}
    }
    async with Upstream(script={"dot": ["451 4.3.0 later"] * 3}) as own:
        async with start_relay(own, classes=classes) as relay:
            own.script["dot"] = "451 4.3.0 later"
            async with relay.dialogue() as client:
                code = await accepted(client, "code@x.example", content=CODE)
                await accepted(client, "plain@x.example")
            (expired,) = await told(relay.folder, "email.expired")
            own.script.clear()
            await own.arrived(1)
            assert (expired["queue_id"], expired["cause"]) == (code, "expired")
            assert expired["last_cause"] == "message_refused"
            await asyncio.sleep(0.5)
    assert receivers(own) == ["plain@x.example"]


async def test_a_code_that_went_stale_while_the_relay_was_down_is_not_sent(
    start_relay: Any,
) -> None:
    classes = {"otp": OTP | {"give_up_after": "1s"}}
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own:
        retry = {"first": "500ms", "longest": "500ms"}
        async with start_relay(own, classes=classes, retry=retry) as relay:
            async with relay.dialogue() as client:
                code = await accepted(client, "code@x.example", content=CODE)
                await accepted(client, "plain@x.example")
            await told(relay.folder, "email.deferred", 2)
        own.script.clear()
        await asyncio.sleep(1)
        async with start_relay(own, classes=classes, retry=retry) as relay:
            await own.arrived(1)
            (expired,) = await told(relay.folder, "email.expired")
            assert (expired["queue_id"], expired["class"]) == (code, "otp")
            assert expired["remedy"]
            assert trail(relay.folder, "email.dead_lettered", queue_id=code)
            await asyncio.sleep(0.3)
    assert receivers(own) == ["plain@x.example"]


async def test_a_code_that_nobody_took_in_time_expires_behind_a_pause(start_relay: Any) -> None:
    nobody = Upstream()
    nobody.port = free_port()
    classes = {"otp": OTP | {"give_up_after": "1s"}}
    async with start_relay(nobody, upstreams={"up": endpoint(nobody)}, classes=classes) as relay:
        async with relay.dialogue() as client:
            code = await accepted(client, content=CODE)
            plain = await accepted(client)
        (expired,) = await told(relay.folder, "email.expired", within_s=5)
        assert expired["queue_id"] == code
        assert not trail(relay.folder, "email.expired", queue_id=plain)


async def test_a_stale_message_that_is_suppressed_as_a_whole_is_simply_over(
    start_relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []
    monkeypatch.setattr(attempt.diagnostics, "error", lambda *a, **k: errors.append(str(k)))
    classes = {"otp": OTP | {"give_up_after": "600ms"}}
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own:
        async with start_relay(own, classes=classes) as relay, relay.dialogue() as client:
            code = await accepted(client, content=CODE)
            await told(relay.folder, "email.deferred")
        with administration(relay.folder) as store:
            store.suppress(
                [Suppression("acme", "a@x.example", Source.MANUAL, "left", "test", time.time())]
            )
        await asyncio.sleep(0.6)
        async with start_relay(own, classes=classes) as relay:
            await until(lambda: not stored(relay.folder, dead=False))
            await asyncio.sleep(0.1)
            about = names(trail(relay.folder, queue_id=code))
    assert about.count("email.suppressed") + about.count("email.expired") == 1
    assert not errors


async def test_queued_mail_is_classed_anew_by_the_next_life(start_relay: Any) -> None:
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own, Upstream() as fast:
        upstreams = {"up": endpoint(own), "fast": endpoint(fast)}
        before = {"otp": OTP}
        retry = {"first": "1s", "longest": "1s"}
        async with start_relay(own, upstreams=upstreams, classes=before, retry=retry) as relay:
            async with relay.dialogue() as client:
                code = await accepted(client, "code@x.example", content=CODE)
                other = await accepted(client, "other@x.example", content=letter("invoice 17"))
            await told(relay.folder, "email.deferred", 2)
        own.script.clear()
        after = {"bill": {"match": {"subject": "invoice"}, "upstream": "fast"}}
        async with start_relay(own, upstreams=upstreams, classes=after, retry=retry) as relay:
            (sent,) = await told(relay.folder, "email.sent", queue_id=other)
            assert (sent["class"], sent["upstream"], sent["route"]) == ("bill", "fast", "class")
            (sent,) = await told(relay.folder, "email.sent", queue_id=code)
            assert (sent["class"], sent["upstream"]) == (None, "up")


async def test_a_queued_message_gets_the_priority_that_its_class_now_has(start_relay: Any) -> None:
    """A code waits behind many others, due after them all; only then is its class made urgent."""
    retry = {"first": "600ms", "longest": "600ms"}
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own:
        upstreams = {"up": endpoint(own, limits={"connections": 1})}
        calm = {"otp": OTP | {"priority": "normal"}}
        async with start_relay(own, upstreams=upstreams, classes=calm, retry=retry) as relay:
            async with relay.dialogue() as client:
                for i in range(20):
                    await accepted(client, f"plain{i}@x.example")
                await told(relay.folder, "email.deferred", 20)
                await asyncio.sleep(0.2)
                code = await accepted(client, "code@x.example", content=CODE)
            await told(relay.folder, "email.deferred", queue_id=code)
        own.script["dot"] = Slowly(0.02)
        await asyncio.sleep(0.7)  # all are due
        async with start_relay(own, upstreams=upstreams, classes={"otp": OTP}, retry=retry):
            await own.arrived(21)
    assert "code@x.example" in receivers(own)[:5]
