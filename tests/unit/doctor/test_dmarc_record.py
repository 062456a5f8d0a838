"""DMARC policies (RFC 7489): what receivers would take, and what they would not."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.doctor.dmarc_record import dmarc_record, is_dmarc
from relay.doctor.organisation import are_aligned, organisational_domain, with_its_parents


def test_a_whole_policy() -> None:
    record = dmarc_record(
        "v=DMARC1; p=reject; sp=Quarantine; adkim=s; aspf=S; pct=50; fo=1:d; ri=86400; "
        "rua=mailto:a@acme.example!10m, mailto:b@x.example"
    )
    assert (record.policy, record.beneath, record.percent) == ("reject", "quarantine", 50)
    assert (record.strict_dkim, record.strict_spf, record.reports) == (True, True, True)


def test_the_least_policy() -> None:
    record = dmarc_record("v=DMARC1;p=none")
    assert (record.policy, record.beneath, record.percent) == ("none", "none", 100)
    assert (record.strict_dkim, record.strict_spf, record.reports) == (False, False, False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v=DMARC1", "no policy"),
        ("v=DMARC1; rua=mailto:a@acme.example", "no policy"),
        ("v=DMARC1; p=monitor", "p=monitor is none of"),
        ("v=DMARC1; p=", "p= is none of"),
        ("v=DMARC1; p=none; sp=all", "sp=all"),
        ("v=DMARC1; p=none; adkim=strict", "adkim=strict"),
        ("v=DMARC1; p=none; pct=101", "pct=101"),
        ("v=DMARC1; p=none; rua=a@acme.example", "mailto:"),
        ("v=DMARC1; p=none; rua=mailto:a@acme.example,", "mailto:"),
        ("v=DMARC1 p=none", "no policy"),
        ("v=DMARC1; p=none; p=reject", "stands twice"),
        ("v=DMARC1; none", "is no tag"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        dmarc_record(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("v=DMARC1; p=none", True),
        ("v = DMARC1 ;p=none", True),
        ("v=DMARC1", True),
        ("v=dmarc1; p=none", False),
        ("p=none; v=DMARC1", False),
        ("v=spf1 -all", False),
    ],
)
def test_what_is_a_dmarc_record(text: str, is_one: bool) -> None:
    assert is_dmarc(text) is is_one


@given(st.text(max_size=100))
def test_whatever_stands_there_it_is_a_policy_or_a_sentence(text: str) -> None:
    with suppress(ValueError):
        assert dmarc_record(f"v=DMARC1; {text}").policy in ("none", "quarantine", "reject")


@pytest.mark.parametrize(
    ("domain", "organisation"),
    [
        ("mail.acme.co.uk", "acme.co.uk"),
        ("acme.co.uk", "acme.co.uk"),
        ("a.b.acme.example", "acme.example"),
        ("co.uk", "co.uk"),
        ("shop.acme.xn--p1ai", "acme.xn--p1ai"),
        ("localhost", "localhost"),
    ],
)
def test_the_organisational_domain(domain: str, organisation: str) -> None:
    assert organisational_domain(domain) == organisation
    assert with_its_parents(domain)[0] == domain
    assert with_its_parents(domain)[-1] == organisation


def test_alignment() -> None:
    assert are_aligned("acme.co.uk", "bounces.acme.co.uk", strictly=False)
    assert not are_aligned("acme.co.uk", "bounces.acme.co.uk", strictly=True)
    assert not are_aligned("acme.co.uk", "globex.co.uk", strictly=False)
