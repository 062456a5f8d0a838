"""What holds whom back: the table of DESIGN 5.4 as a state machine with a clock of its own."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from relay.deliver.classify import of_silence
from relay.dispatch.pauses import Change, Pauses
from relay.model.causes import REMEDIES, Cause, Scope
from relay.model.pause import Held, Pause
from relay.model.phase import Phase
from relay.model.reply import Reply
from relay.model.result import Attempt, Deferred, Failed, Relayed, Result
from relay.model.retry import Schedule

SCHEDULE = Schedule(first_s=30, factor=2, longest_s=3600, give_up_after_s=86400)
OK = Relayed(Reply(250, "2.0.0", "ok"))
NO_USER = Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT, Reply(550, "5.1.1", "no such user"))
GREY = Deferred(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT, Reply(450, "4.2.0", "later"))
REFUSED = Deferred(Cause.CONNECTION_REFUSED, Scope.UPSTREAM, detail="refused")
LOST = Deferred(Cause.CONNECTION_LOST, Scope.UPSTREAM, detail="at rcpt: reset")
BUSY = Deferred(Cause.UPSTREAM_UNAVAILABLE, Scope.UPSTREAM, Reply(421, "4.3.2", "busy"))
QUOTA = Deferred(Cause.QUOTA_EXCEEDED, Scope.UPSTREAM, Reply(550, "5.4.5", "daily limit"))
SENDER = Deferred(Cause.SENDER_REFUSED, Scope.TENANT, Reply(550, "5.7.1", "not verified"))
UNKNOWN = Deferred(Cause.OUTCOME_UNKNOWN, Scope.MESSAGE, detail="no reply in time")

UP = Held("up")
WAY = Held("up", "acme")


class World:
    """Pauses and the hand of their clock."""

    def __init__(self) -> None:
        self.pauses = Pauses(SCHEDULE)
        self.now = 1_000_000.0

    def try_(
        self,
        *results: Result,
        sender: str = "shop@acme.example",
        tenant: str = "acme",
        queue_id: str = "Q1",
        connected: bool = True,
    ) -> Change:
        ticket = self.pauses.ticket("up", tenant, sender, self.now)
        assert ticket is not None
        attempt = Attempt(tuple(results), "mx" if connected else None, None, 0.1)
        return self.pauses.note(ticket, queue_id, attempt, now=self.now, chance=0.5)

    def closed(self, tenant: str = "acme", sender: str | None = "shop@acme.example") -> bool:
        return self.pauses.until("up", tenant, sender, self.now) is not None


@pytest.fixture
def world() -> World:
    return World()


def held(pauses: Sequence[Pause]) -> list[Held]:
    return [pause.held for pause in pauses]


def test_no_connection_pauses_the_upstream_at_once_for_everybody(world: World) -> None:
    change = world.try_(REFUSED, connected=False)
    assert held(change.paused) == [UP]
    assert (change.paused[0].cause, change.paused[0].detail) == (
        Cause.CONNECTION_REFUSED,
        "refused",
    )
    assert world.closed()
    assert world.closed(tenant="globex", sender="x@globex.example")
    assert world.pauses.until("other", "acme", "shop@acme.example", world.now) is None


def test_a_pause_has_the_remedy_of_what_met_it_last(world: World) -> None:
    """And that of the cause where the failure has none of its own."""
    silent = of_silence(Phase.BANNER)
    begun = world.try_(silent, connected=False).paused[0]
    assert begun.remedy == silent.remedy
    assert "tls: implicit" in begun.remedy
    world.now += 30
    [prolonged] = world.try_(REFUSED, connected=False).changed
    assert prolonged.remedy == REMEDIES[Cause.CONNECTION_REFUSED]
    world.now += 60
    assert world.try_(silent, connected=False).changed[0].remedy == silent.remedy


def test_each_pause_of_a_refused_sender_has_the_providers_remedy(world: World) -> None:
    refused = replace(SENDER, own_remedy="verify it in SendGrid")
    changes = [world.try_(refused, sender=f"{name}@acme.example") for name in "abc"]
    begun = [pause for change in changes for pause in change.paused]
    assert [pause.held.reach for pause in begun] == ["sender", "sender", "sender", "tenant"]
    assert {pause.remedy for pause in begun} == {"verify it in SendGrid"}


@pytest.mark.parametrize("result", [BUSY, LOST])
def test_after_mail_it_takes_two_different_messages(world: World, result: Result) -> None:
    assert not world.try_(result, queue_id="Q1")
    assert not world.try_(result, queue_id="Q1")
    assert not world.closed()
    assert held(world.try_(result, queue_id="Q2").paused) == [UP]


def test_a_success_between_clears_the_suspicion(world: World) -> None:
    world.try_(LOST, queue_id="Q1")
    world.try_(OK, queue_id="Q2")
    assert not world.try_(LOST, queue_id="Q3")


def test_a_quota_pauses_at_once_even_after_mail(world: World) -> None:
    assert held(world.try_(QUOTA).paused) == [UP]


def test_probes_go_one_at_a_time_back_off_and_end_the_pause(world: World) -> None:
    world.try_(REFUSED, connected=False)
    for failures, wait_s in ((2, 30), (3, 60), (4, 120), (5, 240)):
        world.now += wait_s - 1
        assert world.closed()
        world.now += 1
        ticket = world.pauses.ticket("up", "acme", "shop@acme.example", world.now)
        assert ticket is not None
        assert ticket.probes == (UP,)
        assert world.closed(), "a second one must wait for the probe"
        assert world.pauses.ticket("up", "globex", "x@globex.example", world.now) is None
        attempt = Attempt((REFUSED,), None, None, 0.1)
        change = world.pauses.note(ticket, "Q2", attempt, now=world.now, chance=0.5)
        assert not change.paused
        assert [pause.failures for pause in change.changed] == [failures]
    world.now += 480
    change = world.try_(OK)
    assert held(change.ended) == [UP]
    assert not world.closed()


def test_a_probe_that_was_not_used_lets_the_next_one_probe(world: World) -> None:
    world.try_(REFUSED, connected=False)
    world.now += 31
    ticket = world.pauses.ticket("up", "acme", "shop@acme.example", world.now)
    assert ticket is not None
    world.pauses.give_back(ticket)
    assert world.pauses.ticket("up", "acme", "shop@acme.example", world.now) is not None


def test_what_was_under_way_when_the_pause_began_adds_nothing_to_it(world: World) -> None:
    others = [world.pauses.ticket("up", "acme", f"{i}@acme.example", world.now) for i in range(3)]
    world.try_(REFUSED, connected=False)
    for ticket in others:
        assert ticket is not None
        attempt = Attempt((REFUSED,), None, None, 0.1)
        assert not world.pauses.note(ticket, "Q", attempt, now=world.now, chance=0.5)


@pytest.mark.parametrize("answer", [NO_USER, GREY, SENDER])
def test_any_answer_about_the_mail_shows_that_the_upstream_works(
    world: World, answer: Result
) -> None:
    world.try_(REFUSED, connected=False)
    world.now += 31
    assert UP in held(world.try_(answer).ended)


@pytest.mark.parametrize("answer", [NO_USER, GREY, SENDER])
def test_only_mail_that_is_taken_shows_that_a_quota_is_over(world: World, answer: Result) -> None:
    world.try_(QUOTA)
    world.now += 31
    assert UP not in held(world.try_(answer).ended)
    world.now += 120
    assert UP in held(world.try_(OK, sender="other@acme.example").ended)


def test_a_probe_without_any_answer_prolongs_the_pause(world: World) -> None:
    world.try_(REFUSED, connected=False)
    world.now += 31
    change = world.try_(UNKNOWN)
    assert held(change.changed) == [UP]
    assert world.closed()


def test_a_refused_sender_holds_back_that_address_alone(world: World) -> None:
    change = world.try_(SENDER, sender="a@acme.example")
    assert held(change.paused) == [Held("up", "acme", "a@acme.example")]
    assert world.closed(sender="a@acme.example")
    assert not world.closed(sender="b@acme.example")
    assert not world.closed(sender=None)


def test_three_refused_senders_close_the_tenants_way_and_no_other(world: World) -> None:
    world.try_(SENDER, sender="a@acme.example")
    world.try_(SENDER, sender="b@acme.example")
    change = world.try_(SENDER, sender="c@acme.example")
    assert WAY in held(change.paused)
    assert world.closed(sender="d@acme.example")
    assert not world.closed(tenant="globex", sender="x@globex.example")


def test_a_success_between_refused_senders_keeps_the_way_open(world: World) -> None:
    world.try_(SENDER, sender="a@acme.example")
    world.try_(SENDER, sender="b@acme.example")
    world.try_(OK, sender="good@acme.example")
    assert WAY not in held(world.try_(SENDER, sender="c@acme.example").paused)


def test_the_same_sender_twice_counts_once(world: World) -> None:
    for _ in range(4):
        world.try_(SENDER, sender="a@acme.example")
        world.now += 4000
    assert not world.closed(sender="b@acme.example")


def test_no_tenant_has_no_way_that_could_be_closed(world: World) -> None:
    for name in "abcd":
        world.try_(SENDER, sender=f"{name}@x.example", tenant="")
    assert not world.closed(tenant="", sender="e@x.example")


def test_a_pause_by_hand_is_not_probed_and_ends_in_its_time(world: World) -> None:
    by_hand = Pause(UP, world.now, world.now + 7200, actor="dana", reason="maintenance")
    assert world.pauses.take_in({UP: by_hand})
    world.now += 7199
    assert world.closed()
    world.now += 2
    assert held(world.pauses.sweep(world.now).ended) == [UP]
    assert not world.closed()


def test_what_is_resumed_by_hand_is_open_at_once(world: World) -> None:
    world.try_(REFUSED, connected=False)
    assert world.pauses.take_in({})
    assert not world.closed()
    assert not world.pauses.take_in({})


def test_a_new_life_probes_at_once_but_keeps_what_was_paused_by_hand(world: World) -> None:
    world.try_(REFUSED, connected=False)
    stored = {pause.held: pause for pause in world.pauses}
    stored[Held("other")] = Pause(Held("other"), world.now, None, actor="dana", reason="x")
    fresh = Pauses(SCHEDULE)
    fresh.begin_with(stored, world.now)
    assert fresh.probe_is_due("up", "acme", world.now)
    assert fresh.until("other", "acme", None, world.now) is not None


def test_our_own_quota_is_told_once_and_prolonged_silently(world: World) -> None:
    until = world.now + 600
    change = world.pauses.hold_for_quota(UP, until, Cause.QUOTA_EXCEEDED, "per_day", world.now)
    assert held(change.paused) == [UP]
    assert not world.pauses.hold_for_quota(UP, until, Cause.QUOTA_EXCEEDED, "x", world.now)
    longer = world.pauses.hold_for_quota(UP, until + 1, Cause.QUOTA_EXCEEDED, "x", world.now)
    assert held(longer.changed) == [UP]
    assert not longer.paused


def test_a_probe_that_ends_after_its_pause_was_resumed_by_hand_is_no_error(world: World) -> None:
    """Found in review: a KeyError threw an unknown outcome away."""
    world.try_(REFUSED, connected=False)
    world.now += 31
    ticket = world.pauses.ticket("up", "acme", "shop@acme.example", world.now)
    assert ticket is not None
    world.pauses.take_in({})
    attempt = Attempt((UNKNOWN,), "mx", None, 0.1)
    assert not world.pauses.note(ticket, "Q1", attempt, now=world.now, chance=0.5)


def test_a_probe_does_not_end_what_was_paused_by_hand_meanwhile(world: World) -> None:
    """Found in review: its failure gave the pause by hand an end."""
    world.try_(REFUSED, connected=False)
    world.now += 31
    ticket = world.pauses.ticket("up", "acme", "shop@acme.example", world.now)
    assert ticket is not None
    by_hand = Pause(UP, world.now, None, actor="dana", reason="migration")
    world.pauses.take_in({UP: by_hand})
    attempt = Attempt((REFUSED,), None, None, 0.1)
    assert not world.pauses.note(ticket, "Q1", attempt, now=world.now, chance=0.5)
    assert list(world.pauses) == [by_hand]


@pytest.mark.parametrize("answer", [GREY, UNKNOWN])
def test_a_probe_that_decides_nothing_prolongs_a_pause_for_quota(
    world: World, answer: Result
) -> None:
    world.try_(QUOTA)
    world.now += 31
    assert held(world.try_(answer).changed) == [UP]
    assert world.closed()


def test_the_null_sender_is_a_sender_of_its_own(world: World) -> None:
    """Found in review: as the empty string it stood for the whole way, or the whole upstream."""
    world.try_(SENDER, sender="<>")
    world.try_(SENDER, sender="<>", tenant="")
    assert not world.closed()
    assert not world.closed(tenant="", sender="x@y.example")


def test_upstreams_that_a_reload_takes_away_are_held_back_no_more(world: World) -> None:
    world.try_(REFUSED, connected=False)
    assert held(world.pauses.configure(SCHEDULE, ["other"]).ended) == [UP]
    assert not world.pauses


def test_what_was_mended_is_tried_at_once_but_for_what_a_person_has_paused(world: World) -> None:
    world.try_(REFUSED, connected=False)
    by_hand = Pause(WAY, world.now, None, actor="dana", reason="moving")
    world.pauses.take_in({UP: next(iter(world.pauses)), WAY: by_hand})
    assert world.closed(tenant="globex")
    assert held(world.pauses.try_now(["up"], world.now).changed) == [UP]
    assert not world.closed(tenant="globex")
    assert world.closed(tenant="acme")
