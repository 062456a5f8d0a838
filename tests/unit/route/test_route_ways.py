"""Classes, pilots and failovers: the order of ways, asked of a real configuration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import load
from relay.config.tenants import Pilot
from relay.model.message import Content, Kind, Message, Origin, Recipient
from relay.model.toggle import Toggle
from relay.route.classes import Facts, class_of, classes_key
from relay.route.plan import (
    Snapshot,
    classes_apart,
    is_piloted,
    nothing_down,
    plan,
    upstreams_of_tenant,
)
from relay.route.tenancy import Tenancy

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
TENANT: dict[str, Any] = {"domains": ["acme.example"], "upstream": "own"}
CLASSES: dict[str, Any] = {
    "otp": {"match": {"subject": "(?i)verification code"}, "priority": "high"},
    "bulk": {"match": {"header": {"List-Unsubscribe": ".+"}}, "upstream": "other"},
    "vip": {"match": {"recipient": ["*@vip.example"], "sender": "acme.example"}},
    "crm": {"match": {"user": "crm"}},
}


def snapshot_of(folder: Path, tenant: dict[str, Any], **more: Any) -> Snapshot:
    upstream = {"host": "127.0.0.1", "port": 2525, "tls": "none"}
    sections = {
        "listen": ["127.0.0.1:2500"],
        "upstreams": dict.fromkeys(("own", "other", "third", "platform"), upstream),
        "default": {"upstream": "platform"},
        "clients": {"users": {"crm": {"password_hash": HASH}}},
        "tenants": {"acme": TENANT | tenant},
        **more,
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(sections, sort_keys=False))
    config = load(file, {})
    return Snapshot(config, Tenancy(config.tenants.values(), has_default=True))


def message(*recipients: str, sender: str = "shop@acme.example") -> Message:
    return Message(
        queue_id="0RQ4MPG92452P",
        arrived_at=0,
        expires_from=0,
        tenant="acme",
        priority=1,
        reverse_path=sender,
        header_from=sender,
        message_id="<x@y>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web"),
        recipients=tuple(Recipient(i, r) for i, r in enumerate(recipients or ["a@x.example"])),
        content=Content(10, 10),
    )


def down(*names: str, for_s: float = 1000.0) -> Any:
    return lambda upstream, tenant, after_s: upstream in names and after_s <= for_s


def ways(snapshot: Snapshot, mail: Message, is_down: Any = nothing_down) -> list[tuple[str, Any]]:
    return [(route.kind, route.upstream) for route in plan(snapshot, mail, is_down).routes]


def test_failover_takes_over_when_the_upstream_has_been_down_for_long_enough(
    tmp_path: Path,
) -> None:
    snapshot = snapshot_of(tmp_path, {"failover": {"to": ["other", "third"], "after": "60s"}})
    assert ways(snapshot, message()) == [("tenant", "own")]
    assert ways(snapshot, message(), down("own", for_s=59)) == [("tenant", "own")]
    assert ways(snapshot, message(), down("own", for_s=60)) == [("failover", "other")]
    assert ways(snapshot, message(), down("own", "other")) == [("failover", "third")]
    assert ways(snapshot, message(), down("own", "other", "third")) == [("tenant", "own")]


def test_the_default_is_never_taken_because_an_upstream_is_down(tmp_path: Path) -> None:
    assert ways(snapshot_of(tmp_path, {}), message(), down("own")) == [("tenant", "own")]


def test_a_disabled_tenant_goes_by_the_default_and_only_by_it(tmp_path: Path) -> None:
    tenant = {"failover": {"to": ["other"]}, "pilot": {"upstream": "third", "percent": 100}}
    snapshot = snapshot_of(tmp_path, tenant, classes=CLASSES)
    snapshot = snapshot.with_toggles({"acme": Toggle("acme", False, "x", "dana", 0)})
    mail = replace(message(), message_class="bulk")
    assert ways(snapshot, mail, down("platform", "own")) == [("default", "platform")]
    assert upstreams_of_tenant(snapshot, "acme", down("platform")) == ("platform",)


def test_the_class_comes_before_the_pilot_and_the_pilot_before_the_tenant(tmp_path: Path) -> None:
    tenant = {"pilot": {"upstream": "third", "percent": 100}}
    snapshot = snapshot_of(tmp_path, tenant, classes=CLASSES)
    assert ways(snapshot, replace(message(), message_class="bulk")) == [("class", "other")]
    assert ways(snapshot, replace(message(), message_class="otp")) == [("pilot", "third")]
    assert ways(snapshot, message()) == [("pilot", "third")]
    assert upstreams_of_tenant(snapshot, "acme", down()) == ("own", "third")
    assert classes_apart(snapshot, "acme") == {"bulk": "other"}


def test_a_message_splits_between_pilot_and_tenant_by_recipient(tmp_path: Path) -> None:
    tenant = {"pilot": {"upstream": "third", "recipients": ["QA@acme.example"]}}
    snapshot = snapshot_of(tmp_path, tenant)
    routes = plan(snapshot, message("a@x.example", "qa@acme.example", "b@x.example")).routes
    assert [(r.kind, [x.position for x in r.recipients]) for r in routes] == [
        ("tenant", [0, 2]),
        ("pilot", [1]),
    ]


def test_a_named_sender_is_piloted_whatever_the_share(tmp_path: Path) -> None:
    snapshot = snapshot_of(
        tmp_path, {"pilot": {"upstream": "third", "senders": ["shop@acme.example"]}}
    )
    assert ways(snapshot, message()) == [("pilot", "third")]
    assert ways(snapshot, message(sender="crm@acme.example")) == [("tenant", "own")]


@pytest.mark.parametrize("percent", [0, 0.5, 10, 50, 99, 100])
def test_the_share_is_stable_and_about_as_large_as_asked(percent: float) -> None:
    pilot = Pilot.model_validate({"upstream": "u", "percent": percent})
    recipients = [f"user{i}@customer{i % 7}.example" for i in range(4000)]
    chosen = [r for r in recipients if is_piloted(pilot, "s@acme.example", r)]
    assert abs(len(chosen) / 40 - percent) < 2.5
    more = Pilot.model_validate({"upstream": "u", "percent": min(100, percent * 2)})
    assert all(is_piloted(more, "s@acme.example", r) for r in chosen)
    assert all(is_piloted(pilot, "s@acme.example", r.upper()) for r in chosen)


def test_alerts_go_by_their_own_upstream_else_the_default_but_never_by_one_that_is_down(
    tmp_path: Path,
) -> None:
    alert = replace(message(), kind=Kind.ALERT, reverse_path="")
    snapshot = snapshot_of(tmp_path, {}, alerts={"upstream": "third", "email": "ops@x.example"})
    assert ways(snapshot, alert) == [("default", "third")]
    assert ways(snapshot, alert, down("third")) == [("default", "platform")]
    assert ways(snapshot, alert, down("third", "platform")) == [("default", "third")]


def facts(header: bytes = b"", recipient: str = "a@x.example", user: str | None = None) -> Facts:
    return Facts("shop@acme.example", (recipient,), user, header + b"\r\n")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (facts(b"Subject: Your verification code is 123\r\n"), "otp"),
        (facts(b"SUBJECT: =?utf-8?b?WW91ciB2ZXJpZmljYXRpb24gY29kZQ==?=\r\n"), "otp"),
        (facts(b"Subject: your\r\n verification code\r\n"), "otp"),
        (facts(b"Subject: hello\r\nlist-unsubscribe: <https://x>\r\n"), "bulk"),
        (facts(b"Subject: verification code\r\nList-Unsubscribe: <https://x>\r\n"), "otp"),
        (facts(b"Subject: x\r\n", recipient="boss@VIP.example"), "vip"),
        (facts(user="crm"), "crm"),
        (facts(b"Subject: =?bogus?q?verification?=\r\n"), ""),
        (facts(b""), ""),
        (facts(b"Subject: \xff\xfe verification code\r\n"), "otp"),
    ],
)
def test_the_first_class_that_matches_holds(tmp_path: Path, given: Facts, name: str) -> None:
    config = snapshot_of(tmp_path, {}, classes=CLASSES).config
    assert class_of(config.classes, given) == name


def test_the_key_of_the_classes_changes_with_what_they_match_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    def key(**classes: Any) -> str:
        return classes_key(snapshot_of(tmp_path, {}, classes=classes).config)

    otp = CLASSES["otp"]
    assert key() == ""
    assert key(otp=otp) == key(otp=otp | {"priority": "low"})
    assert key(otp=otp) != key(otp={"match": {"subject": "code"}})
    assert key(a=otp) != key(b=otp)
