"""tenant, check and route: the file, the switch in the store, and what comes of both."""

import asyncio
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from support.configs import relay_config
from support.program import RELAY
from support.verbs import Relay, command_line

from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

DEFAULT = {"upstream": "platform", "from": "Platform <noreply@platform.example>"}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    text = relay_config(
        tmp_path,
        2525,
        upstreams={
            "acme-mail": {"host": "mail.acme.example"},
            "platform": {"host": "localhost", "port": 587},
        },
        tenants={
            "acme": {
                "domains": ["acme.example"],
                "upstream": "acme-mail",
                "from": "Acme <noreply@acme.example>",
                "owner": "Dana <dana@acme.example>",
                "notes": "Moved in May.",
            },
            "globex": {"domains": ["globex.example"], "upstream": "platform", "enabled": False},
            "initech": {"domains": ["initech.example"]},
        },
        default=DEFAULT,
    )
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def relay(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    return command_line(config_file, capsys)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """As ``relay serve`` leaves it."""

    async def serve_once() -> None:
        store = SqliteStore(path, render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    path = tmp_path / "relay.db"
    asyncio.run(serve_once())
    return path


def without_default(config_file: Path) -> None:
    sections = yaml.safe_load(config_file.read_text())
    del sections["default"], sections["tenants"]["initech"]
    sections["tenants"]["globex"]["enabled"] = True
    config_file.write_text(yaml.safe_dump(sections))


# -- tenant


@pytest.mark.usefixtures("store")
def test_list_tells_programs_which_way_each_goes(relay: Relay):
    rows = {row["tenant"]: row for row in relay("tenant", "list", "--json").rows}
    ways = {name: (row["enabled"], row["route"], row["leaves_by"]) for name, row in rows.items()}
    assert ways == {
        "acme": (True, "tenant", "acme-mail"),
        "globex": (False, "default", "platform"),
        "initech": (True, "default", "platform"),
    }


def test_list_needs_no_store(relay: Relay):
    lines = relay("tenant", "list").out.splitlines()
    assert lines[1].split()[:3] == ["acme", "enabled", "acme-mail"]
    assert "platform (default)" in lines[2]


@pytest.mark.usefixtures("store")
def test_disable_is_shown_everywhere_with_actor_and_reason(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUDO_USER", "dana")
    done = relay("tenant", "disable", "acme", "--reason", " account\nsuspended ")
    assert done.status == 0
    assert done.out == "acme is disabled: its mail leaves by platform as noreply@platform.example\n"
    [row] = relay("tenant", "show", "acme", "--json").rows
    assert (row["enabled"], row["enabled_in_file"]) == (False, True)
    assert (row["actor"], row["reason"]) == ("dana", "account suspended")
    assert re.search(r"^enabled +no$", relay("tenant", "show", "acme").out, re.MULTILINE)
    assert "account suspended (dana)" in relay("tenant", "list").out
    [event] = relay("audit", "--event", "tenant.disabled", "--json").rows
    assert (event["tenant"], event["actor"], event["reason"]) == (
        "acme",
        "dana",
        "account suspended",
    )


@pytest.mark.usefixtures("store")
def test_enable_wins_over_the_file_until_reset(relay: Relay):
    done = relay("tenant", "enable", "globex", "--reason", "try again")
    assert "leaves by platform" in done.out
    assert relay("tenant", "show", "globex", "--json").rows[0]["enabled"]
    done = relay("tenant", "reset", "globex", "--reason", "enough")
    assert done.out == "globex is disabled, as the configuration says\n"
    assert not relay("tenant", "show", "globex", "--json").rows[0]["enabled"]
    events = [row["event"] for row in relay("audit", "--tenant", "globex", "--json").rows]
    assert events == ["tenant.enabled", "tenant.reset"]


@pytest.mark.usefixtures("store")
def test_reset_of_what_was_never_switched_tells_no_event(relay: Relay):
    assert relay("tenant", "reset", "acme", "--reason", "x").status == 0
    assert relay("audit", "--json").rows == []


@pytest.mark.usefixtures("store")
def test_nobody_is_disabled_without_a_default(relay: Relay, config_file: Path):
    without_default(config_file)
    done = relay("tenant", "disable", "acme", "--reason", "x")
    assert done.status == 1
    assert done.err.startswith("relay: acme can't be disabled: there is no default upstream")
    assert relay("tenant", "show", "acme", "--json").rows[0]["enabled"]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "verb",
    [
        ("disable", "--reason", "x"),
        ("enable", "--reason", "x"),
        ("reset", "--reason", "x"),
        ("show",),
    ],
)
def test_an_unknown_tenant_is_one_line_with_a_suggestion(relay: Relay, verb: tuple[str, ...]):
    done = relay("tenant", verb[0], "acmee", *verb[1:])
    assert done.status == 1
    assert done.err == 'relay: no tenant named "acmee"; did you mean "acme"?\n'


@pytest.mark.parametrize("reason", [(), ("--reason", ""), ("--reason", "\x1b[2J")])
@pytest.mark.parametrize("verb", ["disable", "enable", "reset"])
@pytest.mark.usefixtures("store")
def test_every_switch_wants_a_reason_in_words(relay: Relay, verb: str, reason: tuple[str, ...]):
    done = relay("tenant", verb, "acme", *reason)
    assert (done.status, done.out) == (2, "")
    assert "--reason" in done.err
    assert relay("audit", "--json").rows == []


def test_disable_without_a_store_says_so(relay: Relay):
    done = relay("tenant", "disable", "acme", "--reason", "x")
    assert done.status == 1
    assert "no store at" in done.err


@pytest.mark.usefixtures("store")
def test_audit_follows_the_trail_until_ctrl_c(relay: Relay, config_file: Path):
    relay("tenant", "disable", "acme", "--reason", "before")
    # A job in the background of a script has SIGINT ignored, and so would its children.
    ctrl_c_works = ("env", "--default-signal=INT")
    command = [*ctrl_c_works, str(RELAY), "--config", str(config_file), "audit", "-f", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        assert follower.stdout
        assert follower.stderr
        try:
            assert json.loads(follower.stdout.readline())["reason"] == "before"
            relay("tenant", "enable", "acme", "--reason", "meanwhile")
            assert json.loads(follower.stdout.readline())["reason"] == "meanwhile"
            follower.send_signal(signal.SIGINT)
            assert follower.wait(30) == 130
            # Each event came once.
            assert (follower.stdout.read(), follower.stderr.read()) == (b"", b"")
        finally:
            follower.kill()


# -- check


def test_check_sums_up_a_sound_configuration(relay: Relay, config_file: Path):
    done = relay("check")
    assert done.status == 0
    assert done.out.startswith(f"configuration OK: {config_file}\n")
    assert "platform as noreply@platform.example" in done.out
    assert "3, 1 disabled" in done.out


def test_check_lists_every_problem_and_has_status_78(relay: Relay, config_file: Path):
    sections = yaml.safe_load(config_file.read_text())
    sections["tenants"]["acme"]["upstream"] = "acme-mial"
    sections["limits"] = {"recipients": "many"}
    config_file.write_text(yaml.safe_dump(sections))
    done = relay("check")
    assert (done.status, done.out) == (78, "")
    problems = done.err.splitlines()
    assert len(problems) == 2
    assert all(problem.startswith(f"{config_file}:") for problem in problems)
    assert 'did you mean "acme-mail"?' in done.err


def test_check_warns_with_status_0(relay: Relay, config_file: Path):
    sections = yaml.safe_load(config_file.read_text())
    sections["upstreams"]["platform"] |= {"username": "u", "password": "plain"}
    config_file.write_text(yaml.safe_dump(sections))
    done = relay("check")
    assert done.status == 0
    assert "warning: " in done.out


@pytest.mark.usefixtures("store")
def test_check_names_the_tenants_whose_switch_is_not_as_the_file_says(
    relay: Relay, config_file: Path
):
    relay("tenant", "disable", "acme", "--reason", "suspended")
    relay("tenant", "disable", "globex", "--reason", "as the file says")
    notes = [line for line in relay("check").out.splitlines() if line.startswith("note")]
    assert len(notes) == 1
    assert notes[0].startswith("note: acme is disabled by ")
    assert notes[0].endswith("(suspended), though the file has it enabled")
    config_file.write_text(config_file.read_text().replace("  acme:\n", "  acne:\n"))
    assert 'there is a toggle for "acme"' in relay("check").out


# -- route


def test_route_tells_way_identity_and_steps(relay: Relay):
    [row] = relay("route", "www-data@web01", "--from", "Shop <shop@acme.example>", "--json").rows
    assert (row["tenant"], row["route"], row["upstream"]) == ("acme", "tenant", "acme-mail")
    assert (row["reverse_path"], row["from"]) == (
        "noreply@acme.example",
        "Shop <shop@acme.example>",
    )
    assert row["refused"] is None
    assert "header From shop@acme.example matches domain acme.example" in row["steps"][0]


def test_route_of_the_default_keeps_the_way_back_in_reply_to(relay: Relay):
    [row] = relay(
        "route", "fax@elsewhere.example", "--from", "Fax <f@elsewhere.example>", "--json"
    ).rows
    assert (row["tenant"], row["upstream"]) == (None, "platform")
    assert (row["from"], row["reply_to"]) == (
        "Fax <noreply@platform.example>",
        "Fax <f@elsewhere.example>",
    )


@pytest.mark.usefixtures("store")
def test_route_goes_by_the_switch(relay: Relay):
    relay("tenant", "disable", "acme", "--reason", "suspended")
    out = relay("route", "shop@acme.example").out
    assert "platform (localhost:587, STARTTLS)" in out
    assert ": suspended" in out


def test_route_of_several_senders_and_the_null_one(relay: Relay):
    rows = relay("route", "a@acme.example", "", "<b@initech.example>", "--json").rows
    assert [row["sender"] for row in rows] == ["a@acme.example", "", "b@initech.example"]
    assert [row["tenant"] for row in rows] == ["acme", None, "initech"]


def test_route_says_what_the_relay_would_refuse(relay: Relay, config_file: Path):
    without_default(config_file)
    done = relay("route", "fax@elsewhere.example")
    assert done.status == 1
    assert "550 5.7.1 no tenant sends as fax@elsewhere.example" in done.out
