"""SPF's grammar (RFC 7208): what is read, what is refused, and the record to publish instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.doctor.spf_mend import mended
from relay.doctor.spf_record import is_spf, spf_record

LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
DOMAINS = st.builds(".".join, st.lists(LABELS, min_size=2, max_size=4))
NETWORKS = st.one_of(
    st.ip_addresses(v=4).map("ip4:{}".format),
    st.builds("ip4:{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32)),
    st.ip_addresses(v=6).map("ip6:{}".format),
    st.builds("ip6:{}/{}".format, st.ip_addresses(v=6), st.integers(0, 128)),
)
TERMS = st.one_of(
    NETWORKS,
    st.sampled_from(["a", "mx", "a/24", "mx//64", "a/24//64", "exists:%{ir}.%{v}.acme.example"]),
    st.builds("{}:{}".format, st.sampled_from(["include", "a", "mx", "exists", "ptr"]), DOMAINS),
    st.builds("{}:{}/{}//{}".format, st.sampled_from(["a", "mx"]), DOMAINS,
              st.integers(0, 32), st.integers(0, 128)),
)  # fmt: skip
MECHANISMS = st.builds("{}{}".format, st.sampled_from(["", "+", "-", "~", "?"]), TERMS)


@given(st.lists(MECHANISMS, max_size=8), st.sampled_from(["", "-all", "~all", "?all", "+all"]))
def test_whatever_the_grammar_makes_is_read(mechanisms: list[str], end: str) -> None:
    record = spf_record(" ".join(["v=spf1", *mechanisms, end]))
    assert record.errors == ()
    assert [one.text for one in record.before_all()] == mechanisms
    assert (record.all.text if record.all else "") == end


@given(st.text(max_size=80))
def test_nothing_that_stands_there_ends_in_an_error_of_ours(text: str) -> None:
    record = spf_record(f"v=spf1 {text}")
    assert mended([record], ["include:sendgrid.net"]).startswith("v=spf1 ")


@given(st.lists(MECHANISMS, max_size=8), st.sampled_from(["", "-all", "~all", "+all"]))
def test_what_is_published_instead_is_sound_and_has_all_there_was(
    mechanisms: list[str], end: str
) -> None:
    before = spf_record(" ".join(["v=spf1", *mechanisms, end]))
    after = spf_record(mended([before], ["include:sendgrid.net"]))
    assert after.errors == ()
    assert after.all is not None
    assert not after.all.passes
    kept = {(one.qualifier, one.name, one.value) for one in after.mechanisms}
    wanted = {
        (one.qualifier, one.name, one.value) for one in before.before_all() if one.name != "ptr"
    }
    assert wanted <= kept
    assert ("+", "include", "sendgrid.net") in kept
    assert mended([after], ["include:sendgrid.net"]) == after.text


@pytest.mark.parametrize(
    ("term", "trouble"),
    [
        ("ip4:192.0.2.0/33", "no network"),
        ("ip4:192.0.2", "no network"),
        ("ip4", "no network"),
        ("ip4:2001:db8::1", "write ip6:"),
        ("ip6:192.0.2.1", "write ip4:"),
        ("include", "needs a domain"),
        ("include:", "needs a domain"),
        ("a:", "needs a domain"),
        ("exists", "needs a domain"),
        ("include:localhost", "not a whole domain name"),
        ("include:a..b", "not a whole domain name"),
        ("include:192.0.2.1", "not a whole domain name"),
        ("include:x.example/24", "takes no length"),
        ("include:%{x}.example", "a % begins a macro"),
        ("include:grüße.example", "A-label"),
        ("a/33", "too large"),
        ("mx//129", "too large"),
        ("all:acme.example", "stands alone"),
        ("all/24", "takes no length"),
        ("includes:sendgrid.net", "is no mechanism"),
        ("include=sendgrid", None),
        ("redirect=", "needs a domain"),
        ("redirect=a.example redirect=b.example", "stands twice"),
        (",", "is no mechanism"),
        ("--all", "is no mechanism"),
    ],
)
def test_what_is_wrong_is_said(term: str, trouble: str | None) -> None:
    errors = spf_record(f"v=spf1 {term} -all").errors
    if trouble is None:
        assert errors == ()
    else:
        assert trouble in " ".join(errors)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("v=spf1", True),
        ("V=SPF1 -all", True),
        ("v=spf10 -all", False),
        ("v=spf1; -all", False),
        (" v=spf1 -all", False),
        ("spf2.0/pra -all", False),
    ],
)
def test_what_is_an_spf_record(text: str, is_one: bool) -> None:
    assert is_spf(text) is is_one


@pytest.mark.parametrize(
    ("texts", "terms", "published"),
    [
        ([], ["include:sendgrid.net"], "v=spf1 include:sendgrid.net ~all"),
        (["v=spf1 mx -all"], ["include:x.example"], "v=spf1 mx include:x.example -all"),
        (["v=spf1 mx +all"], [], "v=spf1 mx ~all"),
        (["v=spf1 mx"], [], "v=spf1 mx ~all"),
        (["v=spf1 +mx ptr MX ?all"], [], "v=spf1 mx ?all"),
        (["v=spf1 mx ~all", "v=spf1 a mx -all"], [], "v=spf1 mx a -all"),
        (["v=spf1 redirect=x.example"], ["a"], "v=spf1 a redirect=x.example"),
        (["v=spf1 -all redirect=x.example"], [], "v=spf1 -all"),
        (["v=spf1 mx exp=e.example -all"], [], "v=spf1 mx -all exp=e.example"),
        (["v=spf1 nonsense mx -all"], [], "v=spf1 mx -all"),
        (["v=spf1 exists:%{I}.x.example -all"], [], "v=spf1 exists:%{I}.x.example -all"),
    ],
)
def test_the_record_to_publish(texts: list[str], terms: list[str], published: str) -> None:
    assert mended(list(map(spf_record, texts)), terms) == published


def test_what_can_not_be_included_is_left_out() -> None:
    records = [spf_record("v=spf1 include:gone.example include:there.example -all")]
    assert mended(records, [], {"include:gone.example"}) == "v=spf1 include:there.example -all"
    assert mended([spf_record("v=spf1 redirect=gone.example")], [], {"redirect"}) == "v=spf1 ~all"
