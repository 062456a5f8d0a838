"""What the providers' lists of bounces and complaints come to, and the relay's own."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.suppress.formats import FORMATS, Import, Skipped, UnknownColumns, read, written
from relay.model.suppression import Source, Suppression
from relay.record.audit import rfc3339

NOW = 1_780_000_000.0
HOW = Import(tenant=None, tenants=("acme", "globex"), actor="dana", now=NOW)


def rows(text: str, form: str = "auto", how: Import = HOW) -> list[Suppression | Skipped]:
    return list(read(text.splitlines(keepends=True), form, how))


def entries(text: str, how: Import = HOW) -> dict[str, str]:
    """Address and reason of what is taken."""
    return {e.address: e.reason for e in rows(text, how=how) if isinstance(e, Suppression)}


SENDGRID_BOUNCES = """\
status,reason,email,created
5.1.1,"550 5.1.1 The account, ""ann"", does not exist
see our help",Ann@Customer.example,1719922921
5.0.0,unable to get mx info,gone@nowhere.example,1719922922
4.0.0,"421 try later",later@customer.example,1719922923
5.7.1,550 5.7.1 blocked,blocked@customer.example,1719922924
"""
MAILGUN = """\
address,code,error,created_at
ann@customer.example,550,5.1.1 User unknown,"Wed, 15 Feb 2012 11:16:31 UTC"
"""
POSTMARK = """\
EmailAddress,SuppressionReason,Origin,CreatedAt
hard@customer.example,HardBounce,Recipient,2019-12-17T08:58:33-05:00
spam@customer.example,SpamComplaint,Recipient,2019-12-17T08:58:33-05:00
gone@customer.example,ManualSuppression,Customer,2019-12-17T08:58:33-05:00
"""
SES = """\
EmailAddress,Reason,LastUpdateTime
hard@customer.example,BOUNCE,2024-05-06T18:11:58.123000+00:00
spam@customer.example,COMPLAINT,2024-05-06T18:11:58Z
"""


def test_sendgrid_tells_bounces_from_blocks():
    assert entries(SENDGRID_BOUNCES) == {
        "ann@customer.example": 'SendGrid: 550 5.1.1 The account, "ann", does not exist '
        "see our help",
        "gone@nowhere.example": "SendGrid: unable to get mx info",
    }
    skipped = [row for row in rows(SENDGRID_BOUNCES) if isinstance(row, Skipped)]
    # A row that goes over two lines counts as two.
    assert [(row.line, row.bad) for row in skipped] == [(5, False), (6, False)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reason,email,created\nunknown domain,a@x.example,1\n", "SendGrid: unknown domain"),
        ("email,ip,created\na@x.example,192.0.2.1,1719922921\n", "SendGrid: spam report"),
        ("address,created_at\na@x.example,\n", "Mailgun: complaint"),
        ("a@x.example,BOUNCE\nb@x.example, COMPLAINT\n", "Amazon SES: BOUNCE"),
        ("Email Address;Reason\na@x.example;Bounce\n", "Amazon SES: BOUNCE"),
        (
            "\ufeffemail address\tsuppression reason\na@x.example\tHard bounce\n",
            "Postmark: HardBounce",
        ),
        ("a@x.example\nb@x.example\n", ""),
    ],
)
def test_forms_are_told_by_their_columns(text: str, expected: str):
    assert entries(text)["a@x.example"] == expected


def test_mailgun_postmark_and_ses_say_when():
    [mailgun] = rows(MAILGUN)
    assert isinstance(mailgun, Suppression)
    assert (mailgun.reason, mailgun.at) == ("Mailgun: 550 5.1.1 User unknown", 1329304591.0)
    hard, spam, manual = rows(POSTMARK)
    assert isinstance(hard, Suppression)
    assert isinstance(spam, Suppression)
    assert (hard.at, spam.reason) == (1576591113.0, "Postmark: SpamComplaint")
    assert isinstance(manual, Skipped)
    assert not manual.bad
    [hard, spam] = rows(SES)
    assert isinstance(hard, Suppression)
    assert (hard.at, hard.reason) == (1715019118.123, "Amazon SES: BOUNCE")


def test_an_entry_is_of_the_import_and_for_all():
    [entry] = rows(MAILGUN)
    assert isinstance(entry, Suppression)
    assert (entry.tenant, entry.source, entry.actor) == ("", Source.IMPORT, "dana")
    assert entry.until is None


def test_a_date_that_nobody_can_read_does_not_lose_the_address():
    [entry] = rows("address,code,error,created_at\na@x.example,550,gone,last week\n")
    assert isinstance(entry, Suppression)
    assert entry.at == NOW


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("ann at customer.example,,,,,", "is not a mail address"),
        ("a@x.example,acmee,,,,", 'no tenant named "acmee"; did you mean "acme"?'),
        ("a@x.example,,automtic,,,", 'did you mean "automatic"?'),
        ("a@x.example,,,,never,", "never"),
        ("a@x.example,,,,99999999999999,", "no moment of our time"),
        ("a@x.example,,,,nan,", "nan"),
        ("a@x.example,,", "it has 3 columns, not 6"),
        ("a\udcff@x.example,,,,,", "characters that none can have"),
        ('"' + "a" * 200_000 + '",,,,,', "field larger than field limit"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_taken(row: str, why: str):
    text = f"address,tenant,source,reason,at,until\n{row}\nb@x.example,acme,,,,\n"
    bad, good = rows(text)
    assert isinstance(bad, Skipped)
    assert (bad.line, bad.bad) == (2, True)
    assert why in bad.why
    assert isinstance(good, Suppression)
    assert (good.address, good.tenant) == ("b@x.example", "acme")


def test_the_tenant_that_is_asked_for_wins_over_the_file():
    how = Import(tenant="globex", tenants=("acme", "globex"), actor="dana", now=NOW)
    [entry] = rows("address,tenant\na@x.example,acme\n", how=how)
    assert isinstance(entry, Suppression)
    assert entry.tenant == "globex"


def test_what_is_over_is_left_out():
    [row] = rows(f"address,until\na@x.example,{NOW - 1}\n")
    assert row == Skipped(2, "its time is up", bad=False)


@pytest.mark.parametrize(
    "titles",
    [
        "email,created",
        "email,created,name",
        "address,tags,created_at",
        "name,phone",
        "",
        "address,first_name",
    ],
)
def test_what_is_no_list_of_bounces_is_refused(titles: str):
    with pytest.raises(UnknownColumns):
        rows(f"{titles}\na@x.example,1\n")


def test_a_form_that_is_named_must_fit():
    with pytest.raises(UnknownColumns, match="not those of sendgrid: address, code"):
        rows(MAILGUN, "sendgrid")
    assert FORMATS == ("auto", "relay", "sendgrid", "ses", "postmark", "mailgun")


def test_rows_are_read_one_by_one():
    """A million of them must not be held in memory."""
    taken = 0

    def lines() -> Iterable[str]:
        nonlocal taken
        yield "address\n"
        for number in range(1000):
            taken += 1
            yield f"a{number}@x.example\n"

    next(read(lines(), "auto", HOW))
    assert taken == 1


_MOMENTS = st.integers(0, 4_000_000_000).map(float)
_ENTRIES = st.builds(
    Suppression,
    tenant=st.sampled_from(["", "acme"]),
    address=st.sampled_from(["a@x.example", '"a,b"@x.example', "ü@xn--bcher-kva.example"]),
    source=st.sampled_from(Source),
    reason=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20),
    actor=st.just("dana"),
    at=_MOMENTS,
    until=st.none() | st.just(NOW + 60),
)


@given(st.lists(_ENTRIES))
def test_what_is_written_is_read_back(some: list[Suppression]):
    text = "".join(written(some, rfc3339))
    assert rows(text) == some
