"""upstream, status, and what route and queue say of pauses, pilots and classes: against a real
store, which no relay serves."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config
from support.verbs import Relay, command_line

from relay.model.causes import Cause
from relay.model.identifiers import new_identifier
from relay.model.message import Content, Message, Origin, Recipient
from relay.model.pause import Held, Pause
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

WIRE = b"From: shop@acme.example\r\n\r\nhello\r\n"
REFUSED = "535 5.7.8 bad credentials"
UPSTREAMS = {
    "acme-mail": {"host": "mail.acme.example"},
    "acme-postmark": {"provider": "postmark", "username": "u", "password": "env:P"},
    "platform": {"host": "localhost", "port": 587},
}
TENANTS = {
    "acme": {
        "domains": ["acme.example"],
        "upstream": "acme-mail",
        "failover": {"to": ["platform"], "after": "60s"},
    },
    "globex": {
        "domains": ["globex.example"],
        "upstream": "platform",
        "pilot": {
            "upstream": "acme-postmark",
            "recipients": ["qa@customer.example"],
            "senders": ["app@globex.example"],
        },
    },
}
CLASSES = {
    "otp": {"match": {"subject": "(?i)code"}, "priority": "high"},
    "bulk": {"match": {"header": {"List-Unsubscribe": ".+"}}, "upstream": "acme-postmark"},
    "crm": {"match": {"user": "crm"}, "priority": "low"},
    "vip": {"match": {"recipient": "boss@customer.example"}},
}


@dataclass
class Site:
    """``fill`` does what a serving relay does to its store; ``relay`` is the command line."""

    path: Path
    relay: Relay

    def fill(self, *messages: Message, pauses: Iterable[Pause] = ()) -> None:
        async def work(store: SqliteStore) -> None:
            for message in messages:
                await store.add(message, claimed=False, events=[])
            await store.pause(list(pauses), [], [])

        self.serve(work)

    def serve(self, work: Callable[[SqliteStore], Any]) -> None:
        async def once() -> None:
            store = SqliteStore(self.path, render=json_line, committed=lambda told: None)
            await store.open()
            await work(store)
            await store.close()

        asyncio.run(once())


@pytest.fixture
def site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("P", "secret")
    monkeypatch.setenv("SUDO_USER", "dana")
    users = {"crm": {"password_hash": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
                     "tenants": ["acme"]}}  # fmt: skip
    config_file = tmp_path / "config.yaml"
    config_file.write_text(
        relay_config(
            tmp_path,
            2525,
            UPSTREAMS,
            TENANTS,
            {"upstream": "platform"},
            classes=CLASSES,
            clients={"users": users},
        )
    )

    return Site(tmp_path / "relay.db", command_line(config_file, capsys))


@pytest.fixture
def store(site: Site) -> None:
    """There is one, and it is empty."""
    site.fill()


def message(tenant: str = "acme", sender: str = "shop@acme.example", **more: Any) -> Message:
    now = time.time()
    plain = Message(
        queue_id=new_identifier(),
        arrived_at=now,
        expires_from=now,
        tenant=tenant,
        priority=1,
        reverse_path=sender,
        header_from=sender,
        message_id="<1@acme.example>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web01"),
        recipients=(Recipient(0, "ann@customer.example"),),
        content=Content(len(WIRE), 27, (WIRE,)),
    )
    return replace(plain, **more)


def failing(held: Held, next_s: float = 120, since_s: float = 30) -> Pause:
    now = time.time()
    cause = Cause.SENDER_REFUSED if held.sender else Cause.AUTHENTICATION_FAILED
    return Pause(held, now - since_s, now + next_s, cause, REFUSED, failures=3)


# -- upstream


def test_list_needs_no_store_and_all_are_open(site: Site):
    rows = site.relay("upstream", "list", "--json").rows
    assert [(row["upstream"], row["state"]) for row in rows] == [
        ("acme-mail", "open"),
        ("acme-postmark", "open"),
        ("platform", "open"),
    ]
    assert (rows[1]["provider"], rows[2]["port"], rows[2]["tls"]) == ("postmark", 587, "starttls")
    lines = site.relay("upstream", "list").out.splitlines()
    assert len(lines) == 4
    assert "localhost:587, STARTTLS" in lines[3]


def test_list_tells_why_until_when_and_what_to_do(site: Site):
    site.fill(
        pauses=[
            failing(Held("acme-mail")),
            failing(Held("platform", "globex"), next_s=-1),
            failing(Held("platform", "globex", "app@globex.example")),
        ]
    )
    rows = site.relay("upstream", "list", "--json").rows
    assert [(row["upstream"], row["tenant"], row["sender"], row["state"]) for row in rows] == [
        ("acme-mail", None, None, "paused"),
        ("acme-postmark", None, None, "open"),
        ("platform", None, None, "open"),
        ("platform", "globex", None, "probe due"),
        ("platform", "globex", "app@globex.example", "paused"),
    ]
    first = rows[0]
    assert (first["cause"], first["detail"], first["failures"]) == (
        "authentication_failed",
        REFUSED,
        3,
    )
    assert "username and password" in first["remedy"]
    assert first["since"] < first["until"]
    assert (first["actor"], first["reason"]) == (None, None)
    out = site.relay("upstream", "list").out
    table, remedies = out.split("\n\n")
    lines = table.splitlines()
    assert re.search(r" paused +3\ds +in 1m +authentication_failed$", lines[1])
    assert lines[4].startswith("  globex ")
    assert "probe due" in lines[4]
    assert lines[5].startswith("  app@globex.example ")
    assert f"acme-mail                       {REFUSED}\n" in remedies
    assert "app@globex.example on platform  " in remedies
    assert "verify the sender's address" in remedies


def test_what_to_do_is_about_the_reply_that_met_the_pause(site: Site):
    """Wherever the pause is told."""
    remedy = "set the upstream's username to the word apikey"
    waiting = message()
    site.fill(waiting, pauses=[replace(failing(Held("acme-mail")), own_remedy=remedy)])
    assert site.relay("upstream", "list", "--json").rows[0]["remedy"] == remedy
    assert remedy in site.relay("upstream", "list").out
    [pause] = [row for row in site.relay("status", "--json").rows if row["about"] == "pause"]
    assert pause["remedy"] == remedy
    [queued] = site.relay("queue", "list", "--json").rows
    assert queued["waits_for"]["remedy"] == remedy
    assert remedy in site.relay("queue", "show", waiting.queue_id).out
    assert remedy in site.relay("route", "shop@acme.example").out


@pytest.mark.usefixtures("store")
def test_pause_holds_until_resumed(site: Site):
    done = site.relay("upstream", "pause", "acme-mail", "--reason", "they\nasked us to")
    assert (done.status, done.out) == (0, "acme-mail is paused until it is resumed\n")
    [row] = [row for row in site.relay("upstream", "list", "--json").rows if row["actor"]]
    assert (row["upstream"], row["state"], row["until"]) == ("acme-mail", "paused", None)
    assert (row["actor"], row["reason"]) == ("dana", "they asked us to")
    out = site.relay("upstream", "list").out
    assert "resumed by hand" in out
    assert "they asked us to (dana)" in out
    [event] = site.relay("audit", "--event", "upstream.paused", "--json").rows
    assert (event["upstream"], event["actor"]) == ("acme-mail", "dana")
    done = site.relay("upstream", "resume", "acme-mail", "--reason", "they are done")
    assert (done.status, done.out) == (0, "acme-mail is open: 1 pause has ended\n")
    [event] = site.relay("audit", "--event", "upstream.resumed", "--json").rows
    assert (event["actor"], event["reason"]) == ("dana", "they are done")
    assert site.relay("upstream", "resume", "acme-mail").out == "acme-mail was not paused\n"


@pytest.mark.usefixtures("store")
def test_pause_and_resume_answer_with_the_row_of_the_list(site: Site):
    asked = ("upstream", "pause", "acme-mail", "--reason", "moved", "--for", "2h", "--json")
    [paused] = site.relay(*asked).rows
    assert paused in site.relay("upstream", "list", "--json").rows
    assert (paused["state"], paused["actor"], paused["reason"]) == ("paused", "dana", "moved")
    [resumed] = site.relay("upstream", "resume", "acme-mail", "--json").rows
    assert (resumed["state"], resumed["pauses_ended"]) == ("open", 1)
    [again] = site.relay("upstream", "resume", "acme-mail", "--json").rows
    assert again == resumed | {"pauses_ended": 0}


@pytest.mark.usefixtures("store")
def test_a_pause_for_a_time_says_until_when(site: Site):
    done = site.relay("upstream", "pause", "platform", "--reason", "x", "--for", "2h")
    assert done.out.startswith("platform is paused until 20")
    [row] = [row for row in site.relay("upstream", "list", "--json").rows if row["actor"]]
    assert row["until"] > row["since"]
    assert "in 1h" in site.relay("upstream", "list").out


@pytest.mark.usefixtures("store")
def test_a_pause_whose_time_is_over_is_none_also_while_no_relay_runs(site: Site):
    site.relay("upstream", "pause", "platform", "--reason", "x", "--for", "10ms")
    time.sleep(0.02)
    assert {row["state"] for row in site.relay("upstream", "list", "--json").rows} == {"open"}


def test_resume_ends_all_that_failures_have_paused(site: Site):
    way = Held("platform", "globex")
    site.fill(pauses=[failing(way), failing(Held("platform")), failing(Held("gone"))])
    assert site.relay("upstream", "resume", "platform").out == (
        "platform is open: 2 pauses have ended\n"
    )
    # A reload has removed it, and left its pause behind.
    assert "not in the configuration" in site.relay("upstream", "list").out
    assert site.relay("upstream", "resume", "gone").status == 0
    assert "gone" not in site.relay("upstream", "list").out


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("pause", "acme-mial", "--reason", "x"), 1, 'did you mean "acme-mail"?'),
        (("resume", "acme-mial"), 1, 'did you mean "acme-mail"?'),
        (("pause", "acme-mail"), 2, "--reason"),
        (("pause", "acme-mail", "--reason", " "), 2, "say why"),
        (("pause", "acme-mail", "--reason", "x", "--for", "2"), 2, "needs a unit"),
    ],
)
def test_what_is_wrong_is_said(site: Site, arguments: tuple[str, ...], status: int, told: str):
    done = site.relay("upstream", *arguments)
    assert (done.status, done.out) == (status, "")
    assert told in done.err
    assert site.relay("audit", "--json").rows == []


def test_pause_without_a_store_says_so(site: Site):
    done = site.relay("upstream", "pause", "acme-mail", "--reason", "x")
    assert done.status == 1
    assert "no store at" in done.err


# -- route


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("--subject", "Your Code"), ("otp", "high", "acme-mail")),
        (("--header", "List-Unsubscribe=<https://x>"), ("bulk", "normal", "acme-postmark")),
        (("--user", "crm"), ("crm", "low", "acme-mail")),
        (("--recipient", "boss@customer.example"), ("vip", "normal", "acme-mail")),
        (("--header", "X-Other=1"), (None, "normal", "acme-mail")),
    ],
)
def test_route_tells_the_class(site: Site, asked: tuple[str, ...], found: tuple[Any, ...]):
    [row] = site.relay("route", "shop@acme.example", *asked, "--json").rows
    assert (row["class"], row["priority"], row["upstream"]) == found
    out = site.relay("route", "shop@acme.example", *asked).out
    assert (f"class         {found[0]}, priority {found[1]}" in out) is bool(found[0])


def test_route_tells_which_recipients_take_the_pilot(site: Site):
    asked = ("--recipient", "qa@customer.example", "--recipient", "ann@customer.example")
    [row] = site.relay("route", "shop@globex.example", *asked, "--json").rows
    assert [(r["recipients"], r["route"], r["upstream"]) for r in row["routes"]] == [
        (["ann@customer.example"], "tenant", "platform"),
        (["qa@customer.example"], "pilot", "acme-postmark"),
    ]
    out = site.relay("route", "shop@globex.example", *asked).out
    assert ", pilot, for qa@customer.example\n" in out


@pytest.mark.parametrize(
    ("sender", "kind"), [("shop@globex.example", "tenant"), ("app@globex.example", "pilot")]
)
def test_without_a_recipient_only_the_sender_decides_on_the_pilot(
    site: Site, sender: str, kind: str
):
    [row] = site.relay("route", sender, "--json").rows
    assert [route["route"] for route in row["routes"]] == [kind]


@pytest.mark.parametrize(
    ("since_s", "kind", "upstream"), [(30, "tenant", "acme-mail"), (90, "failover", "platform")]
)
def test_route_takes_the_failover_when_the_dispatcher_would(
    site: Site, since_s: float, kind: str, upstream: str
):
    site.fill(pauses=[failing(Held("acme-mail"), since_s=since_s)])
    [row] = site.relay("route", "shop@acme.example", "--json").rows
    assert (row["route"], row["upstream"]) == (kind, upstream)
    assert (row["paused"] is not None) == (upstream == "acme-mail")
    out = site.relay("route", "shop@acme.example").out
    assert ("authentication_failed" in out) == (upstream == "acme-mail")


def test_route_knows_a_sender_that_is_held_back(site: Site):
    site.fill(pauses=[failing(Held("acme-mail", "acme", "shop@acme.example"))])
    held, free = site.relay("route", "shop@acme.example", "ann@acme.example", "--json").rows
    assert held["paused"]["cause"] == "sender_refused"
    assert free["paused"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--header", "Subject"), 2, 'write NAME=VALUE, not "Subject"'),
        (("--user", "crn"), 1, 'no user named "crn"; did you mean "crm"?'),
    ],
)
def test_route_is_asked_in_the_right_way(
    site: Site, arguments: tuple[str, ...], status: int, told: str
):
    done = site.relay("route", "shop@acme.example", *arguments)
    assert done.status == status
    assert told in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nonsense",), "it has no @"),
        (("a b@c.example",), "is not exactly one mail address"),
        (("a@b@c.example",), "is not exactly one mail address"),
        (("<shop@acme.example",), "is not exactly one mail address"),
        (("shop@acme..example",), "is not a domain name"),
        (("shop@acme.example", "nonsense"), "it has no @"),
        (("two words", "--from", "shop@acme.example"), "is not exactly one mail address"),
        (("shop@acme.example", "--recipient", "nonsense"), "it has no @"),
    ],
)
def test_a_bad_address_gets_one_line(site: Site, arguments: tuple[str, ...], told: str):
    done = site.relay("route", *arguments)
    assert (done.status, done.out) == (2, "")
    assert told in done.err


@pytest.mark.parametrize("null", ["", "<>"])
def test_the_null_sender_has_two_names(site: Site, null: str):
    [row] = site.relay("route", null, "--from", "shop@acme.example", "--json").rows
    assert (row["sender"], row["tenant"]) == ("", "acme")


def test_an_old_devices_sender_is_asked_about_with_its_from(site: Site):
    [row] = site.relay("route", "scanner", "--from", "shop@acme.example", "--json").rows
    assert (row["sender"], row["tenant"]) == ("scanner", "acme")


def test_route_goes_by_the_tenants_of_the_user(site: Site):
    done = site.relay("route", "shop@globex.example", "--user", "crm", "--json")
    # Bound to a single tenant, which is forced.
    assert done.rows[0]["tenant"] == "acme"


# -- queue


def test_queue_tells_which_pause_a_message_waits_for(site: Site):
    waiting = message(message_class="otp", priority=0)
    doubtful = message(
        "globex",
        "app@globex.example",
        recipients=(Recipient(0, "ann@customer.example", unknown=True),),
    )
    site.fill(waiting, doubtful, pauses=[failing(Held("acme-mail"))])
    first, second = site.relay("queue", "list", "--json").rows
    assert (first["kind"], first["class"], first["priority"]) == ("mail", "otp", "high")
    assert first["waits_for"]["upstream"] == "acme-mail"
    assert first["waits_for"]["cause"] == "authentication_failed"
    assert (first["possible_duplicate"], second["possible_duplicate"]) == (False, True)
    assert second["waits_for"] is None
    lines = site.relay("queue", "list").out.splitlines()
    assert "otp high" in lines[1]
    assert "in 1m" in lines[1]
    assert lines[1].endswith("acme-mail is paused")
    assert lines[2].endswith("possible duplicate")
    shown = site.relay("queue", "show", waiting.queue_id).out
    assert "class         otp\npriority      high\n" in shown
    told = re.escape(f"authentication_failed ({REFUSED})")
    assert re.search(rf"acme-mail, paused 3\ds ago: {told}\n +next tried in 1m\n", shown)
    shown = site.relay("queue", "show", doubtful.queue_id)
    assert "duplicate  possible: an attempt ended without a reply" in shown.out
    [whole] = site.relay("queue", "show", doubtful.queue_id, "--json").rows
    assert whole["recipients"][0]["possible_duplicate"] is True


def test_queue_tells_of_a_pause_by_hand(site: Site):
    waiting = message()
    site.fill(waiting)
    site.relay("upstream", "pause", "acme-mail", "--reason", "moving")
    assert "when resumed" in site.relay("queue", "list").out
    shown = site.relay("queue", "show", waiting.queue_id).out
    assert "by dana: moving" in shown
    assert "relay upstream resume acme-mail" in shown
