"""Suppression: addresses that are known not to exist are not written to again."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
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
    submit,
    told,
    trail,
)
from support.upstream import Slowly, Upstream

from relay.dispatch import strikes
from relay.model.suppression import Source, Suppression

pytestmark = ONE_LOOP

DAY_S = 86400.0
NO_MAILBOX = "550 5.1.1 no such user"


class Days:
    """The clock of refusals; everything else lives today."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        monkeypatch.setattr(
            strikes, "time", SimpleNamespace(time=lambda: time.time() + self.ahead_s)
        )

    def next(self) -> None:
        self.ahead_s += DAY_S


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(monkeypatch)


def two_tenants(upstream: str = "up") -> dict[str, Any]:
    return {
        "acme": {"domains": ["acme.example"], "upstream": upstream},
        "globex": {"domains": ["globex.example"], "upstream": upstream},
    }


def suppress(folder: Path, address: str, tenant: str = "acme", **more: Any) -> None:
    entry = Suppression(
        tenant,
        address,
        more.pop("source", Source.MANUAL),
        "left the company",
        "test",
        time.time(),
        **more,
    )
    with administration(folder) as store:
        store.suppress([entry])


async def refused_once(relay: Any, client: Any, address: str, **more: Any) -> None:
    queue_id = await accepted(client, address, **more)
    await told(relay.folder, "email.send_failed", queue_id=queue_id)


async def test_refused_as_unknown_on_two_days(start_relay: Any, days: Days) -> None:
    async with Upstream(script={"rcpt": {"gone@x.example": NO_MAILBOX}}) as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            await refused_once(relay, client, "gone@x.example")
            await refused_once(relay, client, "gone@x.example")
            assert not trail(relay.folder, "suppression.added")
            days.next()
            await refused_once(relay, client, "gone@x.example")
            (added,) = await told(relay.folder, "suppression.added")
            assert (added["address"], added["tenant"]) == ("gone@x.example", "acme")
            assert (added["source"], added["reason"]) == ("automatic", NO_MAILBOX)
            asked = len(own.commands)
            queue_id = await accepted(client, "GONE@x.example", "here@x.example")
            (suppressed,) = await told(relay.folder, "email.suppressed", queue_id=queue_id)
            assert suppressed["recipients"] == ["GONE@x.example"]
            assert (suppressed["cause"], suppressed["scope"]) == ("suppressed", "recipient")
            assert suppressed["remedy"]
            (sent,) = await told(relay.folder, "email.sent", queue_id=queue_id)
            assert sent["recipients"] == ["here@x.example"]
            assert not [line for _, line in own.commands[asked:] if "GONE" in line]
            await asyncio.sleep(0.05)
            # Nobody failed in this one, so it is no dead letter.
            assert queue_id not in stored(relay.folder, dead=True) | stored(
                relay.folder, dead=False
            )


async def test_after_as_many_days_as_it_says(start_relay: Any, days: Days) -> None:
    async with Upstream(script={"rcpt": NO_MAILBOX}) as own:
        async with start_relay(own, suppression={"after": 1}) as relay:
            async with relay.dialogue() as client:
                await refused_once(relay, client, "gone@x.example")
                await told(relay.folder, "suppression.added")
                queue_id = await accepted(client, "gone@x.example")
                await told(relay.folder, "email.suppressed", queue_id=queue_id)
        assert len(trail(relay.folder, "email.send_failed")) == 1


@pytest.mark.parametrize(
    "script",
    [
        {"rcpt": "552 5.2.2 mailbox full"},
        {"rcpt": "550 5.7.1 blocked by policy, user unknown to us"},
        {"rcpt": "550 mailbox unavailable"},
        {"rcpt": "550 5.1.1 you send too many mails to unknown users"},
        {"dot": "554 5.7.1 looks like spam"},
        {"dot": "550 5.1.1 no such user"},
        {"mail": "550 5.1.8 sender unknown"},
    ],
)
async def test_other_refusals_suppress_nobody(start_relay: Any, days: Days, script: Any) -> None:
    async with Upstream(script=script) as own:
        async with start_relay(own, suppression={"after": 1}) as relay:
            async with relay.dialogue() as client:
                queue_id = await accepted(client)
            failed = "email.deferred" if "mail" in script else "email.send_failed"
            await told(relay.folder, failed, queue_id=queue_id)
            await asyncio.sleep(0.05)
            assert not trail(relay.folder, "suppression.added")


async def test_switched_off_it_suppresses_nobody(start_relay: Any, days: Days) -> None:
    policy = {"automatic": False, "after": 1}
    async with Upstream(script={"rcpt": {"gone@x.example": NO_MAILBOX}}) as own:
        async with start_relay(own, suppression=policy) as relay, relay.dialogue() as client:
            for _ in range(2):
                await refused_once(relay, client, "gone@x.example")
                days.next()
            assert not trail(relay.folder, "suppression.added")
            suppress(relay.folder, "left@x.example")
            queue_id = await accepted(client, "left@x.example")
            await told(relay.folder, "email.suppressed", queue_id=queue_id)


async def test_another_tenant_is_not_concerned(start_relay: Any, days: Days) -> None:
    async with Upstream(script={"rcpt": {"gone@x.example": NO_MAILBOX}}) as own:
        policy = {"after": 1}
        async with start_relay(own, suppression=policy, tenants=two_tenants()) as relay:
            async with relay.dialogue() as client:
                await refused_once(relay, client, "gone@x.example")
                await told(relay.folder, "suppression.added", tenant="acme")
                own.script.clear()
                queue_id = await accepted(client, "gone@x.example", sender="a@globex.example")
                await told(relay.folder, "email.sent", queue_id=queue_id)


@pytest.mark.parametrize(
    ("source", "passes"),
    [(Source.AUTOMATIC, True), (Source.MANUAL, False), (Source.IMPORT, False)],
)
async def test_high_priority_passes_over_automatic_entries(
    start_relay: Any, source: Source, passes: bool
) -> None:
    classes = {"otp": {"match": {"subject": "code"}, "priority": "high"}}
    async with Upstream() as own:
        async with start_relay(own, classes=classes) as relay, relay.dialogue() as client:
            suppress(relay.folder, "gone@x.example", source=source)
            await asyncio.sleep(0.15)
            code = await accepted(client, "gone@x.example", content=letter("your code"))
            await told(relay.folder, "email.sent" if passes else "email.suppressed", queue_id=code)
            plain = await accepted(client, "gone@x.example")
            await told(relay.folder, "email.suppressed", queue_id=plain)


async def test_a_class_may_ignore_the_list(start_relay: Any) -> None:
    classes = {"legal": {"match": {"subject": "dunning"}, "suppression": "ignore"}}
    async with Upstream() as own:
        async with start_relay(own, classes=classes) as relay, relay.dialogue() as client:
            suppress(relay.folder, "gone@x.example")
            await asyncio.sleep(0.15)
            queue_id = await accepted(client, "gone@x.example", content=letter("dunning"))
            await told(relay.folder, "email.sent", queue_id=queue_id)


async def test_an_entry_for_all_tenants_and_its_end(start_relay: Any) -> None:
    async with Upstream() as own:
        async with start_relay(own, tenants=two_tenants()) as relay, relay.dialogue() as client:
            suppress(relay.folder, "gone@x.example", tenant="", until=time.time() + 1.0)
            await asyncio.sleep(0.15)
            for sender in ("a@acme.example", "a@globex.example"):
                queue_id = await accepted(client, "gone@x.example", sender=sender)
                await told(relay.folder, "email.suppressed", queue_id=queue_id)
            await asyncio.sleep(1)
            queue_id = await accepted(client, "gone@x.example")
            await told(relay.folder, "email.sent", queue_id=queue_id)


async def test_an_automatic_entry_expires(start_relay: Any, days: Days) -> None:
    async with Upstream(script={"rcpt": [NO_MAILBOX]}) as own:
        policy = {"after": 1, "expire": "1s"}
        async with start_relay(own, suppression=policy) as relay, relay.dialogue() as client:
            await refused_once(relay, client, "gone@x.example")
            queue_id = await accepted(client, "gone@x.example")
            await told(relay.folder, "email.suppressed", queue_id=queue_id)
            await asyncio.sleep(1)
            queue_id = await accepted(client, "gone@x.example")
            await told(relay.folder, "email.sent", queue_id=queue_id)


async def test_an_entry_made_by_another_process_counts_at_once(start_relay: Any) -> None:
    """As a toggle does: it is asked before every attempt, not once in a while."""
    async with Upstream() as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            for i in range(5):
                await client.say("MAIL FROM:<shop@acme.example>")
                await client.say(f"RCPT TO:<gone{i}@x.example>")
                await client.say("DATA")
                suppress(relay.folder, f"gone{i}@x.example")
                client.send(letter() + b".\r\n")
                assert (await client.reply()).startswith("250")
            await told(relay.folder, "email.suppressed", 5, within_s=2)
    assert not own.transactions


async def test_who_is_suppressed_while_in_line_is_not_sent_to(start_relay: Any) -> None:
    async with Upstream(script={"dot": [Slowly(0.6)]}) as own:
        upstreams = {"up": endpoint(own, limits={"connections": 1})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            await accepted(client, "first@x.example")
            await asyncio.sleep(0.1)
            queue_id = await accepted(client, "gone@x.example", "here@x.example")
            await asyncio.sleep(0.1)
            await asyncio.to_thread(suppress, relay.folder, "gone@x.example")
            await own.arrived(2)
            await told(relay.folder, "email.suppressed", queue_id=queue_id, within_s=2)
    assert receivers(own) == ["first@x.example", "here@x.example"]


async def test_who_is_suppressed_between_two_handovers_is_not_sent_to(start_relay: Any) -> None:
    async with Upstream(script={"dot": [Slowly(0.6)]}) as own:
        upstreams = {"up": endpoint(own, limits={"recipients": 1})}
        async with start_relay(own, upstreams=upstreams) as relay, relay.dialogue() as client:
            await accepted(client, "first@x.example", "gone@x.example", "last@x.example")
            await asyncio.sleep(0.2)
            await asyncio.to_thread(suppress, relay.folder, "gone@x.example")
            await own.arrived(2)
            await told(relay.folder, "email.suppressed", within_s=2)
    assert receivers(own) == ["first@x.example", "last@x.example"]


async def test_a_deferred_recipient_is_suppressed_before_its_next_attempt(
    start_relay: Any,
) -> None:
    async with Upstream(script={"rcpt": {"gone@x.example": "451 4.2.0 later"}}) as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            queue_id = await accepted(client, "gone@x.example", "here@x.example")
            await told(relay.folder, "email.deferred", queue_id=queue_id)
            await asyncio.to_thread(suppress, relay.folder, "gone@x.example")
            await told(relay.folder, "email.suppressed", queue_id=queue_id)
            tries = len(trail(relay.folder, "email.deferred", queue_id=queue_id))
            await asyncio.sleep(0.6)
            assert len(trail(relay.folder, "email.deferred", queue_id=queue_id)) == tries
            assert queue_id not in stored(relay.folder, dead=False)
    assert receivers(own) == ["here@x.example"]


async def test_a_suppressed_recipient_leaves_a_failed_one_as_it_is(start_relay: Any) -> None:
    """A dead letter tells of the failed one alone."""
    async with Upstream(script={"rcpt": {"bad@x.example": "550 5.7.1 not for you"}}) as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            suppress(relay.folder, "gone@x.example")
            await asyncio.sleep(0.15)
            reply = await submit(client, "gone@x.example", "bad@x.example", "good@x.example")
            assert reply.startswith("250")
            (dead,) = await told(relay.folder, "email.dead_lettered")
            assert dead["recipients"] == ["bad@x.example"]
            assert stored(relay.folder, dead=True)[dead["queue_id"]] == {
                "gone@x.example": "suppressed",
                "bad@x.example": "failed",
                "good@x.example": "relayed",
            }
