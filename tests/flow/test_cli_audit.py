"""relay audit: which part of the trail is asked for."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config
from support.verbs import Relay, command_line

from relay.model.events import Event, EventName
from relay.model.identifiers import encode, first_at
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line, rfc3339

NOW = time.time()


def told(name: EventName, hours_ago: float, tenant: str | None = "acme", **fields: Any) -> Event:
    """The trail is in order of the identifiers, which have the time in them."""
    attempt = {"upstream": None, "route": None, "recipients": [], "queued_ms": 1.0}
    ts = NOW - hours_ago * 3600
    return Event(name, attempt | fields, tenant=tenant, ts=ts, event_id=encode(first_at(ts)))


EVENTS = (
    told("email.accepted", 5, recipients=["Ann@Customer.example"], reverse_path="s@acme.example"),
    told("email.deferred", 4, upstream="acme-mail", cause="dns_failure", recipients=["ann@x.net"]),
    told("email.expired", 3, upstream="acme-mail", cause="expired", last_cause="dns_failure"),
    told("email.sent", 2, "gone", upstream="old-mail", recipients=["bob@sub.customer.example"]),
    told("suppression.added", 1, None, address='"a\\"b"@customer.example', reason="dns_failure"),
)  # fmt: skip


@pytest.fixture
def relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    async def make() -> None:
        store = SqliteStore(tmp_path / "relay.db", render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    asyncio.run(make())
    with Administration(tmp_path / "relay.db", json_line) as store:
        store.tell(*EVENTS)
    upstreams = {"acme-mail": {"host": "localhost", "port": 465}}
    tenants = {"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}}
    file = tmp_path / "config.yaml"
    file.write_text(relay_config(tmp_path, 2525, upstreams, tenants))
    return command_line(file, capsys)


def moment(hours_ago: float) -> str:
    return rfc3339(NOW - hours_ago * 3600)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [0, 1, 2, 3, 4]),
        (("--since", "210m"), [2, 3, 4]),
        (("--until", "210m"), [0, 1]),
        (("--since", moment(3.5), "--until", moment(1.5)), [2, 3]),
        (("--since", moment(3.5).removesuffix("Z")), [2, 3, 4]),
        (("--cause", "dns_failure"), [1, 2]),
        (("--cause", "expired"), [2]),
        (("--upstream", "acme-mail"), [1, 2]),
        (("--upstream", "old-mail"), [3]),
        (("--tenant", "gone"), [3]),
        (("--address", "ann@customer.example"), [0]),
        (("--address", "S@acme.example"), [0]),
        (("--address", "@customer.example"), [0, 4]),
        (("--address", '"a\\"b"@customer.example'), [4]),
        (("--address", "customer.example"), []),
        (("--cause", "dns_failure", "--address", "ann@x.net"), [1]),
        (("--event", "email.expired", "--upstream", "acme-mail"), [2]),
    ],
)
def test_audit_tells_what_is_asked_for(
    relay: Relay, arguments: tuple[str, ...], expected: list[int]
):
    done = relay("audit", "--json", *arguments)
    assert done.status == 0
    assert [row["event_id"] for row in done.rows] == [EVENTS[n].event_id for n in expected]


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (("--tenant", "acne"), 1, 'no tenant named "acne"; did you mean "acme"?'),
        (("--upstream", "acme-male"), 1, 'named "acme-male"; did you mean "acme-mail"?'),
        (("--cause", "dns_failur"), 2, 'did you mean "dns_failure"?'),
        (("--since", "2025-13-01"), 2, "or say a moment"),
        (("--until", "tomorrow"), 2, "--until"),
        (("--until", "1h", "--follow"), 2, "no end while it is followed"),
    ],
)  # fmt: skip
def test_audit_tells_what_is_wrong(
    relay: Relay, arguments: tuple[str, ...], status: int, line: str
):
    done = relay("audit", *arguments)
    assert (done.status, done.out) == (status, "")
    assert line in done.err


def test_an_upstream_that_left_is_looked_for_where_one_looks_alone(relay: Relay):
    """A typo is not looked for in years of trail."""
    assert relay("audit", "--upstream", "old-mail").status == 0
    done = relay("audit", "--upstream", "old-mail", "--since", "1s")
    assert (done.status, done.out) == (1, "")
    assert 'no upstream named "old-mail"' in done.err


def test_filters_hold_while_the_trail_is_followed(relay: Relay, monkeypatch: pytest.MonkeyPatch):
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relay.cli.audit.time.sleep", stop)
    done = relay("audit", "--json", "--follow", "--upstream", "old-mail")
    assert done.status == 130
    assert [row["event"] for row in done.rows] == ["email.sent"]
