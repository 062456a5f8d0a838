"""Who is told of what failed: the sender by DSN, people by alerts, once and not a thousandfold."""

import asyncio
import email
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
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
from support.upstream import Transaction, Upstream

from relay.dispatch import herald
from relay.model.causes import REMEDIES
from relay.model.ports import NOTHING_MORE, StoreError
from relay.model.suppression import Source, Suppression
from relay.queue.sqlite.store import SqliteStore

pytestmark = ONE_LOOP

REFUSED = "550 5.1.1 no such user here"
OWNER, OPERATOR = "dana@owner.example", "ops@platform.example"


def parsed(taken: Transaction) -> EmailMessage:
    found = email.message_from_bytes(taken.content, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def text_of(taken: Transaction) -> str:
    body = parsed(taken).get_body(("plain",))
    assert body is not None
    return " ".join(str(body.get_content()).split())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The herald looks whether there is anything to tell once a second otherwise."""
    monkeypatch.setattr(herald, "_LOOK_EVERY_S", 0.1)


# -- DSN


def with_dsn(**more: Any) -> dict[str, Any]:
    acme = {"domains": ["acme.example"], "upstream": "up", "dsn": True}
    return {"acme": acme | more}


async def test_the_sender_gets_a_report(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": {"bad@x.example": REFUSED}}) as own:
        async with start_relay(own, tenants=with_dsn()) as relay, relay.dialogue() as client:
            queue_id = await accepted(
                client, "good@x.example", "bad@x.example", content=letter("invoice 17")
            )
            _, report = await own.arrived(2)
            (dsn_sent,) = await told(relay.folder, "email.dsn_sent")
            assert dsn_sent["queue_id"] == queue_id
            assert dsn_sent["recipients"] == ["bad@x.example"]
            await told(relay.folder, "email.sent", queue_id=dsn_sent["dsn_queue_id"])
            # The dead letter remains, and nobody hears of the report itself.
            assert stored(relay.folder, dead=True)[queue_id]["bad@x.example"] == "failed"
            assert not stored(relay.folder, dead=False)
    assert (report.reverse_path, report.recipients) == ("", ("shop@acme.example",))
    message = parsed(report)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert (message["To"], message["Auto-Submitted"]) == ("shop@acme.example", "auto-replied")
    assert message["Message-ID"]
    assert message["Date"]
    words, status, headers = message.iter_parts()
    assert "bad@x.example" in words.get_content()
    assert "no such user here" in words.get_content()
    assert status.get_content_type() == "message/delivery-status"
    of_message, of_recipient = status.get_payload()
    assert of_message["Reporting-MTA"] == "dns; relay.test"
    assert of_recipient["Final-Recipient"] == "rfc822; bad@x.example"
    assert (of_recipient["Action"], of_recipient["Status"]) == ("failed", "5.1.1")
    assert of_recipient["Diagnostic-Code"] == f"smtp; {REFUSED}"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "Subject: invoice 17" in headers.get_payload()


@pytest.mark.parametrize(
    ("tenant", "sender", "rcpt"),
    [
        ({"dsn": False}, "shop@acme.example", ""),
        ({}, "", ""),
        ({}, "shop@acme.example", " NOTIFY=NEVER"),
    ],
    ids=["not wanted", "null reverse-path", "NOTIFY=NEVER"],
)
async def test_nobody_gets_a_report(
    start_relay: Any, tenant: dict[str, Any], sender: str, rcpt: str
) -> None:
    async with Upstream(script={"dot": "554 5.6.0 no"}) as own:
        async with start_relay(own, tenants=with_dsn(**tenant)) as relay:
            async with relay.dialogue() as client:
                await client.say(f"MAIL FROM:<{sender}>")
                assert (await client.say(f"RCPT TO:<a@x.example>{rcpt}")).startswith("250")
                await client.say("DATA")
                client.send(letter() + b".\r\n")
                assert (await client.reply()).startswith("250")
                await told(relay.folder, "email.dead_lettered")
                own.script.clear()
                await accepted(client)
            await own.arrived(1)
            await asyncio.sleep(0.1)
            assert not trail(relay.folder, "email.dsn_sent")
    assert len(own.transactions) == 1


async def test_a_report_that_is_refused_makes_no_report_and_no_alert(start_relay: Any) -> None:
    async with Upstream(script={"dot": "554 5.6.0 no"}) as own:
        async with start_relay(
            own,
            tenants=with_dsn(owner=OWNER),
            upstreams={"up": endpoint(own), "platform": endpoint(own)},
            default={"upstream": "platform"},
            alerts={"gather": "300ms"},
        ) as relay, relay.dialogue() as client:  # fmt: skip
            queue_id = await accepted(client)
            (dsn,) = await told(relay.folder, "email.dsn_sent")
            await told(relay.folder, "email.send_failed", queue_id=dsn["dsn_queue_id"])
            (alert,) = await told(relay.folder, "alert.sent")
            assert "1 dead letter" in alert["text"]
            await told(relay.folder, "email.send_failed", 3, within_s=2)
            await asyncio.sleep(0.7)
            assert len(trail(relay.folder, "alert.sent")) == 1
            assert len(trail(relay.folder, "email.dsn_sent", queue_id=queue_id)) == 1
            assert len(trail(relay.folder, "email.dsn_sent")) == 1
            assert not trail(relay.folder, "suppression.added")


async def test_a_report_takes_the_tenants_way(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": [REFUSED]}) as own, Upstream() as platform:
        async with start_relay(
            own,
            tenants=with_dsn(**{"from": "Acme <noreply@acme.example>"}),
            upstreams={"up": endpoint(own), "platform": endpoint(platform)},
            default={"upstream": "platform", "from": "Platform <noreply@platform.example>"},
        ) as relay, relay.dialogue() as client:  # fmt: skip
            await accepted(client)
            await own.arrived(1)
            (sent,) = await told(relay.folder, "email.sent")
            assert (sent["upstream"], sent["route"], sent["tenant"]) == ("up", "tenant", "acme")
            assert sent["kind"] == "dsn"
    assert own.transactions[0].recipients == ("shop@acme.example",)
    assert not platform.transactions


async def test_what_expired_is_reported_too(start_relay: Any) -> None:
    async with Upstream(script={"dot": ["451 4.7.1 try later"] * 2}) as own:
        retry = {"first": "100ms", "longest": "100ms", "attempts": 2}
        async with start_relay(own, tenants=with_dsn(), retry=retry) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
            (report,) = await own.arrived(1)
    _, status, _ = parsed(report).iter_parts()
    assert status.get_payload()[1]["Status"] == "4.7.1"


# -- alerts by mail


def alerting(own: Upstream, platform: Upstream, **alerts: Any) -> dict[str, Any]:
    """Mail by ``own``, alerts by ``platform``."""
    acme = {"domains": ["acme.example"], "upstream": "up"}
    return {
        "upstreams": {"up": endpoint(own), "platform": endpoint(platform)},
        "tenants": {
            "acme": acme | {"owner": OWNER, "recovery": "https://wiki.example/acme"},
            "globex": {"domains": ["globex.example"], "upstream": "up"},
        },
        "default": {"upstream": "platform"},
        "alerts": {"email": OPERATOR, "gather": "300ms"} | alerts,
    }


async def test_many_dead_letters_make_one_alert(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": REFUSED}) as own, Upstream() as platform:
        config = alerting(own, platform, gather="1500ms")
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            for i in range(50):
                await accepted(client, f"r{i}@x.example")
            await told(relay.folder, "email.dead_lettered", 50)
            (alert,) = await platform.arrived(1, timeout_s=2)
            await asyncio.sleep(1)
            (sent,) = trail(relay.folder, "alert.sent")
            assert (sent["ways"], sent["to"]) == (["email"], OWNER)
    assert len(platform.transactions) == 1
    assert (alert.recipients, alert.reverse_path) == ((OWNER,), "")
    message = parsed(alert)
    assert message["Subject"].startswith("[relay] acme: ")
    assert "50 dead letters" in message["Subject"]
    assert message["Auto-Submitted"] == "auto-generated"
    text = text_of(alert)
    assert "recipient_refused at up" in text
    assert "no such user here" in text
    assert "To do" in text
    assert "https://wiki.example/acme" in text
    assert "relay dead list --tenant acme" in text


async def test_each_hears_of_their_own(start_relay: Any) -> None:
    """globex has no owner: its failures are the operator's."""
    async with Upstream(script={"dot": "554 5.6.0 no"}) as own, Upstream() as platform:
        async with start_relay(own, **alerting(own, platform)) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
                await accepted(client, sender="a@globex.example")
            await platform.arrived(2, timeout_s=2)
    found = {taken.recipients[0]: str(parsed(taken)["Subject"]) for taken in platform.transactions}
    assert set(found) == {OWNER, OPERATOR}
    assert "acme" in found[OWNER]
    assert "globex" in found[OPERATOR]


async def test_an_alert_leaves_though_nothing_else_happens(start_relay: Any) -> None:
    """Nobody's mail, no pause, no claim: it must not lie in the queue until something stirs."""
    async with Upstream(script={"rcpt": [REFUSED]}) as own, Upstream() as platform:
        async with start_relay(own, **alerting(own, platform)) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
            await told(relay.folder, "alert.sent")
            await platform.arrived(1, timeout_s=2)


async def test_a_pause_and_its_end_are_told(start_relay: Any) -> None:
    async with Upstream() as own, Upstream() as platform:
        config = alerting(own, platform)
        config["retry"] = {"first": "200ms", "longest": "400ms"}
        await own.stop()
        async with start_relay(own, **config) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
                await accepted(client, sender="a@globex.example")
            await platform.arrived(2, timeout_s=2)
            assert {taken.recipients[0] for taken in platform.transactions} == {OWNER, OPERATOR}
            for taken in platform.transactions:
                assert "connection_refused at up" in text_of(taken)
                assert "What broke" in text_of(taken)
            assert len(trail(relay.folder, "upstream.paused")) == 1
            await own.start()
            await own.arrived(2)
            await platform.arrived(4, timeout_s=2)
            await told(relay.folder, "upstream.resumed")
            for taken in platform.transactions[2:]:
                assert "works again" in str(parsed(taken)["Subject"])
            await until(lambda: not stored(relay.folder, dead=False))


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ({"mail": "530 5.7.0 Must issue a STARTTLS command first"}, "email.deferred"),
        ({"rcpt": "552 5.2.2 mailbox full"}, "email.send_failed"),
    ],
    ids=["a pause", "a dead letter"],
)
async def test_an_alert_says_what_to_do_about_the_very_reply(
    start_relay: Any, script: Any, name: str
) -> None:
    async with Upstream(script=script) as own, Upstream() as platform:
        async with start_relay(own, **alerting(own, platform)) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
            (alert, *_) = await platform.arrived(1, timeout_s=2)
            (failure, *_) = await told(relay.folder, name)
            assert failure["remedy"] != REMEDIES[failure["cause"]]
            assert f"To do: {failure['remedy']}" in text_of(alert)


async def test_an_alert_takes_no_paused_upstream(start_relay: Any) -> None:
    """alerts.upstream is what broke, so the default tells of it."""
    async with Upstream() as own, Upstream() as platform:
        await own.stop()
        config = alerting(own, platform, upstream="up")
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            await accepted(client)
            await platform.arrived(2, timeout_s=2)
            sent = await told(relay.folder, "email.sent", 2, kind="alert")
            assert {event["upstream"] for event in sent} == {"platform"}


async def test_an_alert_that_the_default_could_not_take_goes_by_its_own_upstream(
    start_relay: Any,
) -> None:
    """At once, and not when the default is probed next."""
    async with Upstream() as own, Upstream() as platform:
        await platform.stop()
        config = alerting(own, platform, upstream="up")
        config["retry"] = {"first": "1h", "longest": "1h"}
        config["tenants"] |= {"initech": {"domains": ["initech.example"], "owner": OWNER}}
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            await accepted(client, sender="a@initech.example")
            await told(relay.folder, "upstream.paused", upstream="platform")
            await told(relay.folder, "alert.sent")
            async with asyncio.timeout(3):
                (alert,) = await own.arrived(1)
            assert "connection_refused at platform" in text_of(alert)


async def test_alerts_without_a_way_wait_and_cause_nothing(start_relay: Any) -> None:
    async with Upstream() as own:
        await own.stop()
        config = alerting(own, own)
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            await accepted(client)
            await told(relay.folder, "alert.sent", 2)
            await asyncio.sleep(1)
            assert len(trail(relay.folder, "alert.sent")) <= 4
            await own.start()
            await until(lambda: {OWNER, OPERATOR} <= set(receivers(own)))


async def test_dead_letters_that_nobody_was_told_of_are_told_after_a_restart(
    start_relay: Any,
) -> None:
    full = "552 5.2.2 mailbox full"
    async with Upstream(script={"rcpt": full}) as own, Upstream() as platform:
        slow = alerting(own, platform, gather="5m")
        async with start_relay(own, **slow) as relay, relay.dialogue() as client:
            for _ in range(3):
                await accepted(client)
            await told(relay.folder, "email.dead_lettered", 3)
        assert not trail(relay.folder, "alert.sent")
        for _ in range(2):
            async with start_relay(own, **alerting(own, platform)) as relay:
                (alert,) = await platform.arrived(1, timeout_s=2)
                await asyncio.sleep(0.7)
                assert "dead letter" in str(parsed(alert)["Subject"])
                assert "To do: the recipient's mailbox is full" in text_of(alert)
                # In the third life they are no news.
                assert len(trail(relay.folder, "alert.sent")) == 1


async def test_after_a_restart_dead_letters_are_counted(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": REFUSED}) as own, Upstream() as platform:
        slow = alerting(own, platform, gather="5m")
        async with start_relay(own, **slow) as relay, relay.dialogue() as client:
            for _ in range(3):
                await accepted(client)
            await told(relay.folder, "email.dead_lettered", 3)
        async with start_relay(own, **alerting(own, platform)) as relay:
            (alert,) = await told(relay.folder, "alert.sent")
            assert "3 dead letters" in alert["text"]


async def test_a_pause_that_nobody_was_told_of_is_told_after_a_restart(start_relay: Any) -> None:
    async with Upstream() as own, Upstream() as platform:
        await own.stop()
        retry = {"first": "200ms", "longest": "400ms"}
        slow = alerting(own, platform, gather="5m") | {"retry": retry}
        async with start_relay(own, **slow) as relay, relay.dialogue() as client:
            await accepted(client)
            await told(relay.folder, "upstream.paused")
        async with start_relay(own, **alerting(own, platform) | {"retry": retry}) as relay:
            await told(relay.folder, "alert.sent", within_s=2)
            await platform.arrived(1, timeout_s=2)


async def test_an_alert_survives_a_store_that_fails_for_a_moment(
    start_relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = SqliteStore.settle
    failures = iter([True, True])

    async def failing(self: Any, settlements: Any, events: Any, also: Any = NOTHING_MORE) -> None:
        if not settlements and next(failures, False):
            raise StoreError("the disk is full")
        await settle(self, settlements, events, also)

    monkeypatch.setattr(SqliteStore, "settle", failing)
    async with Upstream(script={"rcpt": [REFUSED]}) as own, Upstream() as platform:
        async with start_relay(own, **alerting(own, platform)) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
            await told(relay.folder, "alert.sent", within_s=2)
            await platform.arrived(1, timeout_s=2)


async def test_more_failures_than_usual_are_told(start_relay: Any) -> None:
    async with Upstream(script={"dot": "451 4.3.0 later"}) as own, Upstream() as platform:
        config = alerting(own, platform) | {"retry": {"first": "1h", "longest": "1h"}}
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            for _ in range(25):
                await accepted(client)
            await told(relay.folder, "email.deferred", 25)
            (alert,) = await platform.arrived(1, timeout_s=2)
            assert "more mail fails than usual" in str(parsed(alert)["Subject"])
            assert alert.recipients == (OWNER,)


async def test_without_a_way_for_alerts_the_trail_says_so(start_relay: Any) -> None:
    tenants = {"acme": {"domains": ["acme.example"], "upstream": "up", "owner": OWNER}}
    async with Upstream(script={"rcpt": REFUSED}) as own:
        async with start_relay(own, tenants=tenants, alerts={"gather": "0s"}) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
            (failed,) = await told(relay.folder, "alert.failed")
            assert failed["way"] == "email"
            assert "no way" in failed["error"]


# -- the daily summary


class Tomorrow:
    """The herald's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        monkeypatch.setattr(
            herald, "time", SimpleNamespace(time=lambda: time.time() + self.ahead_s)
        )

    def come(self) -> None:
        self.ahead_s = 86400.0


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> Tomorrow:
    return Tomorrow(monkeypatch)


def suppress(folder: Path, address: str) -> None:
    entry = Suppression("acme", address, Source.MANUAL, "left", "test", time.time())
    with administration(folder) as store:
        store.suppress([entry])


async def test_suppressed_mail_is_told_in_a_daily_summary(
    start_relay: Any, tomorrow: Tomorrow
) -> None:
    async with Upstream() as own, Upstream() as platform:
        config = alerting(own, platform, gather="0s")
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            suppress(relay.folder, "gone@x.example")
            await accepted(client, "gone@x.example", "here@x.example")
            await accepted(client, "gone@x.example")
            await told(relay.folder, "email.suppressed", 2)
            await asyncio.sleep(0.6)
            assert not trail(relay.folder, "alert.sent")
            tomorrow.come()
            (sent,) = await told(relay.folder, "alert.sent")
            assert (sent["kind"], sent["to"]) == ("summary", OWNER)
            (summary,) = await platform.arrived(1, timeout_s=2)
            text = text_of(summary)
            assert "gone@x.example 2 messages withheld" in text
            assert "here@x.example" not in text
            await asyncio.sleep(0.6)
            assert len(trail(relay.folder, "alert.sent")) == 1


async def test_a_restart_forgets_nothing_of_the_summary(
    start_relay: Any, tomorrow: Tomorrow
) -> None:
    async with Upstream() as own, Upstream() as platform:
        config = alerting(own, platform)
        async with start_relay(own, **config) as relay, relay.dialogue() as client:
            suppress(relay.folder, "gone@x.example")
            await accepted(client, "gone@x.example")
            await told(relay.folder, "email.suppressed")
        async with start_relay(own, **config) as relay:
            tomorrow.come()
            await told(relay.folder, "alert.sent", kind="summary", within_s=2)


# -- the webhook

TOKEN = "T0KENT0KEN/s3cr3tpath"


class Hook:
    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.got.append(json.loads(await request.read()))
        return web.Response(status=self.status, text=f"no such hook: {request.path}")


@asynccontextmanager
async def listening(status: int = 200) -> AsyncIterator[Hook]:
    hook = Hook()
    hook.status = status
    application = web.Application()
    application.router.add_post(f"/hooks/{TOKEN}", hook.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    hook.url = f"http://127.0.0.1:{port}/hooks/{TOKEN}"
    try:
        yield hook
    finally:
        await runner.cleanup()


async def test_the_webhook_hears_of_everything_once(start_relay: Any) -> None:
    async with Upstream(script={"rcpt": REFUSED}) as own, Upstream() as platform:
        async with listening() as hook:
            config = alerting(own, platform, webhook=hook.url)
            async with start_relay(own, **config) as relay, relay.dialogue() as client:
                for i in range(5):
                    await accepted(client, f"r{i}@x.example")
                await told(relay.folder, "alert.sent", ways=["webhook"])
                await platform.arrived(1, timeout_s=2)
                await asyncio.sleep(0.2)
                everything = json.dumps(trail(relay.folder))
    (body,) = hook.got
    assert body["text"].startswith("[relay] acme: 5 dead letters")
    assert (body["kind"], body["tenant"], body["upstream"]) == ("dead_letter", "acme", "up")
    assert (body["cause"], body["count"], body["recipients"]) == ("recipient_refused", 5, 5)
    assert body["recovery"] == "https://wiki.example/acme"
    assert body["remedy"]
    assert body["detail"] == REFUSED
    assert body["hostname"] == "relay.test"
    assert "s3cr3tpath" not in everything


@pytest.mark.parametrize("trouble", ["404", "refused"])
async def test_a_webhook_that_fails_is_told_without_its_url(
    start_relay: Any, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.record import webhook

    monkeypatch.setattr(webhook, "_WAITS_S", (0.05, 0.05))
    async with Upstream(script={"rcpt": REFUSED}) as own, Upstream() as platform:
        async with listening(404) as hook:
            url = hook.url if trouble == "404" else f"http://127.0.0.1:{free_port()}/{TOKEN}"
            config = alerting(own, platform, webhook=url)
            async with start_relay(own, **config) as relay, relay.dialogue() as client:
                await accepted(client)
                (failed,) = await told(relay.folder, "alert.failed")
                assert (failed["kind"], failed["way"]) == ("alert", "webhook")
                assert ("404" if trouble == "404" else "refused") in failed["error"]
                # The mail goes all the same, and the failure is no trouble to alert of.
                await platform.arrived(1, timeout_s=2)
                await asyncio.sleep(0.6)
                assert len(trail(relay.folder, "alert.failed")) == 1
                everything = json.dumps(trail(relay.folder))
                assert "s3cr3tpath" not in everything
                assert "T0KEN" not in everything
                told_of = names(trail(relay.folder))
                assert told_of.count("alert.sent") == 1


async def test_a_webhook_alone_has_the_dead_letters_told(start_relay: Any) -> None:
    """Where nobody has an address, its answer is what counts as told."""
    tenants = {"acme": {"domains": ["acme.example"], "upstream": "up"}}
    async with Upstream(script={"rcpt": REFUSED}) as own, listening() as hook:
        more = {"tenants": tenants, "alerts": {"webhook": hook.url, "gather": "0s"}}
        async with start_relay(own, **more) as relay, relay.dialogue() as client:
            await accepted(client)
            await told(relay.folder, "alert.sent")
        async with start_relay(own, **more):
            await asyncio.sleep(0.7)
    assert len(hook.got) == 1


async def test_a_trail_that_cannot_be_read_keeps_no_alert_silent(
    start_relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in review: an error at the start ended the herald, and nobody heard of anything."""

    async def broken(*_: Any) -> list[bytes]:
        return [b"no JSON"]

    monkeypatch.setattr(SqliteStore, "told", broken)
    async with Upstream(script={"rcpt": [REFUSED]}) as own, Upstream() as platform:
        async with start_relay(own, **alerting(own, platform)) as relay:
            async with relay.dialogue() as client:
                await accepted(client)
            await platform.arrived(1, timeout_s=5)
