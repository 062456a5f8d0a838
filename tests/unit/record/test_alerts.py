"""Who is told of which trouble, when, and in what words; hours pass in no time."""

import json
import quopri
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.addresses import Mailbox, mailbox
from relay.model.causes import REMEDIES, Cause
from relay.model.notice import Incident, IncidentKind, Notice
from relay.record.alerts.addressing import WEBHOOK, Addressing, Contact
from relay.record.alerts.alarm import Alarm, Alert
from relay.record.alerts.failure_rate import FailureRate
from relay.record.alerts.rendering import Envoy, alert_json, alert_mail, summary_mail
from relay.record.alerts.withheld import Withheld

NOW = 1763800000.0
GATHER = 300.0
HOUR = 3600.0
DAY = 86400.0

DANA = mailbox("Dana <dana@acme.example>")
OPS = mailbox("ops@platform.example")
ENVOY = Envoy("web01.example", mailbox("Relay <noreply@platform.example>"))

ACME = Contact("acme", DANA, "https://wiki.acme.example/mail", frozenset({"acme-sendgrid"}))
ORPHAN = Contact("orphan", None, None, frozenset({"acme-sendgrid"}))

DEAD = Incident(
    IncidentKind.DEAD_LETTER,
    tenant="acme",
    upstream="acme-sendgrid",
    cause=Cause.RECIPIENT_REFUSED,
    detail="550 5.1.1 no such user",
    queue_id="0RQ4MPG92452P",
    recipients=2,
)
PAUSED = Incident(
    IncidentKind.UPSTREAM_PAUSED,
    upstream="acme-sendgrid",
    cause=Cause.AUTHENTICATION_FAILED,
    detail="535 5.7.8 bad credentials",
)
RESUMED = Incident(IncidentKind.UPSTREAM_RESUMED, upstream="acme-sendgrid")


def addressing(
    *contacts: Contact, operator: Mailbox | None = None, webhook: bool = False
) -> Addressing:
    return Addressing(contacts or (ACME,), operator, webhook=webhook)


def alarm(*contacts: Contact, operator: Mailbox | None = None, webhook: bool = False) -> Alarm:
    return Alarm(GATHER, addressing(*contacts, operator=operator, webhook=webhook))


def run(alarm: Alarm, until: float) -> Iterator[Alert]:
    """All that is told up to a moment, as a caller does who sleeps until ``next_at``."""
    while alarm.next_at is not None and alarm.next_at <= until:
        at = alarm.next_at
        yield from alarm.due(at)
        assert alarm.next_at is None or alarm.next_at > at


def told_at(alarm: Alarm, until: float) -> list[float]:
    return [alert.at - NOW for alert in run(alarm, until)]


def body(notice: Notice) -> str:
    text = quopri.decodestring(notice.content[notice.header_size :])
    return " ".join(text.decode().split())


def subject(notice: Notice) -> str:
    head = notice.content[: notice.header_size].decode().replace("\r\n ", " ")
    match = re.search(r"(?m)^Subject: (.*)\r$", head)
    assert match
    return match[1]


def mail(alert: Alert, **waiting: int) -> Notice:
    counts = {name.replace("_", "-"): number for name, number in waiting.items()}
    return alert_mail(alert, envoy=ENVOY, message_id="<1@web01.example>", waiting=counts)


# -- gathering


def test_ten_thousand_dead_letters_make_one_alert() -> None:
    it = alarm()
    for number in range(10_000):
        it.note(replace(DEAD, queue_id=f"Q{number}"), NOW + number / 100)
    [alert] = run(it, NOW + HOUR)
    assert alert.at == NOW + GATHER
    [concern] = alert.concerns
    assert (concern.count, concern.recipients) == (10_000, 20_000)
    assert concern.queue_ids == ("Q0", "Q1", "Q2", "Q3", "Q4")
    assert (concern.since, concern.last_at) == (NOW, NOW + 99.99)


def test_nothing_is_told_before_it_is_gathered_nor_without_anything() -> None:
    it = alarm()
    assert it.next_at is None
    it.note(DEAD, NOW)
    assert it.next_at == NOW + GATHER
    assert it.due(NOW + GATHER - 1) == []
    assert len(it.due(NOW + GATHER)) == 1
    assert it.next_at is None
    assert it.due(NOW + DAY) == []


def test_a_second_trouble_joins_the_window_of_the_first() -> None:
    it = alarm()
    it.note(DEAD, NOW)
    it.note(PAUSED, NOW + 200)
    [alert] = run(it, NOW + HOUR / 2)
    # The gravest first, whichever came first.
    assert [c.kind for c in alert.concerns] == [
        IncidentKind.UPSTREAM_PAUSED,
        IncidentKind.DEAD_LETTER,
    ]


def test_what_goes_on_is_told_at_growing_distances() -> None:
    it = alarm()
    told: list[float] = []
    for minute in range(3 * 24 * 60):
        it.note(DEAD, NOW + minute * 60)
        told += told_at(it, NOW + minute * 60)
    first = GATHER
    assert told == [first, first + HOUR, first + 5 * HOUR, first + 29 * HOUR, first + 53 * HOUR]


def test_counts_are_of_what_is_new_and_of_all() -> None:
    it = alarm()
    it.note(DEAD, NOW)
    list(run(it, NOW + GATHER))
    it.note(DEAD, NOW + 2 * HOUR)
    [alert] = run(it, NOW + 3 * HOUR)
    assert (alert.concerns[0].count, alert.concerns[0].total) == (1, 2)
    assert "1 dead letter (2 recipients), 2 in all" in body(mail(alert))


def test_after_a_quiet_day_it_is_a_new_trouble() -> None:
    it = alarm()
    it.note(DEAD, NOW)
    assert told_at(it, NOW + 20 * HOUR) == [GATHER]
    it.note(DEAD, NOW + 20 * HOUR)
    assert told_at(it, NOW + 40 * HOUR) == [20 * HOUR + GATHER]
    it.note(DEAD, NOW + 45 * HOUR)
    [alert] = run(it, NOW + 46 * HOUR)
    assert (alert.at, alert.concerns[0].total) == (NOW + 45 * HOUR + GATHER, 1)


def test_no_addressee_has_two_alerts_within_a_window() -> None:
    it = alarm()
    it.note(DEAD, NOW)
    assert told_at(it, NOW + 400) == [GATHER]
    it.note(DEAD, NOW + 400)  # silent until an hour after it was told
    it.note(replace(DEAD, cause=Cause.EXPIRED), NOW + HOUR - 50)
    told = told_at(it, NOW + 2 * HOUR)
    assert told == [HOUR - 50 + GATHER, HOUR - 50 + 2 * GATHER]


# -- pauses


def test_a_pause_is_told_again_by_itself_until_it_ends_and_its_end_once() -> None:
    it = alarm()
    it.note(PAUSED, NOW)
    assert told_at(it, NOW + 6 * HOUR) == [GATHER, GATHER + HOUR, GATHER + 5 * HOUR]
    it.note(RESUMED, NOW + 7 * HOUR)
    it.note(RESUMED, NOW + 7.01 * HOUR)
    [end] = run(it, NOW + 30 * DAY)
    assert end.at == NOW + 7 * HOUR + GATHER
    assert subject(mail(end)) == "[relay] acme: acme-sendgrid works again"
    assert "until 2025-11-22 15:26:40 UTC" in body(mail(end))
    assert alert_json(end, hostname="web01")["kind"] == "upstream_resumed"
    assert it.next_at is None


def test_a_pause_that_ends_within_its_window_is_nobodys_concern() -> None:
    it = alarm()
    it.note(PAUSED, NOW)
    it.note(RESUMED, NOW + 60)
    assert told_at(it, NOW + DAY) == []


def test_an_upstream_that_flaps_is_told_of_and_not_with_every_pause() -> None:
    it = alarm()
    told: list[float] = []
    for number in range(144):
        it.note(PAUSED, NOW + number * 600)
        told += told_at(it, NOW + number * 600 + 60)
        it.note(RESUMED, NOW + number * 600 + 60)
        told += told_at(it, NOW + number * 600 + 599)
    assert 1 <= len(told) <= 4


def test_a_pause_that_comes_and_goes_slowly_makes_no_alert_for_each() -> None:
    it = alarm()
    told: list[float] = []
    for number in range(24):
        start = NOW + number * HOUR
        it.note(PAUSED, start)
        told += told_at(it, start + HOUR / 2)
        it.note(RESUMED, start + HOUR / 2)
        told += told_at(it, start + HOUR - 1)
    assert len(told) <= 10


def test_a_pause_that_comes_back_before_its_end_was_told_goes_on() -> None:
    it = alarm()
    it.note(PAUSED, NOW)
    list(run(it, NOW + GATHER))
    it.note(RESUMED, NOW + 400)
    it.note(PAUSED, NOW + 450)
    [alert] = run(it, NOW + 2 * HOUR)
    assert alert.at == NOW + GATHER + HOUR
    assert alert.concerns[0].ended_at is None


def test_an_end_joins_an_alert_that_goes_out_anyway() -> None:
    it = alarm()
    it.note(PAUSED, NOW)
    it.note(DEAD, NOW)
    assert told_at(it, NOW + GATHER) == [GATHER]
    it.note(DEAD, NOW + HOUR)
    it.note(RESUMED, NOW + HOUR + 200)
    [alert] = run(it, NOW + 3 * HOUR)
    assert [c.ended_at for c in alert.concerns] == [None, NOW + HOUR + 200]


def test_a_tenants_way_ends_by_itself_not_with_the_upstream() -> None:
    it = alarm()
    it.note(replace(PAUSED, kind=IncidentKind.TENANT_WAY_PAUSED, tenant="acme"), NOW)
    list(run(it, NOW + GATHER))
    it.note(RESUMED, NOW + 600)
    assert it.next_at == NOW + GATHER + HOUR
    it.note(replace(RESUMED, tenant="acme"), NOW + 600)
    [alert] = run(it, NOW + HOUR)
    assert alert.concerns[0].ended_at == NOW + 600


# -- who


def addressees(incident: Incident, *contacts: Contact) -> set[str]:
    found = addressing(*contacts, operator=OPS, webhook=True).addressees(incident)
    assert len(found) == len(set(found))
    return {str(one.mailbox.address) if one.mailbox else "webhook" for one in found}


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (DEAD, {"dana@acme.example", "webhook"}),
        (replace(DEAD, tenant="orphan"), {"ops@platform.example", "webhook"}),
        (replace(DEAD, tenant=None), {"ops@platform.example", "webhook"}),
        (replace(DEAD, tenant="gone"), {"ops@platform.example", "webhook"}),
        (PAUSED, {"dana@acme.example", "ops@platform.example", "webhook"}),
        (replace(PAUSED, upstream="platform"), {"ops@platform.example", "webhook"}),
        (
            Incident(IncidentKind.NO_ROUTE, tenant="acme"),
            {"dana@acme.example", "ops@platform.example", "webhook"},
        ),
        (Incident(IncidentKind.QUEUE_FULL), {"ops@platform.example", "webhook"}),
        (Incident(IncidentKind.STORE_FAILED), {"ops@platform.example", "webhook"}),
    ],
)
def test_each_hears_of_what_is_theirs(incident: Incident, expected: set[str]) -> None:
    assert addressees(incident, ACME, ORPHAN) == expected


def test_one_person_in_many_roles_is_told_once() -> None:
    many = [replace(ACME, tenant=f"t{n}", owner=mailbox("OPS@platform.example")) for n in range(9)]
    assert addressees(PAUSED, *many) == {"OPS@platform.example", "webhook"}


def test_an_owner_reads_of_their_own_tenants_and_the_operator_of_all() -> None:
    it = alarm(ACME, ORPHAN, replace(ACME, tenant="acme-shop"), operator=OPS)
    it.note(PAUSED, NOW)
    tenants = {a.addressee.key: a.concerns[0].tenants for a in run(it, NOW + GATHER)}
    assert tenants == {
        "dana@acme.example": ("acme", "acme-shop"),
        "ops@platform.example": ("acme", "orphan", "acme-shop"),
    }


def test_whoever_is_not_addressed_any_more_hears_no_more() -> None:
    it = alarm(operator=OPS)
    it.note(PAUSED, NOW)
    list(run(it, NOW + GATHER))
    it.configure(GATHER, addressing(ORPHAN, operator=OPS))
    assert {a.addressee.key for a in run(it, NOW + DAY)} == {"ops@platform.example"}


def test_nobody_to_tell_is_no_error() -> None:
    it = alarm(ORPHAN)
    it.note(DEAD, NOW)
    it.note(replace(DEAD, tenant="orphan"), NOW)
    assert it.next_at is None


# -- bounds


def test_memory_is_bounded_and_what_is_beyond_is_summed_up() -> None:
    it = alarm(operator=OPS)
    for number in range(5_000):
        it.note(replace(DEAD, tenant=f"t{number}"), NOW)
        it.note(replace(PAUSED, upstream=f"u{number}"), NOW)
    [alert] = run(it, NOW + GATHER)
    assert len(alert.concerns) <= 102
    assert sum(c.count for c in alert.concerns) == 10_000
    text = body(mail(alert))
    assert re.search(r"And \d+ more troubles, with 5000 dead letters: see relay status", text)
    assert len(text) < 30_000


def test_a_flood_of_one_kind_is_summed_up_in_words() -> None:
    it = alarm(operator=OPS)
    for number in range(300):
        it.note(replace(DEAD, tenant=f"t{number}"), NOW)
    [alert] = run(it, NOW + GATHER)
    text = body(mail(alert))
    assert "t0, t1, t2" in text
    assert "and 90 more" in text
    assert "Mail: 100 dead letters (200 recipients); for example" in text
    assert text.count("relay dead list") == 2
    expected = (
        "[relay] t0 and 99 more: 100 dead letters, recipient_refused at acme-sendgrid, and 1 more"
    )
    assert subject(mail(alert)) == expected
    assert "200 dead letters (400 recipients) of further tenants and causes" in text


# -- words


def test_the_mail_tells_a_sleepy_person_what_to_do() -> None:
    it = alarm(operator=OPS)
    it.note(PAUSED, NOW)
    for number in range(3):
        it.note(replace(DEAD, queue_id=f"Q{number}"), NOW + number)
    alert = next(a for a in run(it, NOW + GATHER) if a.addressee.mailbox == DANA)
    notice = mail(alert, acme_sendgrid=1234)
    assert (notice.kind, notice.recipient, notice.about) == ("alert", "dana@acme.example", None)
    assert subject(notice) == (
        "[relay] acme: mail waits, authentication_failed at acme-sendgrid, and 1 more"
    )
    text = body(notice)
    for words in (
        "535 5.7.8 bad credentials",
        "2025-11-22 08:26:40 UTC (5 min ago)",
        "1234 messages waiting now",
        "3 dead letters (6 recipients); for example Q0, Q1, Q2",
        "check the upstream's username and password",
        "https://wiki.acme.example/mail (acme)",
        "relay upstream list",
        "relay dead list --tenant acme",
    ):
        assert words in text
    assert text.count("waiting now") == 1
    assert b"Auto-Submitted: auto-generated\r\n" in notice.content[: notice.header_size]


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (DEAD, "[relay] acme: 1 dead letter, recipient_refused at acme-sendgrid"),
        (
            replace(DEAD, kind=IncidentKind.SENDER_HELD, cause=Cause.SENDER_REFUSED, address="w@x"),
            "[relay] acme: mail from w@x is held, sender_refused at acme-sendgrid",
        ),
        (Incident(IncidentKind.QUEUE_FULL), "[relay] web01.example: the queue is full, mail is"),
        (Incident(IncidentKind.FAILURE_RATE, tenant="acme"), "[relay] acme: more mail fails than"),
        (Incident(IncidentKind.PURGE_SOON, tenant="acme"), "[relay] acme: 1 dead letter will be"),
        (Incident(IncidentKind.NO_ROUTE), "[relay] web01.example: mail waits, it has no way"),
    ],
)
def test_subjects(incident: Incident, expected: str) -> None:
    it = alarm(operator=OPS)
    it.note(incident, NOW)
    alert = next(run(it, NOW + GATHER))
    assert subject(mail(alert)).startswith(expected)


@pytest.mark.parametrize("kind", [k for k in IncidentKind if "resumed" not in k])
def test_every_kind_says_what_broke_what_happens_and_what_to_do(kind: IncidentKind) -> None:
    if kind is IncidentKind.SUPPRESSED:
        return
    it = alarm(operator=OPS)
    relays_own = {IncidentKind.STORE_FAILED, IncidentKind.QUEUE_FULL}
    cause = {IncidentKind.NO_ROUTE: Cause.NO_ROUTE, IncidentKind.DEAD_LETTER: Cause.EXPIRED}
    tenant = None if kind in relays_own else "acme"
    it.note(Incident(kind, tenant, None, cause.get(kind), "words"), NOW)
    text = body(mail(next(run(it, NOW + GATHER))))
    assert "What broke:" in text
    assert "By itself:" in text
    assert "    relay" in text.replace(" relay", "     relay")


def test_the_webhook_has_the_same_facts_and_no_foreign_words_in_its_text() -> None:
    it = alarm(webhook=True)
    it.note(replace(PAUSED, detail="<!channel> pay me\x1b"), NOW)
    it.note(DEAD, NOW)
    alert = next(a for a in run(it, NOW + GATHER) if a.addressee == WEBHOOK)
    facts = json.loads(json.dumps(alert_json(alert, hostname="web01.example", waiting={})))
    assert facts["text"] == (
        "[relay] acme: mail waits, authentication_failed at acme-sendgrid, and 1 more"
    )
    assert facts["detail"] == "<!channel> pay me"
    assert (facts["tenant"], facts["upstream"], facts["cause"], facts["kind"]) == (
        "acme",
        "acme-sendgrid",
        "authentication_failed",
        "upstream_paused",
    )
    assert facts["remedy"].startswith("check the upstream's username")
    assert facts["recovery"] == "https://wiki.acme.example/mail"
    assert facts["since"] == "2025-11-22T08:26:40.000000Z"
    assert [t["count"] for t in facts["troubles"]] == [1, 1]
    assert facts["troubles"][1]["queue_ids"] == ["0RQ4MPG92452P"]


def test_what_to_do_is_about_the_reply_that_is_told() -> None:
    """A remedy never stands beside the reply of another failure."""
    it = alarm(operator=OPS, webhook=True)
    own = replace(DEAD, tenant="orphan", detail="552 full", own_remedy="make room in the mailbox")
    it.note(replace(own, detail="", own_remedy=None), NOW)
    it.note(own, NOW)
    it.note(replace(own, detail="", own_remedy=None), NOW)
    told = list(run(it, NOW + GATHER))
    [facts] = [alert_json(a, hostname="x", waiting={}) for a in told if a.addressee == WEBHOOK]
    assert (facts["detail"], facts["remedy"]) == ("552 full", "make room in the mailbox")
    [text] = [body(mail(a)) for a in told if a.addressee != WEBHOOK]
    assert "Reason: 552 full" in text
    assert "To do: make room in the mailbox" in text
    it.note(replace(own, detail="550 no such user", own_remedy=None), NOW + DAY)
    [later] = [a for a in run(it, NOW + DAY + GATHER) if a.addressee == WEBHOOK]
    facts = alert_json(later, hostname="x", waiting={})
    assert facts["detail"] == "550 no such user"
    assert facts["remedy"] == REMEDIES[Cause.RECIPIENT_REFUSED]


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_nothing_from_outside_breaks_the_form(detail: str, address: str, name: str) -> None:
    contact = replace(ACME, owner=Mailbox(name, "dana@acme.example"), recovery=detail)
    it = alarm(contact)
    held = IncidentKind.SENDER_HELD
    it.note(replace(DEAD, kind=held, detail=detail, address=address), NOW)
    content = mail(next(run(it, NOW + GATHER))).content
    assert content.endswith(b"\r\n")
    assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    assert not re.search(rb"(?m)^\.(?!\.)", content)
    assert content.isascii()


# -- the failure rate


def hours_of(rate: FailureRate, hours: int, troubled: int, start: float) -> list[Incident]:
    """Each minute one attempt, of which ``troubled`` in a hundred are in trouble."""
    risen = []
    for minute in range(hours * 60):
        bad = int(minute * troubled // 100 != (minute + 1) * troubled // 100)
        incident = rate.note("acme", 1 - bad, bad, start + minute * 60)
        risen += [incident] if incident else []
    return risen


def test_a_share_that_rises_above_its_own_usual_is_told_once() -> None:
    rate = FailureRate()
    assert hours_of(rate, 48, 3, NOW) == []
    [incident] = hours_of(rate, 6, 50, NOW + 48 * HOUR)
    assert (incident.kind, incident.tenant) == (IncidentKind.FAILURE_RATE, "acme")
    assert "in the last hour were not relayed; usual are 3%" in incident.detail
    assert hours_of(rate, 6, 3, NOW + 54 * HOUR) == []
    assert len(hours_of(rate, 6, 60, NOW + 60 * HOUR)) == 1


def test_who_fails_much_anyway_is_told_when_it_becomes_much_worse() -> None:
    rate = FailureRate()
    hours_of(rate, 72, 40, NOW)
    assert hours_of(rate, 6, 50, NOW + 72 * HOUR) == []
    assert len(hours_of(rate, 6, 95, NOW + 78 * HOUR)) == 1


def test_a_few_attempts_say_nothing() -> None:
    rate = FailureRate()
    assert all(rate.note("acme", 0, 1, NOW + n) is None for n in range(19))
    assert rate.note("acme", 0, 1, NOW + 20) is not None


def test_a_clock_set_back_and_a_long_silence_are_no_troubles() -> None:
    rate = FailureRate()
    hours_of(rate, 2, 0, NOW)
    assert rate.note("acme", 1, 0, NOW - DAY) is None
    assert rate.note("acme", 1, 0, NOW + 400 * DAY) is None


def test_no_more_tenants_are_remembered_than_allowed() -> None:
    rate = FailureRate(most_tenants=10)
    for number in range(1000):
        rate.note(f"t{number}", 0, 19, NOW)
    assert rate.note("t0", 0, 1, NOW) is None
    assert rate.note("t999", 0, 1, NOW) is not None


# -- the day's suppressions


def suppressed(address: str, queue_id: str | None = "Q", tenant: str = "acme") -> Incident:
    return Incident(IncidentKind.SUPPRESSED, tenant=tenant, address=address, queue_id=queue_id)


def test_the_day_is_summed_up_once_for_each_owner() -> None:
    withheld = Withheld(addressing(ACME, ORPHAN, operator=OPS))
    assert withheld.next_at is None
    withheld.note(suppressed("bob@x.example", None), NOW)
    for _ in range(3):
        withheld.note(suppressed("bob@x.example"), NOW + 60)
    withheld.note(suppressed("new@x.example", None), NOW + 70)
    withheld.note(suppressed("eve@y.example", tenant="orphan"), NOW + 80)
    assert withheld.next_at == 1763877600  # 2025-11-23T06:00:00Z
    assert withheld.due(NOW + 90) == []
    to_dana, to_ops = withheld.due(withheld.next_at)
    notice = summary_mail(to_dana, envoy=ENVOY, message_id="<1@web01.example>")
    assert (notice.kind, notice.recipient) == ("summary", "dana@acme.example")
    assert subject(notice) == "[relay] acme: 3 messages to suppressed addresses"
    assert "bob@x.example 3 messages withheld" in body(notice)
    assert "new@x.example newly suppressed" in body(notice)
    assert "eve@y.example" not in body(notice)
    assert to_ops.addressee.key == "ops@platform.example"
    assert withheld.next_at is None


def test_a_summary_names_so_many_addresses_and_counts_the_rest() -> None:
    withheld = Withheld(addressing())
    for number in range(1000):
        withheld.note(suppressed(f"{number}@x.example"), NOW)
    [summary] = withheld.due(NOW + DAY)
    [of_tenant] = summary.tenants
    assert (len(of_tenant.addresses), of_tenant.others) == (100, 900)
    notice = summary_mail(summary, envoy=ENVOY, message_id="<1@web01.example>")
    assert "and 900 messages to further addresses" in body(notice)


def test_suppressions_make_no_alert() -> None:
    it = alarm(webhook=True)
    it.note(suppressed("bob@x.example"), NOW)
    assert it.next_at is None
