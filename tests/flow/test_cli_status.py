"""status: what waits, what is held back, who is off, and how the last day went; also again and
again. Against a real store, which no relay serves.
"""

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config
from support.program import RELAY
from support.verbs import Relay, command_line

from relay.model import events
from relay.model.causes import Cause, Scope
from relay.model.identifiers import new_identifier
from relay.model.message import Content, Ending, Message, Origin, Recipient, Settlement
from relay.model.pause import Held, Pause
from relay.model.reply import Reply
from relay.model.result import Attempt, Deferred, Failed, Relayed, Result
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

WIRE = b"From: shop@acme.example\r\n\r\nhello\r\n"
UPSTREAMS = {
    "acme-mail": {"host": "mail.acme.example"},
    "acme-postmark": {"provider": "postmark", "username": "u", "password": "env:P"},
    "platform": {"host": "localhost", "port": 587},
}
TENANTS = {
    "acme": {"domains": ["acme.example"], "upstream": "acme-mail"},
    "globex": {
        "domains": ["globex.example"],
        "upstream": "platform",
        "pilot": {"upstream": "acme-postmark", "senders": ["app@globex.example"]},
    },
    "initech": {"domains": ["initech.example"], "upstream": "acme-mail", "enabled": False},
}


@dataclass
class Site:
    """``serve`` does what a serving relay does to its store; ``relay`` is the command line."""

    path: Path
    config_file: Path
    relay: Relay

    def serve(self, work: Callable[[SqliteStore], Any]) -> None:
        async def once() -> None:
            store = SqliteStore(self.path, render=json_line, committed=lambda told: None)
            await store.open()
            await work(store)
            await store.close()

        asyncio.run(once())

    def pause(self, *pauses: Pause) -> None:
        self.serve(lambda store: store.pause(list(pauses), [], []))


@pytest.fixture
def site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("P", "secret")
    monkeypatch.setenv("SUDO_USER", "dana")
    config_file = tmp_path / "config.yaml"
    config_file.write_text(
        relay_config(tmp_path, 2525, UPSTREAMS, TENANTS, {"upstream": "platform"})
    )
    return Site(tmp_path / "relay.db", config_file, command_line(config_file, capsys))


@pytest.fixture
def store(site: Site) -> None:
    """There is one, and it is empty."""
    site.pause()


def message(tenant: str = "acme", **more: Any) -> Message:
    now = time.time()
    plain = Message(
        queue_id=new_identifier(),
        arrived_at=now,
        expires_from=now,
        tenant=tenant,
        priority=1,
        reverse_path="shop@acme.example",
        header_from="shop@acme.example",
        message_id="<1@acme.example>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web01"),
        recipients=(Recipient(0, "ann@customer.example"),),
        content=Content(len(WIRE), 27, (WIRE,)),
    )
    return replace(plain, **more)


def failing(held: Held) -> Pause:
    now = time.time()
    refused = "535 5.7.8 bad credentials"
    return Pause(held, now - 30, now + 120, Cause.AUTHENTICATION_FAILED, refused, failures=3)


def settlement(one: Message, end: Ending) -> Settlement:
    return Settlement(one.queue_id, (), end, time.time() + 60)


async def a_day(store: SqliteStore) -> None:
    """Two sent and one refused for acme; globex has one sent by its pilot, one deferred."""
    sent = Relayed(Reply(250, None, "ok"))
    refused = Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT)
    deferred = Deferred(Cause.RATE_LIMITED, Scope.UPSTREAM)
    two = (Recipient(0, "ann@customer.example"), Recipient(1, "bob@customer.example"))
    told: list[tuple[Message, events.Way, Result]] = [
        (message(recipients=two), events.Way("acme-mail", "tenant"), sent),
        (message(), events.Way("acme-mail", "tenant"), refused),
        (message("globex"), events.Way("acme-postmark", "pilot"), sent),
        (message("globex"), events.Way("platform", "tenant"), deferred),
    ]
    for one, way, result in told:
        await store.add(one, claimed=True, events=[])
        event = events.of_attempt(
            one, way, one.recipients, result, Attempt((result,), "mx", None, 0.1)
        )
        event.fields["queued_ms"] = 100.0
        end = Ending.WAITS if result is deferred else Ending.DONE
        await store.settle([settlement(one, end)], [event])


def test_status_for_programs(site: Site):
    site.serve(a_day)
    site.pause(failing(Held("platform")))
    rows = site.relay("status", "--json").rows
    [queue] = [row for row in rows if row["about"] == "queue"]
    assert (queue["queued"], queue["under_way"], queue["dead_letters"]) == (1, 0, 0)
    [pause] = [row for row in rows if row["about"] == "pause"]
    assert (pause["upstream"], pause["cause"]) == ("platform", "authentication_failed")
    tenants = {row["tenant"]: row for row in rows if row["about"] == "tenant"}
    acme, globex = tenants["acme"], tenants["globex"]
    assert (acme["sent"], acme["deferred"], acme["failed"], acme["expired"]) == (2, 0, 1, 0)
    assert acme["mean_ms"] == 100.0
    assert 64 <= acme["p95_ms"] <= 128
    assert (globex["sent"], globex["deferred"], globex["waiting"]) == (1, 1, 1)
    upstreams = {row["upstream"]: row for row in rows if row["about"] == "upstream"}
    [total] = [row for row in rows if row["about"] == "total"]
    assert (total["sent"], total["deferred"], total["failed"]) == (3, 1, 1)
    assert total["since"] < queue["at"]
    assert {name: row["sent"] for name, row in upstreams.items()} == {
        "acme-mail": 2,
        "acme-postmark": 1,
        "platform": 0,
    }
    pilots = {row["route"]: row for row in rows if row["about"] == "pilot"}
    assert {row["tenant"] for row in pilots.values()} == {"globex"}
    assert (pilots["pilot"]["sent"], pilots["pilot"]["failed_share"]) == (1, 0.0)
    assert (pilots["tenant"]["sent"], pilots["tenant"]["failed_share"]) == (0, None)


def test_status_for_people(site: Site):
    site.serve(a_day)
    site.pause(failing(Held("platform", "globex")))
    out = site.relay("status").out
    assert out.startswith(
        "queued         1, the oldest for 0s\n"
        "dead letters   0\n"
        "sent (24 h)    3, mean time 100ms, 95% within 124ms\n"
        "failed (24 h)  1, expired 0\n"
    )
    assert "globex on platform" in out
    assert [line.split()[:6] for line in out.splitlines() if line.startswith("acme ")] == [
        ["acme", "0", "2", "0", "1", "0"]
    ]
    assert "24 hours, pilots" in out
    assert "0.0%" in out


@pytest.mark.usefixtures("store")
def test_status_of_nothing_is_short(site: Site):
    out = site.relay("status").out
    # Whoever has a pilot is compared, also before it has had any mail.
    assert out.startswith("queued         0\ndead letters   0\nsent (24 h)    0\n")
    assert "24 hours, pilots\n" in out
    assert "held back" not in out
    assert "by tenant" not in out


def test_status_without_a_store_says_so(site: Site):
    done = site.relay("status")
    assert done.status == 1
    assert "no store at" in done.err


# -- who is off


def toggles(relay: Relay) -> dict[str, dict[str, Any]]:
    rows = relay("status", "--json").rows
    return {row["tenant"]: row for row in rows if row["about"] == "toggle"}


@pytest.mark.usefixtures("store")
def test_who_is_off_is_named_with_both_words(site: Site):
    site.relay("tenant", "disable", "acme", "--reason", "suspended", "--for", "2h")
    assert {name: row["enabled_in_file"] for name, row in toggles(site.relay).items()} == {
        "acme": True,
        "initech": False,
    }
    acme = toggles(site.relay)["acme"]
    assert (acme["enabled"], acme["actor"], acme["reason"]) == (False, "dana", "suspended")
    assert acme["until"] > acme["since"]
    lines = [" ".join(line.split()) for line in site.relay("status").out.splitlines()]
    assert "acme disabled (enabled in the file) in 1h suspended (dana)" in lines
    assert "initech disabled - as the file says" in lines
    assert not any(line.startswith("globex disabled") for line in lines)


@pytest.mark.usefixtures("store")
def test_who_is_on_against_the_file_is_named_too(site: Site):
    site.relay("tenant", "enable", "initech", "--reason", "one more try")
    assert toggles(site.relay)["initech"]["enabled"]
    assert "enabled (disabled in the file)" in site.relay("status").out


@pytest.mark.usefixtures("store")
def test_a_toggle_that_is_left_of_a_tenant_is_named(site: Site):
    site.relay("tenant", "disable", "acme", "--reason", "suspended")
    text = site.config_file.read_text()
    site.config_file.write_text(text.replace("  acme:\n", "  acne:\n"))
    assert toggles(site.relay)["acme"]["enabled_in_file"] is None
    assert "disabled (not in the file)" in site.relay("status").out


@pytest.mark.usefixtures("store")
def test_what_was_held_back_until_now_is_not_told(site: Site):
    site.relay("upstream", "pause", "platform", "--reason", "x", "--for", "1ms")
    time.sleep(0.002)
    assert "held back" not in site.relay("status").out


# -- again and again


@contextmanager
def watching(site: Site, *arguments: str, out: int = subprocess.PIPE) -> Iterator[Any]:
    # A job in the background of a script has SIGINT ignored, and so would its children.
    command = ["env", "--default-signal=INT", str(RELAY), "--config", str(site.config_file)]
    with subprocess.Popen(
        [*command, "status", *arguments], stdout=out, stderr=subprocess.PIPE
    ) as watch:
        try:
            yield watch
        finally:
            watch.kill()


@pytest.mark.usefixtures("store")
def test_watch_appends_rows_until_ctrl_c(site: Site):
    with watching(site, "--watch", "50ms", "--json") as watch:
        queues = []
        while len(queues) < 3:
            row = json.loads(watch.stdout.readline())
            queues += [row["at"]] if row["about"] == "queue" else []
        assert len(set(queues)) == 3
        watch.send_signal(signal.SIGINT)
        assert (watch.wait(30), watch.stderr.read()) == (0, b"")


@pytest.mark.usefixtures("store")
def test_watch_in_a_pipe_moves_no_cursor(site: Site):
    with watching(site, "--watch", "50ms") as watch:
        text = b""
        while text.count(b"queued ") < 2:
            text += watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        assert (watch.wait(30), watch.stderr.read()) == (0, b"")
    assert b"\x1b" not in text
    assert b"\n\nqueued " in text


@pytest.mark.usefixtures("store")
def test_watch_draws_anew_on_a_terminal(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with watching(site, "--watch", "50ms", out=theirs) as watch:
        os.close(theirs)
        shown = b""
        while shown.count(b"\x1b[H\x1b[2J") < 3 and select.select([ours], [], [], 30)[0]:
            shown += os.read(ours, 65536)
        assert shown.startswith(b"\x1b[H\x1b[2Jqueued")
        watch.send_signal(signal.SIGINT)
        assert (watch.wait(30), watch.stderr.read()) == (0, b"")
    os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("5s",), "say --watch, too"), (("--watch", "5"), "needs a unit"), (("-w", "0s"), "say how")],
)
def test_watch_is_asked_in_the_right_way(site: Site, arguments: tuple[str, ...], told: str):
    done = site.relay("status", *arguments)
    assert (done.status, done.out) == (2, "")
    assert told in done.err
