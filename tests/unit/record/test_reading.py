"""The trail as a person reads it."""

import io
import json
from typing import Any

import pytest

from relay.record.reading import Prettifier, wants_colours

INDENT = " " * 21
SENT: dict[str, Any] = {
    "ts": "2025-11-21T10:31:02.123456Z",
    "event": "email.sent",
    "event_id": "0RQ4MPG92452Q",
    "queue_id": "0RQ4MPG92452P",
    "tenant": "acme",
    "message_id": "<1@acme.example>",
    "upstream": "acme-mail",
    "route": "tenant",
    "reverse_path": "shop@acme.example",
    "recipients": ["ann@customer.example"],
    "attempt": 1,
    "reply": {"code": 250, "enhanced_status": "2.0.0", "text": "taken"},
    "remote_mta": "mx.provider.example",
    "duration_ms": 31.0,
    "queued_ms": 1234.0,
}
FAILED = SENT | {
    "event": "email.deferred",
    "attempt": 3,
    "reply": None,
    "cause": "connection_refused",
    "scope": "upstream",
    "detail": "nobody listens",
    "remedy": "check the upstream's host and port",
}


def read(entry: dict[str, Any], *, width: int = 200, colors: bool = False) -> str:
    return Prettifier(colors=colors, width=width)(json.dumps(entry).encode())


def test_one_line_tells_when_what_whose_who_to_whom_by_what_and_what_was_said():
    assert read(SENT) == (
        "2025-11-21 10:31:02  email.sent            acme      "
        "shop@acme.example -> ann@customer.example  via acme-mail  250 2.0.0 taken  after 1.2s  "
        "0RQ4MPG92452P"
    )


def test_cause_and_remedy_stand_beneath_a_failure():
    first, cause, remedy = read(FAILED).split("\n")
    assert "via acme-mail  attempt 3  0RQ4MPG92452P" in first
    assert cause == f"{INDENT}connection_refused: nobody listens"
    assert remedy == f"{INDENT}check the upstream's host and port"


def test_what_expired_tells_what_it_waited_for():
    expired = FAILED | {"event": "email.expired", "cause": "expired", "last_cause": "dns_failure"}
    assert f"\n{INDENT}expired (dns_failure): nobody listens\n" in read(expired)


def test_columns_are_aligned_from_line_to_line():
    prettify = Prettifier(colors=False, width=200)
    long = json.dumps(SENT | {"tenant": "globex-holding"}).encode()
    short = json.dumps(SENT).encode()
    assert prettify(long).index("shop@") == prettify(short).index("shop@")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int):
    text = read(FAILED | {"remedy": "check the upstream's host and port " * 9}, width=width)
    head, *others = text.split("\n")
    assert all(len(line) <= width for line in others)
    assert len(head) <= max(width, 52), "time, event and tenant stay together"
    indent = INDENT if width >= 60 else "  "
    assert all(line.startswith(indent) for line in others)


def test_in_a_pipe_a_line_is_as_long_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    text = Prettifier(colors=False)(json.dumps(SENT | {"reply": "x" * 300 + " y" * 300}).encode())
    assert "\n" not in text


def test_colours_do_not_count_as_columns():
    plain, coloured = read(FAILED, width=90), read(FAILED, width=90, colors=True)
    assert "\x1b[33m" in coloured
    for number in (0, 1, 2, 31, 32, 33):
        coloured = coloured.replace(f"\x1b[{number}m", "")
    assert [line.rstrip() for line in coloured.split("\n")] == plain.split("\n")


def test_of_many_recipients_some_are_named_and_the_others_counted():
    many = [f"{name}@customer.example" for name in "abcde"]
    assert "c@customer.example +2  via" in read(SENT | {"recipients": many})


def test_an_administrator_is_told_with_reason_and_end():
    toggled = {
        "ts": SENT["ts"],
        "event": "tenant.disabled",
        "tenant": "acme",
        "actor": "dana",
        "reason": "suspended",
        "until": "2025-11-21T12:31:02.000000Z",
    }
    assert read(toggled).endswith("acme      by dana until 2025-11-21 12:31:02: suspended")


def of(event: str, **fields: Any) -> list[str]:
    """What stands behind the tenant, and beneath."""
    entry = {"ts": SENT["ts"], "event": event, "tenant": None, "actor": "dana"} | fields
    head, *beneath = read(entry).split("\n")
    return [head.partition("-         ")[2], *(line.removeprefix(INDENT) for line in beneath)]


NOBODY: dict[str, list[str]] = {"added": [], "removed": [], "changed": []}


def test_a_reload_tells_what_has_changed_each_kind_on_a_line():
    changes = {
        "tenants": NOBODY | {"added": ["globex"], "changed": ["acme", "initech"]},
        "upstreams": NOBODY | {"removed": ["old"]},
        "sections": ["limits", "retry"],
    }
    assert of("config.reloaded", path="/etc/relay/config.yaml", request=3, **changes) == [
        "by dana  /etc/relay/config.yaml",
        "tenants: 1 added (globex), 2 changed (acme, initech)",
        "upstreams: 1 removed (old)",
        "other sections: limits, retry",
    ]
    unchanged = {"tenants": NOBODY, "upstreams": NOBODY, "sections": []}
    assert of("config.reloaded", path=None, request=None, **unchanged) == [
        "by dana  the environment, no change"
    ]


def test_what_was_rejected_has_its_problems_one_a_line():
    problems = ["config.yaml:3:1: no such thing", "config.yaml:9:1: nor such a one"]
    assert of("config.rejected", path="config.yaml", request=1, problems=problems) == [
        "by dana  config.yaml: nothing was changed",
        *problems,
    ]


def test_what_was_loaded_is_counted():
    told = of("config.loaded", path="config.yaml", tenants=1, upstreams=2, actor=None)
    assert told == ["config.yaml: 1 tenant, 2 upstreams"]


def test_a_checkup_tells_its_counts_and_what_is_red():
    counted = {"result": "red", "green": 5, "red": 1, "unknown": 0}
    assert of("doctor.checked", **counted, red_checks=["spf acme.example"]) == [
        "by dana  5 green, 1 red, 0 unknown",
        "red: spf acme.example",
    ]


def test_a_drill_tells_what_failed_and_what_it_found():
    scenes = {"upstream_down": "waits", "dead_letters": "lost"}
    failed = {"result": "failed", "scenes": scenes, "failed": ["dead_letters"]}
    assert of("drill.run", **failed, findings=["finding: nobody is told"]) == [
        "by dana  failed, 1 of 2 scenes not as they should be",
        "dead letters: lost",
        "finding: nobody is told",
    ]
    passed = {"result": "passed", "scenes": scenes, "failed": [], "findings": []}
    assert of("drill.run", **passed) == ["by dana  passed, 2 scenes"]


def test_what_a_test_came_to_has_its_time():
    words = {"upstream": "acme-mail", "reply": SENT["reply"], "duration_ms": 1234.0}
    people = {"reverse_path": "shop@acme.example", "recipients": ["dana@acme.example"]}
    assert of("test.sent", **people, **words) == [
        "shop@acme.example -> dana@acme.example  via acme-mail  250 2.0.0 taken  in 1.2s  by dana"
    ]


def test_a_pause_that_is_over_tells_what_it_was_and_how_long():
    words = {"upstream": "acme-mail", "cause": "connection_refused", "paused_s": 300.0}
    assert of("upstream.resumed", **words, actor="relay", reason="") == [
        "via acme-mail  after 5m of connection_refused  by relay"
    ]


@pytest.mark.parametrize(("result", "colour"), [("red", "31"), ("green", "1")])
def test_a_checkup_with_something_red_is_red(result: str, colour: str):
    entry = {"ts": SENT["ts"], "event": "doctor.checked", "actor": "dana", "result": result}
    assert f"\x1b[{colour}mdoctor.checked" in read(entry, colors=True)


def test_an_event_that_is_not_known_yet_is_shown_by_its_fields():
    strange = {"ts": SENT["ts"], "event": "relay.strange", "colour": "blue", "parts": ["a", 1]}
    assert read(strange).endswith("colour=blue  parts=a,1")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_colours_are_for_terminals_that_know_them(
    environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    assert wants_colours(terminal) is wanted
    assert not wants_colours(io.StringIO())
    assert not wants_colours(None)
