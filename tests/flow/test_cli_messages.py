"""queue, dead and audit against a real store, which no relay serves."""

import asyncio
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config
from support.verbs import Relay, command_line

from relay.cli.messages import listing
from relay.model import events
from relay.model.causes import REMEDIES, Cause, Scope
from relay.model.identifiers import new_identifier
from relay.model.message import (
    Content,
    Ending,
    Kind,
    Message,
    Origin,
    Recipient,
    Settlement,
    State,
    ending,
)
from relay.model.reply import Reply
from relay.model.result import Attempt, Deferred
from relay.queue.lock import ServeLock
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

HEADER = b"From: Shop <shop@acme.example>\r\nSubject: two\r\n lines\r\n\r\n"
WIRE = HEADER + b"..dot\r\nend\r\n"
LETTER = HEADER + b".dot\r\nend\r\n"
GONE = Reply(550, "5.1.1", "no such user")


@dataclass
class Site:
    """``waiting`` is deferred by a refused connection until an hour from now, ``under_way`` is
    claimed, ``dead`` is refused for one of its recipients, ``expired`` has waited too long."""

    waiting: str
    under_way: str
    dead: str
    expired: str
    done: str
    relay: Relay


def message(tenant: str, *recipients: Recipient) -> Message:
    now = time.time()
    return Message(
        queue_id=new_identifier(),
        arrived_at=now - 90,
        expires_from=now - 90,
        tenant=tenant,
        priority=1,
        reverse_path="shop@acme.example",
        header_from="shop@acme.example",
        message_id="<1@acme.example>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web01", "crm"),
        recipients=recipients or (Recipient(0, "ann@customer.example"),),
        content=Content(len(WIRE), len(HEADER), (WIRE,)),
    )


def settlement(kept: Message, **news: Any) -> Settlement:
    """Of its first recipient."""
    changed = replace(kept.recipients[0], **news)
    end = ending((changed, *kept.recipients[1:]))
    return Settlement(kept.queue_id, (changed,), end, time.time() + 3600)


async def fill(path: Path) -> dict[str, str]:
    store = SqliteStore(path, render=json_line, committed=lambda told: None)
    await store.open()
    relayed = Recipient(1, "bob@customer.example", state=State.RELAYED, upstream="acme-mail")
    kept = {
        "waiting": message("acme"),
        "dead": message("acme", Recipient(0, "ann@customer.example"), relayed),
        "expired": replace(message("globex"), kind=Kind.DSN, message_class="otp", priority=0),
        "done": message("acme"),
        "under_way": message(""),
    }
    for one in kept.values():
        await store.add(one, claimed=True, events=[events.email_accepted(one)])
    refused = Deferred(Cause.CONNECTION_REFUSED, Scope.UPSTREAM)
    waiting = kept["waiting"]
    deferred = events.of_attempt(
        waiting,
        events.Way("acme-mail", "tenant"),
        waiting.recipients,
        refused,
        Attempt((refused,), None, None, 0.1),
    )
    await store.settle(
        [settlement(waiting, cause=Cause.CONNECTION_REFUSED, upstream="acme-mail")], [deferred]
    )
    dead = settlement(kept["dead"], state=State.FAILED, cause=Cause.RECIPIENT_REFUSED, reply=GONE)
    expired = settlement(kept["expired"], state=State.EXPIRED, cause=Cause.CONNECT_TIMEOUT)
    done = settlement(kept["done"], state=State.RELAYED)
    assert (dead.ending, done.ending) == (Ending.DEAD, Ending.DONE)
    await store.settle([dead], [events.email_dead_lettered(kept["dead"], dead.recipients)])
    await store.settle([expired, done], [])
    await store.close()
    return {name: one.queue_id for name, one in kept.items()}


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    upstreams = {"acme-mail": {"host": "localhost", "port": 465}}
    config_file = tmp_path / "config.yaml"
    tenants = {
        name: {"domains": [f"{name}.example"], "upstream": "acme-mail"}
        for name in ("acme", "globex")
    }
    config_file.write_text(relay_config(tmp_path, 2525, upstreams, tenants))
    queue_ids = asyncio.run(fill(tmp_path / "relay.db"))

    return Site(relay=command_line(config_file, capsys), **queue_ids)


# -- queue


def test_queue_list_tells_programs_what_waits_and_why(site: Site):
    done = site.relay("queue", "list", "--json")
    assert done.status == 0
    waiting, under_way = done.rows
    assert waiting["queue_id"] == site.waiting
    assert waiting["tenant"] == "acme"
    assert waiting["recipients"] == ["ann@customer.example"]
    assert waiting["cause"] == "connection_refused"
    assert "host and port" in waiting["remedy"]
    assert waiting["claimed"] is False
    assert waiting["due"] > waiting["arrived_at"]
    assert waiting["due"].endswith("Z")
    assert under_way["queue_id"] == site.under_way
    assert (under_way["tenant"], under_way["claimed"]) == (None, True)


def test_queue_list_is_a_table_for_people(site: Site):
    lines = site.relay("queue", "list").out.splitlines()
    assert lines[0].split() == ["QUEUE", "ID", *listing.QUEUE_TITLES[1:]]
    assert lines[1].split()[:4] == [site.waiting, "acme", "1m", "1"]
    assert "in 59m" in lines[1]
    assert "under way" in lines[2]


def test_queue_list_of_one_tenant(site: Site):
    assert [row["tenant"] for row in site.relay("queue", "list", "--tenant", "acme", "--json").rows]
    assert site.relay("queue", "list", "--tenant", "globex").out == "nothing waits\n"
    assert 'no tenant named "nobody"' in site.relay("queue", "list", "--tenant", "nobody").err


def test_queue_retry_makes_a_message_due_now(site: Site):
    assert site.relay("queue", "retry", site.waiting.lower()).out == "1 message will be tried now\n"
    [row, _] = site.relay("queue", "list", "--json").rows
    assert row["due"] <= site.relay("audit", "--event", "email.retried", "--json").rows[0]["ts"]


def test_queue_drop_ends_a_message(site: Site):
    assert site.relay("queue", "drop", site.waiting).status == 0
    assert site.waiting not in site.relay("queue", "list", "--json").out
    [dropped] = site.relay("audit", "--event", "email.dropped", "--json").rows
    assert dropped["recipients"] == ["ann@customer.example"]
    assert dropped["actor"]


def test_queue_show_tells_all_of_a_message(site: Site):
    shown = site.relay("queue", "show", site.waiting).out
    for part in (
        "shop@acme.example",
        "logged in as crm",
        "waits after attempt 1, next in 59m",
        "connection_refused",
        "remedy",
        "  Subject: two\n   lines\n",
        "email.accepted",
        "email.deferred",
    ):
        assert part in shown
    assert "dot" not in shown


def test_queue_show_of_a_done_message_is_its_trail(site: Site):
    shown = site.relay("queue", "show", site.done)
    assert shown.status == 0
    assert "email.accepted" in shown.out
    assert site.relay("queue", "show", site.done, "--json").status == 1


def test_queue_show_for_programs_has_each_recipient(site: Site):
    [whole] = site.relay("dead", "show", site.dead, "--json").rows
    assert [(one["address"], one["state"]) for one in whole["recipients"]] == [
        ("ann@customer.example", "failed"),
        ("bob@customer.example", "relayed"),
    ]
    assert (whole["helo"], whole["user"]) == ("web01", "crm")


def test_dead_show_of_an_expired_message_says_what_it_waited_for(site: Site):
    shown = site.relay("dead", "show", site.expired).out
    assert "last cause  connect_timeout: a firewall may block outbound SMTP" in shown


def test_a_verb_for_what_waits_refuses_a_dead_letter(site: Site):
    done = site.relay("queue", "drop", site.waiting, site.dead)
    assert done.status == 1
    assert "dead letter" in done.err
    # ... before anything is changed.
    assert site.waiting in site.relay("queue", "list", "--json").out


# -- dead


def test_dead_list_tells_programs_cause_reply_and_remedy(site: Site):
    dead, expired = site.relay("dead", "list", "--json").rows
    assert (dead["queue_id"], dead["tenant"]) == (site.dead, "acme")
    assert dead["recipients"] == ["ann@customer.example"]
    assert (dead["cause"], dead["last_cause"]) == ("recipient_refused", None)
    assert dead["reply"] == {"code": 550, "enhanced_status": "5.1.1", "text": "no such user"}
    assert dead["remedy"] == REMEDIES[Cause.RECIPIENT_REFUSED]
    assert dead["dead_since"] > dead["arrived_at"]
    assert (expired["cause"], expired["last_cause"]) == ("expired", "connect_timeout")


async def fill_more(path: Path, **news: Any) -> str:
    """A message of acme with this news of its recipient."""
    store = SqliteStore(path, render=json_line, committed=lambda told: None)
    await store.open()
    kept = message("acme")
    await store.add(kept, claimed=True, events=[])
    await store.settle([settlement(kept, **news)], [])
    await store.close()
    return kept.queue_id


@pytest.mark.parametrize(("noun", "state"), [("queue", State.PENDING), ("dead", State.FAILED)])
def test_what_to_do_is_about_the_very_reply(site: Site, tmp_path: Path, noun: str, state: State):
    remedy = "the recipient's mailbox is full"
    news = {"cause": Cause.RECIPIENT_REFUSED, "reply": Reply(552, "5.2.2", "mailbox full")}
    queue_id = asyncio.run(fill_more(tmp_path / "relay.db", state=state, own_remedy=remedy, **news))
    rows = {row["queue_id"]: row for row in site.relay(noun, "list", "--json").rows}
    [whole] = site.relay(noun, "show", queue_id, "--json").rows
    told = (rows[queue_id]["remedy"], whole["remedy"], whole["recipients"][0]["remedy"])
    assert told == (remedy, remedy, remedy)
    assert f"remedy     {remedy}\n" in site.relay(noun, "show", queue_id).out


def test_an_expired_message_has_the_remedy_of_what_it_waited_for(site: Site, tmp_path: Path):
    remedy = "the server did not even greet: set tls: implicit"
    news = {"cause": Cause.REPLY_TIMEOUT, "own_remedy": remedy}
    queue_id = asyncio.run(fill_more(tmp_path / "relay.db", state=State.EXPIRED, **news))
    assert f"last cause  reply_timeout: {remedy}\n" in site.relay("dead", "show", queue_id).out
    [whole] = site.relay("dead", "show", queue_id, "--json").rows
    assert (whole["cause"], whole["remedy"]) == ("expired", REMEDIES[Cause.EXPIRED])


@pytest.mark.parametrize(
    ("cause", "found"),
    [("recipient_refused", "dead"), ("expired", "expired"), ("connect_timeout", "expired")],
)
def test_dead_list_by_cause(site: Site, cause: str, found: str):
    rows = site.relay("dead", "list", "--cause", cause, "--json").rows
    assert [row["queue_id"] for row in rows] == [getattr(site, found)]


def test_dead_list_is_a_table_for_people(site: Site):
    out = site.relay("dead", "list").out
    assert "550 5.1.1 no such user" in out
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("chosen", "left"),
    [(["--tenant", "acme"], {"expired"}), (["--all"], set()), (["--cause", "expired"], {"dead"})],
)
def test_dead_retry_by_what_they_have_in_common(site: Site, chosen: list[str], left: set[str]):
    assert site.relay("dead", "retry", *chosen).status == 0
    dead = {row["queue_id"] for row in site.relay("dead", "list", "--json").rows}
    assert dead == {getattr(site, name) for name in left}


def test_dead_retry_goes_to_those_alone_who_did_not_get_it(site: Site):
    site.relay("dead", "retry", site.dead)
    [revived] = [
        row for row in site.relay("queue", "list", "--json").rows if row["queue_id"] == site.dead
    ]
    assert revived["recipients"] == ["ann@customer.example"]


def test_dead_export_is_what_the_application_sent(site: Site, tmp_path: Path):
    letter = tmp_path / "letter.eml"
    assert site.relay("dead", "export", site.dead, "--to", str(letter)).status == 0
    assert letter.read_bytes() == LETTER
    assert letter.stat().st_mode & 0o777 == 0o600


def test_dead_export_does_not_write_over_a_file(site: Site, tmp_path: Path):
    letter = tmp_path / "letter.eml"
    letter.write_text("mine")
    done = site.relay("dead", "export", site.dead, "--to", str(letter))
    assert (done.status, letter.read_text()) == (1, "mine")
    assert str(letter) in done.err


def test_dead_export_of_several_goes_to_a_directory(site: Site, tmp_path: Path):
    folder = tmp_path / "letters"
    asked = ("dead", "export", site.dead, site.expired, "--to", str(folder))
    done = site.relay(*asked)
    assert done.status == 2
    assert "name a directory" in done.err
    folder.mkdir()
    assert site.relay(*asked).status == 0
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert found == {f"{site.dead}.eml": LETTER, f"{site.expired}.eml": LETTER}


def test_dead_list_tells_kind_class_and_priority(site: Site):
    dead, expired = site.relay("dead", "list", "--json").rows
    assert (dead["kind"], dead["class"], dead["priority"]) == ("mail", None, "normal")
    assert (expired["kind"], expired["class"], expired["priority"]) == ("dsn", "otp", "high")
    assert "otp high dsn" in site.relay("dead", "list").out
    shown = site.relay("dead", "show", site.expired).out
    assert re.search("kind +dsn, of the relay's own\nclass +otp\npriority +high\n", shown)
    assert "kind" not in site.relay("dead", "show", site.dead).out.partition("header section")[0]


def test_dead_drop_ends_a_dead_letter(site: Site):
    assert site.relay("dead", "drop", site.dead).status == 0
    assert site.dead not in site.relay("dead", "list", "--json").out
    assert site.relay("dead", "drop", site.dead).status == 1


@pytest.mark.parametrize("verb", ["retry", "export", "drop"])
def test_a_verb_for_dead_letters_refuses_what_waits(site: Site, verb: str):
    done = site.relay("dead", verb, site.waiting)
    assert (done.status, done.out) == (1, "")
    assert "no dead letter, it waits" in done.err
    assert site.relay("audit", "--event", "email.dropped", "--json").rows == []


# -- changes, for programs


def test_retry_tells_of_each_whether_it_is_tried(site: Site):
    assert site.relay("queue", "retry", site.waiting, "--json").rows == [
        {"queue_id": site.waiting, "retried": True}
    ]
    rows = site.relay("dead", "retry", "--all", "--json").rows
    assert {row["queue_id"]: row["retried"] for row in rows} == {
        site.dead: True,
        site.expired: True,
    }
    assert site.relay("dead", "retry", "--all", "--json").out == ""


def test_what_is_under_way_is_told_and_status_1(site: Site, tmp_path: Path):
    with ServeLock(tmp_path / "relay.db"):
        done = site.relay("queue", "retry", site.under_way, "--json")
    assert done.rows == [{"queue_id": site.under_way, "retried": False}]
    assert (done.status, site.under_way in done.err) == (1, True)


def test_drop_tells_each(site: Site):
    assert site.relay("queue", "drop", site.waiting.lower(), "--json").rows == [
        {"queue_id": site.waiting, "dropped": True}
    ]
    rows = site.relay("dead", "drop", site.dead, site.expired, "--json").rows
    assert [row["queue_id"] for row in rows] == [site.dead, site.expired]


def test_export_tells_each_file(site: Site, tmp_path: Path):
    letter = tmp_path / "letter.eml"
    done = site.relay("dead", "export", site.dead, "--to", str(letter), "--json")
    assert done.rows == [{"queue_id": site.dead, "file": str(letter), "size": len(LETTER)}]
    done = site.relay("dead", "export", site.dead, "--json")
    assert (done.status, done.out) == (2, "")
    assert "standard output has the messages" in done.err


# -- audit


def test_audit_for_programs_is_the_lines_as_stored(site: Site):
    rows = site.relay("audit", "--json").rows
    assert [row["event"] for row in rows].count("email.accepted") == 5
    assert {"ts", "event_id", "queue_id", "tenant", "message_id"} <= set(rows[0])


def test_audit_of_one_message(site: Site):
    rows = site.relay("audit", "--queue-id", site.waiting.lower(), "--json").rows
    assert [row["event"] for row in rows] == ["email.accepted", "email.deferred"]


def test_audit_of_a_tenant_and_an_event(site: Site):
    chosen = ("--tenant", "acme", "--event", "email.dead_lettered", "--event", "email.deferred")
    rows = site.relay("audit", *chosen, "--json").rows
    assert {row["queue_id"] for row in rows} == {site.waiting, site.dead}


def test_audit_for_people_is_pretty_without_colours_in_a_pipe(site: Site):
    out = site.relay("audit", "--event", "email.deferred").out
    assert "email.deferred" in out
    assert "\n                     connection_refused\n" in out, "the cause stands beneath"
    assert "\x1b" not in out


def test_audit_goes_back_as_far_as_asked(site: Site):
    time.sleep(0.02)
    assert site.relay("audit", "--since", "10ms", "--json").rows == []


# -- what is wrong


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("queue", "show", "nonsense"), '"nonsense" is no queue id'),
        (("queue", "retry"), "name queue ids"),
        (("dead", "retry", "--all", "--tenant", "acme"), "name queue ids"),
        (("dead", "drop"), "QUEUE_ID"),
        (("dead", "list", "--cause", "expird"), 'did you mean "expired"?'),
        (("audit", "--event", "email.snet"), 'did you mean "email.sent"?'),
        (("audit", "--since", "24"), "needs a unit"),
    ],
)
def test_wrong_usage_has_status_2_and_says_what_is_right(
    site: Site, arguments: tuple[str, ...], told: str
):
    done = site.relay(*arguments)
    assert done.status == 2
    assert told in done.err


@pytest.mark.parametrize("arguments", [("queue", "list"), ("dead", "list"), ("audit",)])
def test_without_a_store_they_say_so(site: Site, tmp_path: Path, arguments: tuple[str, ...]):
    (tmp_path / "relay.db").unlink()
    done = site.relay(*arguments)
    assert done.status == 1
    assert done.err.startswith(f"relay: no store at {tmp_path / 'relay.db'}")
