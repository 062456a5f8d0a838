"""The wall clock jumps, days ahead and back: nothing is lost, nothing goes out in a storm, and
nothing waits for a time that was never true. Durations are kept by the monotonic clock."""

from collections import Counter
from pathlib import Path

import pytest
from crash.load import until
from crash.premises import Victim
from faults.premises import Clock, relay
from support.configs import upstream_entry
from support.lives import queue_id_of
from support.mail import send
from support.upstream import ThreadedUpstream

_SENDER, _RECIPIENT = "a@acme.example", "b@recipient.example"
_AHEAD = "+400d"
# Retries come every second at most (support.configs.QUICKLY); the relay looks around every second.
_SOON_S = 10


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def _send(program: Victim, count: int = 1) -> None:
    for _ in range(count):
        send(program.port, _SENDER, _RECIPIENT)


def test_what_was_put_off_under_a_clock_ahead_is_tried_when_it_is_right_again(
    tmp_path: Path, clock: Clock
) -> None:
    """A message was due in 400 days, and so was the next probe of a paused upstream."""
    with (
        ThreadedUpstream(script={"dot": "451 4.3.0 later"}) as upstream,
        ThreadedUpstream() as gone,
    ):
        entries = {"up": upstream_entry(upstream), "gone": upstream_entry(gone)}
        tenants = {"globex": {"domains": ["globex.example"], "upstream": "gone"}}
        with relay(tmp_path, entries, environment=clock.environment, tenants=tenants) as program:
            clock.set(_AHEAD)
            program.start()
            gone.down()
            _send(program)
            send(program.port, "a@globex.example", _RECIPIENT)
            program.wait_for_event("email.deferred", 2)
            program.wait_for_event("upstream.paused")
            clock.set("+0")
            upstream.script.clear()
            gone.up()
            upstream.wait_for(1, _SOON_S)
            gone.wait_for(1, _SOON_S)


def test_a_restart_under_the_right_clock_tries_what_was_deferred_under_one_ahead(
    tmp_path: Path, clock: Clock
) -> None:
    with ThreadedUpstream(script={"dot": "451 4.3.0 later"}) as upstream:
        with relay(
            tmp_path, {"up": upstream_entry(upstream)}, environment=clock.environment
        ) as program:
            clock.set(_AHEAD)
            program.start()
            _send(program)
            program.wait_for_event("email.deferred")
            program.kill()
            clock.set("+0")
            upstream.script.clear()
            program.start()
            upstream.wait_for(1, _SOON_S)


def test_rates_and_quotas_are_neither_forgotten_nor_used_up_for_ever(
    tmp_path: Path, clock: Clock
) -> None:
    """What was spent is as long ago as it was before the clock was set."""
    with ThreadedUpstream() as upstream:
        entry = upstream_entry(upstream, limits={"per_second": 0.5, "per_hour": 2})
        with relay(tmp_path, {"up": entry}, environment=clock.environment) as program:
            clock.set(_AHEAD)
            program.start()
            _send(program)
            upstream.wait_for(1)
            clock.set("+0")
            # When the relay has seen it.
            until(lambda: "the clock was set" in program.diagnostics)
            _send(program, 2)
            first, second = upstream.wait_for(2, _SOON_S)
            assert second.at - first.at > 1.5, "in a storm"
            (paused,) = program.wait_for_event("upstream.paused")
            assert paused["cause"] == "quota_exceeded"
            assert len(upstream.transactions) == 2


def test_days_ahead_what_is_too_old_has_its_last_attempt(tmp_path: Path, clock: Clock) -> None:
    with ThreadedUpstream(script={"dot": "451 4.3.0 later"}) as upstream:
        with relay(
            tmp_path, {"up": upstream_entry(upstream)}, environment=clock.environment
        ) as program:
            program.start()
            _send(program, 3)
            program.wait_for_event("email.deferred", 3)
            upstream.script.clear()
            clock.set(_AHEAD)
            upstream.wait_for(3, _SOON_S)
            program.wait_for_event("email.sent", 3)
            assert not program.events("email.expired")


def test_back_and_forth_under_load_each_message_arrives_once(tmp_path: Path, clock: Clock) -> None:
    offsets = ["+0", "+2h", "-3h", "+1d", "-1d", "+90s", "-90s", "+0"]
    with ThreadedUpstream() as upstream:
        entry = upstream_entry(upstream, limits={"connections": 4})
        with relay(tmp_path, {"up": entry}, environment=clock.environment) as program:
            program.start()
            for offset in offsets:
                clock.set(offset)
                _send(program, 8)
            count = 8 * len(offsets)
            arrived = upstream.wait_for(count, 30)
            until(lambda: len(program.events("email.sent")) >= count)
            accepted = [event["queue_id"] for event in program.events("email.accepted")]
            assert accepted == sorted(accepted)
            assert Counter(accepted) == Counter(queue_id_of(t.header) for t in arrived)
            assert program.stop() == 0


def test_a_machine_that_always_boots_in_1970_takes_mail_every_time(
    tmp_path: Path, clock: Clock
) -> None:
    """Identifiers are made of the time: two lives must not make the same ones."""
    with ThreadedUpstream() as upstream:
        with relay(
            tmp_path, {"up": upstream_entry(upstream)}, environment=clock.environment
        ) as program:
            for life in (1, 2, 3):
                clock.set("@1970-01-01 00:00:10")
                program.start()
                _send(program, 2)
                upstream.wait_for(2 * life)
                program.wait_for_event("email.sent", 2 * life)
                program.kill()
            identifiers = [e["event_id"] for e in program.events()]
            assert len(identifiers) == len(set(identifiers))
