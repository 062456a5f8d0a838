"""From results to what is stored and told."""

import time
from dataclasses import replace

import pytest

from relay.dispatch.outcome import Outcome, Trial
from relay.model.causes import REMEDIES, Cause, Scope
from relay.model.events import Way
from relay.model.message import Content, Ending, Message, Origin, Recipient, State
from relay.model.reply import Reply
from relay.model.result import Attempt, Deferred, Failed, Relayed, Result, Trouble
from relay.model.retry import Schedule

NOW = time.time()
SCHEDULE = Schedule(first_s=30, factor=2, longest_s=3600, give_up_after_s=1000)
OK = Relayed(Reply(250, "2.0.0", "ok"))
LATER = Deferred(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT, Reply(450, "4.2.0", "later"))
DOWN = Deferred(Cause.CONNECTION_REFUSED, Scope.UPSTREAM, detail="refused")
NO = Failed(Cause.RECIPIENT_REFUSED, Scope.RECIPIENT, Reply(550, "5.1.1", "no such user"))


def message(recipients: int, *, age_s: float = 0, attempt: int = 1) -> Message:
    return Message(
        queue_id="0RQ4MPG92452P",
        arrived_at=NOW - age_s,
        expires_from=NOW - age_s,
        tenant="old",
        priority=1,
        reverse_path="shop@acme.example",
        header_from="shop@acme.example",
        message_id="<x@y>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web"),
        recipients=tuple(Recipient(i, f"r{i}@x.example") for i in range(recipients)),
        content=Content(10, 10),
        attempt=attempt,
    )


def settle(
    mail: Message,
    *results: Result,
    schedule: Schedule = SCHEDULE,
    closed_until: float | None = None,
):
    attempt = Attempt(results, "mx[::1]:465", None, 0.1)
    outcome = Outcome(Way("up", "tenant"), mail.recipients, attempt, closed_until)
    return Trial.of(mail).settled("acme", outcome, schedule, now=NOW, chance=0.5)


def names(told: list) -> list[str]:
    return [event.name for event in told]


def test_relayed_is_done() -> None:
    settlement, told = settle(message(1), OK)
    assert settlement.ending is Ending.DONE
    assert names(told) == ["email.sent"]
    assert told[0].tenant == "acme"
    assert told[0].fields["recipients"] == ["r0@x.example"]


def test_each_distinct_result_is_one_event() -> None:
    settlement, told = settle(message(5), OK, NO, OK, LATER, NO)
    assert names(told) == ["email.sent", "email.send_failed", "email.deferred"]
    assert [event.fields["recipients"] for event in told] == [
        ["r0@x.example", "r2@x.example"],
        ["r1@x.example", "r4@x.example"],
        ["r3@x.example"],
    ]
    assert settlement.ending is Ending.WAITS
    assert told[1].fields["remedy"]
    assert settlement.due == pytest.approx(NOW + 30)


@pytest.mark.parametrize("result", [LATER, DOWN, NO])
def test_a_recipient_has_the_remedy_of_the_latest_attempt(result: Trouble) -> None:
    own, _ = settle(message(1), replace(result, own_remedy="wait a little"))
    (recipient,) = own.recipients
    assert recipient.remedy == "wait a little"
    pending = replace(recipient, state=State.PENDING)
    again, _ = settle(replace(message(1), recipients=(pending,)), result)
    assert again.recipients[0].remedy == REMEDIES[result.cause]
    done, _ = settle(replace(message(1), recipients=(pending,)), OK)
    assert done.recipients[0].remedy is None


def test_the_remedy_of_a_former_attempt_is_none_for_one_suppressed_since() -> None:
    waited = replace(message(1).recipients[0], cause=LATER.cause, own_remedy="wait a little")
    trial = Trial.of(replace(message(1), recipients=(waited,)))
    settlement, _ = trial.suppressed([waited], SCHEDULE, now=NOW, chance=0.5)
    assert settlement.recipients[0].remedy == REMEDIES[Cause.SUPPRESSED]


def test_failed_beside_relayed_is_a_dead_letter() -> None:
    settlement, told = settle(message(2), OK, NO)
    assert settlement.ending is Ending.DEAD
    assert names(told) == ["email.sent", "email.send_failed", "email.dead_lettered"]
    assert told[-1].fields["recipients"] == ["r1@x.example"]


def test_past_give_up_after_it_expires() -> None:
    settlement, told = settle(message(1, age_s=1000, attempt=6), DOWN)
    assert names(told) == ["email.deferred", "email.expired", "email.dead_lettered"]
    assert settlement.ending is Ending.DEAD
    assert settlement.recipients[0].state is State.EXPIRED
    assert settlement.recipients[0].cause is Cause.CONNECTION_REFUSED
    assert (told[1].fields["cause"], told[1].fields["last_cause"]) == (
        "expired",
        "connection_refused",
    )


def test_the_last_attempt_comes_when_its_time_is_up_and_not_later() -> None:
    settlement, _ = settle(message(1, age_s=900, attempt=6), DOWN)
    assert settlement.due == pytest.approx(NOW + 100)


def test_attempts_count_only_failures_of_ones_own() -> None:
    thrice = Schedule(30, 2, 3600, 10**6, attempts=1)
    waits, _ = settle(message(1, attempt=9), DOWN, schedule=thrice, closed_until=NOW + 60)
    assert waits.ending is Ending.WAITS
    gives_up, told = settle(message(1), LATER, schedule=thrice)
    assert gives_up.ending is Ending.DEAD
    assert names(told) == ["email.deferred", "email.expired", "email.dead_lettered"]


def test_each_handover_is_settled_before_the_next() -> None:
    mail = message(3)
    trial = Trial.of(mail)
    way = Way("up", "tenant")

    def hand_over(position: int, result: Result):
        outcome = Outcome(
            way, mail.recipients[position : position + 1], Attempt((result,), "", None, 0)
        )
        return trial.settled("acme", outcome, SCHEDULE, now=NOW, chance=0.5)

    first, told = hand_over(0, OK)
    assert first.ending is Ending.GOES_ON
    assert [(r.position, r.state) for r in first.recipients] == [(0, State.RELAYED)]
    assert names(told) == ["email.sent"]
    assert [r.position for r in trial.left.pending] == [1, 2]
    second, _ = hand_over(1, NO)
    assert second.ending is Ending.GOES_ON
    last, told = hand_over(2, OK)
    assert last.ending is Ending.DEAD
    assert names(told) == ["email.sent", "email.dead_lettered"]
    assert told[-1].fields["recipients"] == ["r1@x.example"]
    assert [r.position for r in last.recipients] == [0, 1, 2]


def test_cut_short_the_others_are_due_at_once() -> None:
    mail = message(2)
    trial = Trial.of(mail)
    outcome = Outcome(Way("up", "tenant"), mail.recipients[:1], Attempt((OK,), "", None, 0))
    trial.settled("acme", outcome, SCHEDULE, now=NOW, chance=0.5)
    cut = trial.cut_short(None, SCHEDULE, now=NOW, chance=0.5)
    assert (cut.ending, cut.due) == (Ending.WAITS, NOW)
    assert [r.state for r in cut.recipients] == [State.RELAYED]


def test_a_fault_of_this_machine_counts_against_nobody() -> None:
    once = Schedule(30, 2, 3600, 10**6, attempts=1)
    here = Deferred(Cause.LOCAL_ERROR, Scope.MESSAGE, detail="the disk")
    settlement, _ = settle(message(1), here, schedule=once)
    assert settlement.ending is Ending.WAITS
    assert settlement.recipients[0].attempts == 0


def test_what_waits_for_its_way_is_parked_until_that_is_looked_at_again() -> None:
    settlement, _ = settle(message(1, attempt=9), DOWN, closed_until=NOW + 60)
    assert (settlement.due, settlement.parked) == (NOW + 60, True)
    assert settlement.recipients[0].attempts == 0


def test_a_failure_of_the_way_is_the_messages_own_until_the_way_is_closed() -> None:
    settlement, _ = settle(message(1, attempt=9), DOWN)
    assert settlement.recipients[0].attempts == 1
    assert settlement.due == pytest.approx(NOW + 30)


def test_delays_follow_ones_own_failures_and_not_the_probes() -> None:
    mail = message(1, attempt=9)
    mail = replace(mail, recipients=(replace(mail.recipients[0], attempts=2),))
    settlement, _ = settle(mail, LATER)
    assert settlement.due == pytest.approx(NOW + 120)


def test_an_unknown_outcome_marks_the_recipient_for_ever() -> None:
    lost = Deferred(Cause.OUTCOME_UNKNOWN, Scope.MESSAGE, detail="no reply in time")
    settlement, _ = settle(message(1), lost)
    assert settlement.recipients[0].unknown
    mail = replace(message(1), recipients=settlement.recipients)
    settlement, told = settle(mail, OK)
    assert settlement.recipients[0].unknown
    assert told[0].fields["possible_duplicate"]


def test_a_client_that_has_heard_leaves_no_dead_letter() -> None:
    mail = message(1)
    outcome = Outcome(Way("up", "tenant"), mail.recipients, Attempt((NO,), "mx", None, 0.1))
    settlement, told = Trial.of(mail).settled(
        "acme", outcome, SCHEDULE, now=NOW, chance=0.5, refused=True
    )
    assert settlement.ending is Ending.DONE
    assert names(told) == ["email.send_failed"]


def test_suppressed_recipients_are_left_out_and_the_others_go_on() -> None:
    trial = Trial.of(message(2))
    settlement, told = trial.suppressed(trial.message.recipients[:1], SCHEDULE, now=NOW, chance=0.5)
    assert settlement.ending is Ending.GOES_ON
    assert [r.state for r in settlement.recipients] == [State.SUPPRESSED]
    assert names(told) == ["email.suppressed"]
    assert trial.untried == {1}
    settlement, _ = trial.suppressed(trial.message.recipients[1:], SCHEDULE, now=NOW, chance=0.5)
    assert settlement.ending is Ending.DONE


def test_who_was_deferred_is_not_lost_when_the_others_expire() -> None:
    """Found by a test of random failures: an attempt in two handovers, the second never made."""
    mail = message(2)
    trial = Trial.of(mail)
    outcome = Outcome(Way("up", "tenant"), mail.recipients[:1], Attempt((LATER,), "mx", None, 0.1))
    trial.settled("acme", outcome, SCHEDULE, now=NOW, chance=0.5)
    settlement, told = trial.expired(NOW)
    assert settlement.ending is Ending.DEAD
    assert {r.state for r in settlement.recipients} == {State.EXPIRED}
    assert told[0].fields["recipients"] == ["r0@x.example", "r1@x.example"]


def test_who_failed_beside_one_who_is_suppressed_is_a_dead_letter_and_told() -> None:
    """Found in review: it died without a word."""
    mail = message(2)
    trial = Trial.of(mail)
    outcome = Outcome(Way("up", "tenant"), mail.recipients[:1], Attempt((NO,), "mx", None, 0.1))
    trial.settled("acme", outcome, SCHEDULE, now=NOW, chance=0.5)
    settlement, told = trial.suppressed(mail.recipients[1:], SCHEDULE, now=NOW, chance=0.5)
    assert settlement.ending is Ending.DEAD
    assert names(told) == ["email.suppressed", "email.dead_lettered"]


def test_a_closed_way_of_others_does_not_end_the_wait_of_who_was_deferred() -> None:
    """Found in review: 700 attempts in three seconds at a server that had said "later"."""
    mail = message(2)
    trial = Trial.of(mail)
    outcome = Outcome(Way("up", "tenant"), mail.recipients[:1], Attempt((LATER,), "mx", None, 0.1))
    trial.settled("acme", outcome, SCHEDULE, now=NOW, chance=0.5)
    assert trial.cut_short(NOW + 900, SCHEDULE, now=NOW, chance=0.5).due == NOW + 30
    assert trial.cut_short(NOW + 9, SCHEDULE, now=NOW, chance=0.5).due == NOW + 9
    assert trial.cut_short(None, SCHEDULE, now=NOW, chance=0.5).due == NOW
