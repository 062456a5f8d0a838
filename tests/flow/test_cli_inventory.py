"""relay config inventory: with a store and without one, for people, programs and the next admin."""

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from support.configs import relay_config
from support.verbs import Done, Relay, command_line

from relay.model.events import Event, EventName
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

NASTY = (
    "*bold* _it_ `code` <b>html</b> | cell [link](x) # no heading\n- no list\n1. none\n\n    code\n"
)


def config(folder: Path) -> str:
    secret = folder / "secret"
    secret.write_text("hunter22\n")
    secret.chmod(0o600)
    os.utime(secret, (time.time() - 3 * 86400 - 60,) * 2)
    return relay_config(
        folder,
        2525,
        upstreams={
            "acme-mail": {
                "host": "localhost",
                "port": 465,
                "username": "relay@acme.example",
                "password": f"file:{secret}",
            },
            "platform": {"host": "localhost", "port": 465, "password": "hunter23", "username": "p"},
        },
        tenants={
            "acme": {
                "domains": ["acme.example", "*.acme.example"],
                "senders": ["billing@shared.example"],
                "upstream": "acme-mail",
                "from": "Acme <noreply@acme.example>",
                "owner": "Dana | d <dana@acme.example>",
                "recovery": "https://wiki.acme.example/mail_recovery",
                "notes": NASTY,
            },
            "globex": {"domains": ["globex.example"], "failover": {"to": ["acme-mail"]}}
            | {"upstream": "platform", "enabled": False, "owner": "Gil <gil@globex.example>"},
        },
        default={"upstream": "platform", "from": "Platform <noreply@platform.example>"},
        alerts={"email": "ops@platform.example"},
    )


@pytest.fixture
def relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    (tmp_path / "config.yaml").write_text(config(tmp_path))
    return command_line(tmp_path / "config.yaml", capsys)


def made(path: Path) -> Administration:
    async def make() -> None:
        store = SqliteStore(path, render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    asyncio.run(make())
    return Administration(path, json_line)


@pytest.fixture
def used(relay: Relay, tmp_path: Path) -> Relay:
    """A relay that has been tested, checked, drilled and toggled, and that has failed."""

    def event(name: EventName, **fields: Any) -> Event:
        return Event(name, fields, tenant="acme")

    with made(tmp_path / "relay.db") as store:
        reply = {"code": 550, "enhanced_status": "5.1.1", "text": "no <such> user"}
        store.tell(
            event("test.failed", actor="dana", upstream="acme-mail", cause="authentication_failed"),
            event("test.sent", actor="dana", upstream="acme-mail"),
            event("doctor.checked", actor="carl", result="red", green=3, red=1),
            event("drill.run", actor="carl", result="passed", scenes={}),
            event(
                "email.send_failed",
                upstream="acme-mail",
                route="tenant",
                cause="recipient_refused",
                reply=reply,
                recipients=["a@b"],
            ),
        )
    assert relay("tenant", "disable", "acme", "--reason", "they *asked*").status == 0
    assert relay("tenant", "enable", "globex", "--reason", "paid").status == 0
    return relay


def rows(done: Done, about: str) -> dict[str, dict[str, Any]]:
    assert done.status == 0, done.err
    return {row.get(about, ""): row for row in done.rows if row["about"] == about}


def test_programs_get_all_that_is_configured_also_without_a_store(relay: Relay):
    done = relay("config", "inventory", "--json")
    acme, globex = rows(done, "tenant").values()
    assert acme["domains"] == ["acme.example", "*.acme.example"]
    assert acme["senders"] == ["billing@shared.example"]
    assert (acme["upstream"], acme["from"]) == ("acme-mail", "Acme <noreply@acme.example>")
    assert acme["rewrite_from"] == "foreign"
    assert acme["notes"].startswith("*bold*")
    assert (acme["missing"], globex["missing"]) == ([], ["recovery"])
    assert (globex["enabled"], globex["enabled_in_file"]) == (False, False)
    assert globex["failover"] == ["acme-mail"]
    assert (acme["last_test"], acme["last_sent"], acme["toggle"]) == (None, None, None)
    assert rows(done, "relay")[""]["alerts"] == "ops@platform.example"
    assert rows(done, "default")[""]["rewrite_from"] == "always"
    assert rows(done, "upstream")["acme-mail"]["used_by"] == ["acme", "globex"]


def test_secrets_have_a_reference_and_an_age_and_are_not_shown(used: Relay, tmp_path: Path):
    for form in ((), ("--json",), ("--markdown",)):
        out = used("config", "inventory", *form).out
        assert not re.search("hunter2|relay@acme", out)
    user, password = rows(used("config", "inventory", "--json"), "tenant")["acme"]["secrets"]
    assert (user["reference"], user["changed_at"]) == ("(plain text in the file)", None)
    assert password["reference"] == f"file:{tmp_path}/secret"
    assert password["changed_at"].endswith("Z")
    assert "3d" in used("config", "inventory").out.splitlines()[1]


def test_programs_get_how_it_last_went_and_both_words_on_the_switch(used: Relay):
    tenants = rows(used("config", "inventory", "--json"), "tenant")
    acme = tenants["acme"]
    assert (acme["enabled"], acme["enabled_in_file"]) == (False, True)
    assert (acme["toggle"]["reason"], acme["toggle"]["until"]) == ("they *asked*", None)
    assert acme["last_toggle"]["event"] == "tenant.disabled"
    assert (acme["last_test"]["event"], acme["last_test"]["actor"]) == ("test.sent", "dana")
    assert (acme["last_doctor"]["result"], acme["last_doctor"]["actor"]) == ("red", "carl")
    assert acme["last_drill"]["result"] == "passed"
    assert acme["last_failure"]["cause"] == "recipient_refused"
    assert acme["last_failure"]["reply"]["code"] == 550
    assert tenants["globex"]["last_toggle"]["event"] == "tenant.enabled"
    assert tenants["globex"]["last_test"] is None


def test_the_table_names_what_is_missing(used: Relay):
    lines = used("config", "inventory").out.splitlines()
    acme, globex = lines[1:3]
    assert acme.split()[:4] == ["acme", "disabled", "(enabled", "in"]
    assert "sent 0s" in acme
    assert "red 0s" in acme
    assert "recipient_refused" in acme
    assert "Gil <gil@globex.example>" in globex
    assert lines[-2:] == ["missing, for 1 of 2 tenants", "  globex  recovery"]


def plain(document: str) -> tuple[list[str], str]:
    """The headings, and all the text that a reader sees, as a Markdown reader takes it."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(document)
    headings = [
        tokens[index + 1].content for index, one in enumerate(tokens) if one.type == "heading_open"
    ]
    seen = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in [*tokens, *seen]}
    assert not kinds & {"html_inline", "html_block", "table_open", "em_open", "ordered_list_open"}
    assert not kinds & {"code_block", "fence", "image"}
    return headings, "".join("\n" if "break" in one.type else one.content for one in seen)


def test_the_document_is_what_was_written_and_nothing_of_it_is_markup(used: Relay):
    document = used("config", "inventory", "--markdown").out
    headings, text = plain(document)
    assert headings == [
        "The mail relay on relay.test",
        "The default",
        "Upstreams",
        *("acme-mail", "platform"),
        "Tenants",
        *("acme", "globex"),
        "What is missing",
    ]
    assert (
        "*bold* _it_ `code` <b>html</b> | cell [link](x) # no heading\n- no list\n1. none" in text
    )
    assert "Dana | d <dana@acme.example>" in text
    assert "550 5.1.1 no <such> user" in text
    assert "they *asked*" in text
    assert "<https://wiki.acme.example/mail_recovery>" in document
    assert "**globex** has no recovery." in document
    assert "- Recovery: **missing**" in document


def test_the_document_says_that_nothing_is_missing(tmp_path: Path, capsys: Any):
    upstreams = {"acme-mail": {"host": "localhost", "port": 465}}
    file = tmp_path / "config.yaml"
    file.write_text(relay_config(tmp_path, 2525, upstreams, tenants={}))
    relay = command_line(file, capsys)
    done = relay("config", "inventory", "--markdown")
    assert "Nothing: every tenant" in done.out
    assert "None: unrouted senders are refused" in done.out
    assert relay("config", "inventory").out == "no tenants\n"


def test_ten_thousand_tenants_take_seconds(tmp_path: Path, capsys: Any):
    tenants = {f"t{n}": {"domains": [f"t{n}.example"], "upstream": "m"} for n in range(10_000)}
    file = tmp_path / "config.yaml"
    file.write_text(relay_config(tmp_path, 2525, {"m": {"host": "localhost"}}, tenants))
    with made(tmp_path / "relay.db") as store:
        for name in list(tenants)[::50]:
            store.tell(Event("test.sent", {"actor": "dana"}, tenant=name))
    begin = time.monotonic()
    done = command_line(file, capsys)("config", "inventory", "--json")
    assert time.monotonic() - begin < 30
    assert len(done.rows) == 10_002


def test_one_form_at_a_time(relay: Relay):
    done = relay("config", "inventory", "--json", "--markdown")
    assert (done.status, "one or the other" in done.err) == (2, True)


def test_json_is_one_object_a_line(relay: Relay):
    for line in relay("config", "inventory", "--json").out.splitlines():
        assert json.loads(line)["about"] in ("relay", "default", "upstream", "tenant")
