"""relay test: two messages by a tenant's own way, the dialogue, and what the trail says."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.certificates import Certificates
from support.configs import relay_config, upstream_entry
from support.flows import administration, names, trail
from support.upstream import DROP, EXTENSIONS, STEP_BY_STEP, ThreadedUpstream
from support.verbs import Relay, command_line

from relay.model.suppression import Source, Suppression
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line
from relay.trial.samples import picture

USERS = {"acme": "s3cret-words"}
QA = "qa@customer.example"
TIMEOUTS = {"connect": "2s", "reply": "2s", "data_reply": "2s"}

Servers = dict[str, ThreadedUpstream]


@pytest.fixture
def servers(certificates: Certificates) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                ThreadedUpstream(certificates.good(), tls=tls, users={user: USERS["acme"]})
            )
            for name, tls, user in (
                ("acme-mail", "implicit", "acme"),
                ("globex-mail", "starttls", "globex"),
                ("platform", "starttls", "platform"),
            )
        }


@pytest.fixture
def config_file(tmp_path: Path, certificates: Certificates, servers: Servers) -> Path:
    file = tmp_path / "config.yaml"
    entries = {
        name: upstream_entry(server, certificates.ca_file) for name, server in servers.items()
    }
    file.write_text(
        relay_config(
            tmp_path,
            2525,
            upstreams=entries,
            tenants={
                "acme": {
                    "domains": ["*.acme.example", "acme.example"],
                    "upstream": "acme-mail",
                    "from": "Acme, Inc. <noreply@acme.example>",
                    "reply_to": "support@acme.example",
                },
                "globex": {"domains": ["*.g.example", "globex.example"], "upstream": "globex-mail"},
                "initech": {"domains": ["initech.example"]},
                "wild": {"domains": ["*.wild.example"]},
            },
            default={"upstream": "platform", "from": "Platform <noreply@platform.example>"},
            timeouts=TIMEOUTS,
        )
    )
    return file


@pytest.fixture
def relay(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    return command_line(config_file, capsys)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """As ``relay serve`` leaves it."""

    async def serve_once() -> None:
        store = SqliteStore(tmp_path / "relay.db", render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    asyncio.run(serve_once())
    return tmp_path


def change(config_file: Path, name: str, **entries: Any) -> None:
    whole = yaml.safe_load(config_file.read_text())
    whole["upstreams"][name] |= entries
    config_file.write_text(yaml.safe_dump(whole))


def received(server: ThreadedUpstream) -> list[EmailMessage]:
    found = [message_from_bytes(taken.content, policy=modern) for taken in server.transactions]
    return [message for message in found if isinstance(message, EmailMessage)]


# -- what is sent


@pytest.mark.usefixtures("store")
def test_two_messages_go_by_the_tenants_own_way(relay: Relay, servers: Servers) -> None:
    done = relay("test", "acme", "--to", QA)
    assert (done.status, done.err) == (0, "")
    rich, plain = received(servers["acme-mail"])
    assert servers["acme-mail"].connections == 1
    for taken in servers["acme-mail"].transactions:
        assert (taken.reverse_path, taken.recipients) == ("noreply@acme.example", (QA,))
        assert (taken.user, b"\n" in taken.wire.replace(b"\r\n", b"")) == ("acme", False)
    for message in (rich, plain):
        assert message["From"] == '"Acme, Inc." <noreply@acme.example>'
        assert message["To"] == QA
        assert message["Reply-To"] == "support@acme.example"
        assert message["Auto-Submitted"] == "auto-generated"
        assert re.match(r"Test of acme by acme-mail, \d{4}-\d\d-\d\d .* UTC", message["Subject"])
        assert abs(message["Date"].datetime.timestamp() - time.time()) < 60
        assert message["Message-ID"].endswith(".test@relay.test>")
        assert not message.defects
    assert rich["Message-ID"] != plain["Message-ID"]
    assert plain.get_content_type() == "text/plain"


@pytest.mark.usefixtures("store")
def test_the_picture_is_within_the_page(relay: Relay, servers: Servers) -> None:
    relay("test", "acme", "--to", QA)
    rich = received(servers["acme-mail"])[0]
    assert rich.get_content_type() == "multipart/alternative"
    text, related = rich.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert related.get_content_type() == "multipart/related"
    page, image = related.iter_parts()
    assert page.get_content_type() == "text/html"
    assert (image.get_content_type(), image.get_content()) == ("image/png", picture())
    assert image.get_content_disposition() == "inline"
    (name,) = re.findall(r'<img src="cid:([^"]+)"', page.get_content())
    assert image["Content-ID"] == f"<{name}>"
    assert picture().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.usefixtures("store")
def test_it_goes_while_the_tenant_is_off_and_the_upstream_paused(
    relay: Relay, servers: Servers
) -> None:
    relay("tenant", "disable", "acme", "--reason", "suspended")
    relay("upstream", "pause", "acme-mail", "--reason", "moving")
    done = relay("test", "acme", "--to", QA)
    assert done.status == 0
    assert len(servers["acme-mail"].transactions) == 2
    assert not servers["platform"].transactions
    notes = [line for line in done.out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert notes[0].startswith("note: acme is disabled: ")
    assert "moving" in notes[1]


@pytest.mark.usefixtures("store")
def test_via_default_is_under_the_defaults_identity(relay: Relay, servers: Servers) -> None:
    rows = relay("test", "acme", "--to", QA, "--via", "default", "--json").rows
    assert [(row["upstream"], row["route"], row["sent"]) for row in rows] == [
        ("platform", "default", True),
        ("platform", "default", True),
    ]
    (first, _) = received(servers["platform"])
    assert servers["platform"].transactions[0].reverse_path == "noreply@platform.example"
    assert first["From"].addresses[0].addr_spec == "noreply@platform.example"
    assert not servers["acme-mail"].connections


@pytest.mark.usefixtures("store")
def test_a_tenant_without_an_upstream_tests_the_default(relay: Relay, servers: Servers) -> None:
    done = relay("test", "initech", "--to", QA)
    assert done.status == 0
    assert "initech has no upstream of its own: this tests the default" in done.out
    assert len(servers["platform"].transactions) == 2


@pytest.mark.usefixtures("store")
def test_the_sender_is_the_first_domain_that_is_no_wildcard(relay: Relay, servers: Servers) -> None:
    relay("test", "globex", "--to", QA)
    assert servers["globex-mail"].transactions[0].reverse_path == "postmaster@globex.example"
    done = relay("test", "wild", "--to", QA)
    assert done.status == 1
    assert done.err == "relay: wild has no from and no domain to send from: say --from ADDRESS\n"


@pytest.mark.usefixtures("store")
def test_from_must_be_the_tenants_unless_it_is_rewritten(relay: Relay, servers: Servers) -> None:
    done = relay("test", "globex", "--to", QA, "--from", "shop@acme.example")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("relay: shop@acme.example is not globex's")
    assert not servers["globex-mail"].connections
    assert relay("test", "globex", "--to", QA, "--from", "shop@a.g.example").status == 0
    assert servers["globex-mail"].transactions[0].reverse_path == "shop@a.g.example"
    assert relay("test", "acme", "--to", QA, "--from", "www-data@web01.example").status == 0
    assert servers["acme-mail"].transactions[0].reverse_path == "noreply@acme.example"


@pytest.mark.usefixtures("store")
def test_the_null_reverse_path_is_what_the_upstream_bears(
    relay: Relay, servers: Servers, config_file: Path
) -> None:
    relay("test", "acme", "--to", QA, "--from", "<>")
    change(config_file, "acme-mail", null_sender="bounces@acme.example")
    relay("test", "acme", "--to", QA, "--from", "<>")
    paths = [taken.reverse_path for taken in servers["acme-mail"].transactions]
    assert paths == ["", "", "bounces@acme.example", "bounces@acme.example"]


@pytest.mark.usefixtures("store")
def test_no_tenants_mail_goes_by_another_tenants_upstream(
    relay: Relay, servers: Servers, config_file: Path
) -> None:
    done = relay("test", "acme", "--to", QA, "--via", "globex-mail")
    assert done.status == 1
    assert done.err.startswith("relay: globex-mail is globex's: no mail of acme goes by it")
    assert not servers["globex-mail"].connections
    whole = yaml.safe_load(config_file.read_text())
    whole["tenants"]["acme"]["failover"] = {"to": ["globex-mail"]}
    config_file.write_text(yaml.safe_dump(whole))
    rows = relay("test", "acme", "--to", QA, "--via", "globex-mail", "--json").rows
    assert [row["route"] for row in rows] == ["failover", "failover"]
    assert servers["globex-mail"].transactions[0].reverse_path == "noreply@acme.example"


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_a_suppressed_recipient_is_said_to_be_and_sent_to(
    relay: Relay, servers: Servers, store: Path, tenant: str
) -> None:
    entry = Suppression(tenant, QA, Source.MANUAL, "she has left", "dana", time.time())
    with administration(store) as opened:
        opened.suppress([entry])
    done = relay("test", "acme", "--to", QA.upper())
    assert done.status == 0
    assert re.search(r"^note: .* is suppressed .*\(she has left\)", done.out, re.MULTILINE)
    assert len(servers["acme-mail"].transactions) == 2


# -- the dialogue


def said(out: str, mark: str) -> list[str]:
    return re.findall(rf"^ +\d+ ms  {mark} (.*)$", out, re.MULTILINE)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("extensions", [EXTENSIONS, STEP_BY_STEP])
def test_the_dialogue_as_it_went(
    relay: Relay, servers: Servers, extensions: tuple[str, ...]
) -> None:
    servers["platform"].extensions = extensions
    done = relay("test", "initech", "--to", QA)
    ours = said(done.out, ">")
    assert ours[:4] == ["EHLO relay.test", "STARTTLS", "EHLO relay.test", "AUTH PLAIN ****"]
    assert ours[4].startswith("MAIL FROM:<noreply@platform.example> SIZE=")
    assert ours[5:7] == [f"RCPT TO:<{QA}>", "DATA"]
    size = len(servers["platform"].transactions[0].wire)
    assert ours[7] == f"(content, {size:,} octets)"
    assert ours[-1] == "QUIT"
    theirs = said(done.out, "<")
    assert theirs[0] == "220 upstream.example ESMTP"
    assert theirs[1] == "250-upstream.example"
    assert theirs.count("250 2.0.0 taken") == 2
    assert theirs[-1] == "221 2.0.0 bye"
    times = [int(ms) for ms in re.findall(r"^ +(\d+) ms", done.out, re.MULTILINE)]
    assert times == sorted(times)


@pytest.mark.usefixtures("store")
def test_each_line_of_auth_login_is_masked(relay: Relay, servers: Servers) -> None:
    servers["acme-mail"].script["ehlo"] = "250 upstream.example\n250 AUTH LOGIN"
    done = relay("test", "acme", "--to", QA)
    assert done.status == 0
    assert said(done.out, ">")[1:3] == ["AUTH LOGIN ****", "****"]
    assert base64.b64encode(b"acme").decode() not in done.out


@pytest.mark.parametrize("script", [{}, {"auth": "535 5.7.8 not s3cret-words"},
                                    {"dot": "550 5.7.1 s3cret-words"}])  # fmt: skip
def test_nothing_shows_the_secret(
    relay: Relay, servers: Servers, store: Path, script: dict[str, str]
) -> None:
    servers["acme-mail"].script.update(script)
    outputs = [relay("test", "acme", "--to", QA, *more) for more in ([], ["--json"])]
    (password,) = USERS.values()
    files = [file for file in store.glob("relay.db*") if file.is_file()]
    kept = "".join(file.read_bytes().decode("latin-1") for file in files)
    plain = base64.b64encode(f"\0acme\0{password}".encode()).decode()
    for form in (password, base64.b64encode(password.encode()).decode(), plain):
        assert not [done for done in outputs if form in done.out + done.err]
        assert form not in kept


# -- what comes of it


def test_it_is_on_record(relay: Relay, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "dana")
    rows = relay("test", "acme", "--to", QA, "--json").rows
    told = trail(store)
    assert names(told) == ["test.sent", "test.sent"]
    for event, row in zip(told, rows, strict=True):
        assert row["on_record"]
        assert (event["tenant"], event["actor"]) == ("acme", "dana")
        assert (event["upstream"], event["route"]) == ("acme-mail", "tenant")
        assert (event["recipients"], event["message_id"]) == ([QA], row["message_id"])
        assert event["reply"]["code"] == 250
        assert event["duration_ms"] > 0
        assert "cause" not in event


def test_a_wrong_password_is_tried_once(
    relay: Relay, servers: Servers, store: Path, config_file: Path
) -> None:
    change(config_file, "acme-mail", password="not-the-one")
    done = relay("test", "acme", "--to", QA)
    assert done.status == 1
    assert "FAILED: authentication_failed" in done.out
    assert "check the upstream's username and password" in done.out
    assert "plain text: NOT TRIED, for the same reason" in done.out
    assert [line for _, line in servers["acme-mail"].commands if "AUTH" in line] == ["AUTH PLAIN"]
    (event,) = trail(store)
    assert (event["event"], event["cause"]) == ("test.failed", "authentication_failed")
    assert event["remedy"].startswith("check the upstream's username")
    assert event["reply"]["code"] == 535


def test_each_message_fails_for_itself(relay: Relay, servers: Servers, store: Path) -> None:
    servers["acme-mail"].script["dot"] = ["554 5.7.1 no pictures", None]
    done = relay("test", "acme", "--to", QA, "--json")
    assert done.status == 1
    assert [(row["sent"], row["cause"]) for row in done.rows] == [
        (False, "message_refused"),
        (True, None),
    ]
    assert names(trail(store)) == ["test.failed", "test.sent"]


@pytest.mark.usefixtures("store")
def test_a_lost_connection_is_made_anew_for_the_second(relay: Relay, servers: Servers) -> None:
    servers["acme-mail"].script["mail"] = {"*": DROP}
    done = relay("test", "acme", "--to", QA, "--json")
    assert [row["cause"] for row in done.rows] == ["connection_lost", "connection_lost"]
    assert servers["acme-mail"].connections == 2


@pytest.mark.usefixtures("store")
def test_a_server_that_is_not_there(relay: Relay, servers: Servers) -> None:
    servers["acme-mail"].down()
    done = relay("test", "acme", "--to", QA)
    assert done.status == 1
    assert "FAILED: connection_refused" in done.out


def test_without_a_store_it_is_not_on_record_and_goes(relay: Relay, servers: Servers) -> None:
    done = relay("test", "acme", "--to", QA)
    assert done.status == 0
    assert "note: there is no store yet: this test is not on record" in done.out
    assert len(servers["acme-mail"].transactions) == 2
    assert not relay("test", "acme", "--to", QA, "--json").rows[0]["on_record"]


def test_nothing_is_sent_that_can_not_be_put_on_record(
    relay: Relay, servers: Servers, tmp_path: Path
) -> None:
    (tmp_path / "relay.db").write_bytes(b"no database at all" * 100)
    done = relay("test", "acme", "--to", QA)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert not servers["acme-mail"].connections


def test_the_wrong_input_of_a_tired_person(
    relay: Relay, servers: Servers, config_file: Path
) -> None:
    unknown = relay("test", "acmee", "--to", QA)
    assert (unknown.status, unknown.err) == (
        1,
        'relay: no tenant named "acmee"; did you mean "acme"?\n',
    )
    for wrong in (["--to", "qa"], ["--to", QA, "--from", "a b"]):
        done = relay("test", "acme", *wrong)
        assert done.status == 2
        assert "Error: Invalid value for --" in done.err
    nowhere = relay("test", "acme", "--to", QA, "--via", "acme-mial")
    assert nowhere.err == 'relay: no upstream named "acme-mial"; did you mean "acme-mail"?\n'
    whole = yaml.safe_load(config_file.read_text())
    del whole["default"], whole["tenants"]["initech"], whole["tenants"]["wild"]
    config_file.write_text(yaml.safe_dump(whole))
    done = relay("test", "acme", "--to", QA, "--via", "default")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("relay: there is no default")
    assert not any(server.connections for server in servers.values())


@pytest.mark.usefixtures("store")
def test_rows_have_the_dialogue(relay: Relay) -> None:
    row = relay("test", "acme", "--to", QA, "--json").rows[1]
    lines = [(line["from"], line["text"]) for line in row["dialogue"]]
    assert lines[-1] == ("server", "250 2.0.0 taken")
    assert ("client", f"RCPT TO:<{QA}>") in lines
    assert json.dumps(row)
