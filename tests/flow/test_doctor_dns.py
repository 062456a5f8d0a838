"""The doctor's checks against a real DNS server with good and bad zones."""

import asyncio
import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.nameserver import nameserver, silence

from relay.config.providers import provider
from relay.doctor.answers import Answer, Dns
from relay.doctor.checkup import check_up
from relay.doctor.finding import Finding, Record
from relay.doctor.subject import Hop, Leaving, Subject

SENDGRID = Hop("acme-sendgrid", "smtp.sendgrid.net", provider("sendgrid"))
SES = Hop("platform", "email-smtp.eu-west-1.amazonaws.com", provider("ses"))
POSTMARK = Hop("acme-postmark", "smtp.postmarkapp.com", provider("postmark"))
FASTMAIL = Hop("mailboxes", "smtp.fastmail.com", provider("fastmail"))
OFFICE = Hop("office", "smtp.office365.com", provider("microsoft365"))
GMAIL = Hop("gmail", "smtp.gmail.com", provider("gmail"))
OWN = Hop("own", "mail.hoster.example")
BEHIND = Hop("behind", "out.hoster.example")


def key(bits: int = 2048) -> str:
    public = rsa.generate_private_key(65537, bits).public_key()
    return base64.b64encode(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


def in_strings(text: str, length: int = 100) -> str:
    """As a zone file has a text that is longer than one string may be."""
    pieces = (text[at : at + length] for at in range(0, len(text), length))
    return " ".join(f'"{piece}"' for piece in pieces)


KEY, SHORT_KEY = key(), key(1024)
PROVIDERS = """
sendgrid.net. TXT "v=spf1 ip4:167.89.0.0/17 ip4:208.117.48.0/20 include:ab.sendgrid.net ~all"
ab.sendgrid.net. TXT "v=spf1 ip4:223.165.113.0/24 ~all"
amazonses.com. TXT "v=spf1 ip4:199.255.192.0/22 -all"
spf.messagingengine.com. TXT "v=spf1 ip4:103.168.172.0/24 ?all"
spf.protection.outlook.com. TXT "v=spf1 ip4:40.92.0.0/15 -all"
_spf.google.com. TXT "v=spf1 ip4:74.125.0.0/16 ~all"
mail.hoster.example. A 9.9.9.9
mail.hoster.example. AAAA 2620:fe::9
out.hoster.example. A 192.168.1.1
"""
ZONE = (
    PROVIDERS
    + f"""
; -- all is well
acme.example. TXT "google-site-verification=abc"
acme.example. TXT {in_strings("v=spf1 include:sendgrid.net include:amazonses.com -all", 9)}
acme.example. MX 10 mx.acme.example.
mx.acme.example. A 192.0.2.1
s1._domainkey.acme.example. CNAME one.alias.example.
one.alias.example. CNAME two.alias.example.
two.alias.example. CNAME s1.domainkey.elsewhere.
s2._domainkey.acme.example. TXT {in_strings("v=DKIM1; k=rsa; p=" + KEY)}
k1._domainkey.acme.example. TXT {in_strings("v=DKIM1; k=rsa; p=" + SHORT_KEY)}
_dmarc.acme.example. TXT "v=DMARC1; p=reject; sp=quarantine; rua=mailto:dmarc@acme.example"
bounces.acme.example. TXT "v=spf1 redirect=acme.example"
"""
)
# For each test a domain of its own.
LINES = """
none.example. A 192.0.2.1
two.example. TXT "v=spf1 include:sendgrid.net ~all"
two.example. TXT "v=spf1 ip4:192.0.2.1 -all"
lacking.example. TXT "v=spf1 include:_spf.google.com -all"
nested.example. TXT "v=spf1 include:_spf.nested.example -all"
_spf.nested.example. TXT "v=spf1 include:sendgrid.net ?all"
refused.example. TXT "v=spf1 -include:sendgrid.net ~all"
flat.example. TXT "v=spf1 ip4:167.89.0.0/16 ip4:208.117.48.0/20 ip4:223.165.113.0/24 -all"
partly.example. TXT "v=spf1 ip4:167.89.0.0/16 -all"
open.example. TXT "v=spf1 include:sendgrid.net +all"
endless.example. TXT "v=spf1 include:sendgrid.net"
redirected.example. TXT "v=spf1 redirect=acme.example"
ptr.example. TXT "v=spf1 ptr include:sendgrid.net -all"
wrong.example. TXT "v=spf1 ipv4:192.0.2.1 include:sendgrid.net -all"
nested-wrong.example. TXT "v=spf1 include:wrong.example include:sendgrid.net -all"
gone.example. TXT "v=spf1 include:gone.invalid include:sendgrid.net -all"
loop.example. TXT "v=spf1 include:a.loop.example include:sendgrid.net -all"
a.loop.example. TXT "v=spf1 include:b.loop.example -all"
b.loop.example. TXT "v=spf1 include:a.loop.example -all"
itself.example. TXT "v=spf1 redirect=itself.example"
ten.example. TXT "v=spf1 a mx include:sendgrid.net include:five.ten.example exists:ten.example -all"
ten.example. A 192.0.2.1
ten.example. MX 10 mx.acme.example.
five.ten.example. TXT "v=spf1 a:acme.example a:mx.acme.example a:ten.example a:none.example -all"
acme.example. A 192.0.2.1
eleven.example. TXT "v=spf1 include:ten.example include:sendgrid.net -all"
full.example. TXT "v=spf1 include:_spf.full.example -all"
_spf.full.example. TXT "v=spf1 include:1.full.example include:2.full.example include:3.full.example"
1.full.example. TXT "v=spf1 a:acme.example a:ten.example a:none.example -all"
2.full.example. TXT "v=spf1 a:acme.example a:ten.example -all"
3.full.example. TXT "v=spf1 -all"
void.example. TXT "v=spf1 a:1.void.example a:2.void.example a:3.void.example mx -all"
void.example. MX 10 mx.acme.example.
deep.example. TXT "v=spf1 include:middle.example -all"
middle.example. TXT "v=spf1 include:gone.invalid -all"
macro.example. TXT "v=spf1 exists:%{i}._spf.macro.example -all"
broken-inside.example. TXT "v=spf1 include:some.broken -all"
own.example. TXT "v=spf1 mx a:mail.hoster.example/24 -all"
own.example. MX 10 mail.hoster.example.
strange.example. TXT "v=spf1 mx -all"
strange.example. MX 10 mx.acme.example.
many.example. TXT "v=spf1 mx include:sendgrid.net -all"
null.example. MX 0 .
shop.nomx.example. MX 0 .
nomx.example. MX 10 mx.acme.example.
lost.example. MX 10 nowhere.lost.example.
half.example. MX 10 nowhere.half.example.
half.example. MX 20 mx.acme.example.
revoked.example. A 192.0.2.1
s1._domainkey.revoked.example. TXT "v=DKIM1; p="
s2._domainkey.revoked.example. TXT "v=DKIM1; k=rsa; p=TUlJQklq"
twins.example. A 192.0.2.1
k1._domainkey.twins.example. TXT "v=DKIM1; p="
k1._domainkey.twins.example. TXT "v=DKIM1; k=rsa"
*.wild.example. TXT "v=spf1 -all"
twice.example. A 192.0.2.1
_dmarc.twice.example. TXT "v=DMARC1; p=quarantine"
_dmarc.twice.example. TXT "v=DMARC1; p=none"
misspelt.example. A 192.0.2.1
_dmarc.misspelt.example. TXT "v=DMARC1; p=monitor"
mild.example. A 192.0.2.1
_dmarc.mild.example. TXT "v=DMARC1; p=none; pct=20"
strict.example. A 192.0.2.1
_dmarc.strict.example. TXT "v=DMARC1; p=reject; aspf=s; adkim=s; rua=mailto:d@strict.example"
xn--bcher-kva.example. TXT "v=spf1 include:sendgrid.net -all"
""" + "".join(f'many.example. MX {n} mx{n}.many.example.\nmx{n}.many.example. A 192.0.2.{n}\n'
              for n in range(1, 12)) + "".join(
    f'large.example. TXT "{n:02} {"x" * 240}"\n' for n in range(20)
) + 'large.example. TXT "v=spf1 include:sendgrid.net -all"\n'  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    zones = {
        ".": ZONE + LINES,
        "elsewhere.": f"s1.domainkey TXT {in_strings('v=DKIM1; p=' + KEY)}\n",
        "broken.": None,
    }
    with nameserver(tmp_path_factory.mktemp("nsd"), zones) as address:
        yield address


def asks(server: str, timeout_s: float = 5) -> Dns:
    host, _, port = server.rpartition(":")
    return Dns([(host, int(port))], timeout_s)


def check(
    server: str,
    domain: str,
    hop: Hop = SENDGRID,
    *,
    reverse: str | None = None,
    selectors: tuple[str, ...] = (),
    timeout_s: float = 5,
) -> dict[str, Finding]:
    """The findings of mail whose From is at ``domain``, by their checks; of several the last."""

    async def check_one() -> list[Finding]:
        subject = Subject("acme", (Leaving(hop, domain, reverse or domain),), selectors)
        return (await check_up(asks(server, timeout_s), [subject]))[0]

    return {finding.check: finding for finding in asyncio.run(check_one())}


def spf(server: str, domain: str, hop: Hop = SENDGRID) -> dict[str, tuple[str, str]]:
    """Verdict and record to publish of each of its checks on SPF."""
    return {
        name: (str(finding.verdict), finding.records[0].value or "" if finding.records else "")
        for name, finding in check(server, domain, hop).items()
        if name.startswith("spf")
    }


GREEN = ("green", "")


# -- a domain where all is well


def test_all_is_green(server: str) -> None:
    found = check(server, "acme.example")
    assert {str(finding.verdict) for finding in found.values()} == {"green"}
    assert list(found) == [
        "spf", "spf_lookups", "spf_provider", "mx", "dkim", "dmarc", "alignment",
    ]  # fmt: skip
    assert found["spf"].text == '"v=spf1 include:sendgrid.net include:amazonses.com -all"'
    assert found["spf_lookups"].text == "3 of 10 look-ups"
    assert found["dkim"].text == "s2._domainkey.acme.example: rsa, 2048 bits"
    assert "by DKIM (d=acme.example)" in found["alignment"].text


def test_aliases_of_a_key_are_followed_beyond_the_zone(server: str) -> None:
    answer = asyncio.run(_texts(server, "s1._domainkey.acme.example"))
    assert answer.values == (f"v=DKIM1; p={KEY}",)


async def _texts(server: str, name: str) -> Answer:
    return await asks(server).texts(name)


def test_aliases_are_followed_beyond_what_one_server_knows(tmp_path: Path) -> None:
    """As with the domain's own server, asked before the others know of a change."""

    async def ask(servers: list[str]) -> Answer:
        named = [(host, int(port)) for host, port in (one.split(":") for one in servers)]
        return await Dns(named, 5).texts("alias.one.example")

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alias, target = "alias CNAME target.two.example.\n", 'target TXT "there"\n'
    with (
        nameserver(tmp_path / "one", {"one.example.": alias}) as one,
        nameserver(tmp_path / "two", {"two.example.": target}) as two,
    ):
        assert asyncio.run(ask([one, two])) == Answer(("there",))


def test_a_large_answer_comes_by_tcp(server: str) -> None:
    assert len(asyncio.run(_texts(server, "large.example")).values) == 21
    assert check(server, "large.example")["spf"].verdict == "green"


def test_an_international_domain_by_its_a_label(server: str) -> None:
    assert spf(server, "xn--bcher-kva.example")["spf"] == GREEN


# -- SPF


@pytest.mark.parametrize(
    ("domain", "published"),
    [
        ("none.example", "v=spf1 include:sendgrid.net ~all"),
        ("two.example", "v=spf1 include:sendgrid.net ip4:192.0.2.1 -all"),
        ("open.example", "v=spf1 include:sendgrid.net ~all"),
        ("endless.example", "v=spf1 include:sendgrid.net ~all"),
        ("ptr.example", "v=spf1 include:sendgrid.net -all"),
        ("wrong.example", "v=spf1 include:sendgrid.net -all"),
        ("nested-wrong.example", "v=spf1 include:sendgrid.net -all"),
        ("gone.example", "v=spf1 include:sendgrid.net -all"),
        ("loop.example", "v=spf1 include:sendgrid.net -all"),
        ("deep.example", "v=spf1 include:sendgrid.net -all"),
        ("itself.example", "v=spf1 include:sendgrid.net ~all"),
        ("many.example", "v=spf1 include:sendgrid.net -all"),
    ],
)
def test_a_record_that_is_no_good_has_another_beneath_it(
    server: str, domain: str, published: str
) -> None:
    assert spf(server, domain)["spf"] == ("red", published)


def test_what_is_wrong_with_it_is_said(server: str) -> None:
    assert check(server, "none.example")["spf"].text == "there is no SPF record"
    assert "2 SPF records" in check(server, "two.example")["spf"].text
    assert "lets everybody send" in check(server, "open.example")["spf"].text
    assert "no all at its end" in check(server, "endless.example")["spf"].text
    assert "'ipv4:192.0.2.1' is no mechanism" in check(server, "wrong.example")["spf"].text
    assert "gone.invalid has no SPF record" in check(server, "gone.example")["spf"].text
    assert "a.loop.example includes itself" in check(server, "loop.example")["spf"].text
    assert "11 MX records" in check(server, "many.example")["spf"].text


@pytest.mark.parametrize(
    ("domain", "verdict"),
    [
        ("nested.example", "green"),
        ("redirected.example", "green"),
        ("flat.example", "green"),
        ("partly.example", "red"),
        ("lacking.example", "red"),
        ("refused.example", "red"),
        ("broken-inside.example", "unknown"),
        ("macro.example", "unknown"),
    ],
)
def test_whether_the_provider_may_send(server: str, domain: str, verdict: str) -> None:
    assert spf(server, domain)["spf_provider"][0] == verdict


def test_the_missing_include_is_put_into_the_record(server: str) -> None:
    published = "v=spf1 include:_spf.google.com include:sendgrid.net -all"
    assert spf(server, "lacking.example")["spf_provider"] == ("red", published)


def test_one_record_does_for_all_that_send_under_the_domain(server: str) -> None:
    """Also for those that were not asked about: what is pasted last would undo the first."""

    async def check_several() -> list[list[Finding]]:
        acme, globex, default = (
            Subject(name, (Leaving(hop, "lacking.example", "lacking.example"),))
            for name, hop in (("acme", SENDGRID), ("globex", SES), (None, FASTMAIL))
        )
        return await check_up(asks(server), [acme, globex], [acme, default])

    published = {
        str(record)
        for findings in asyncio.run(check_several())
        for finding in findings
        if finding.check == "spf_provider"
        for record in finding.records
    }
    assert published == {
        'lacking.example. IN TXT "v=spf1 include:_spf.google.com include:sendgrid.net '
        'include:amazonses.com include:spf.messagingengine.com -all"'
    }


def test_ten_look_ups_are_allowed(server: str) -> None:
    found = check(server, "ten.example")
    assert (found["spf_lookups"].verdict, found["spf_lookups"].text) == (
        "green", "10 of 10 look-ups"
    )  # fmt: skip


def test_eleven_are_not(server: str) -> None:
    found = check(server, "eleven.example")["spf_lookups"]
    assert found.verdict == "red"
    assert found.text.startswith("13 of 10 look-ups")
    assert found.text.endswith("include:ten.example 11, include:sendgrid.net 2")


def test_a_record_to_publish_that_would_break_the_limit_says_so(server: str) -> None:
    found = check(server, "full.example")
    assert found["spf_lookups"].text == "9 of 10 look-ups"
    assert "with it there are 11 of 10 look-ups" in found["spf_provider"].text


def test_more_than_two_look_ups_for_nothing(server: str) -> None:
    found = check(server, "void.example")["spf_lookups"]
    assert found.verdict == "red"
    assert "1.void.example, 2.void.example, 3.void.example" in found.text
    assert found.records[0].value == "v=spf1 mx include:sendgrid.net -all"


def test_an_upstream_that_nobody_knows_by_its_address(server: str) -> None:
    assert check(server, "own.example", OWN)["spf_provider"].verdict == "green"
    assert check(server, "strange.example", OWN)["spf_provider"].verdict == "unknown"
    assert "ip6:2620:fe::9" in check(server, "strange.example", OWN)["spf_provider"].text
    assert check(server, "own.example", BEHIND)["spf_provider"].verdict == "unknown"
    assert spf(server, "none.example", OWN)["spf"][1] == "v=spf1 a:mail.hoster.example ~all"


def test_a_provider_that_wants_none(server: str) -> None:
    assert check(server, "strange.example", POSTMARK)["spf_provider"].verdict == "green"
    assert spf(server, "none.example", POSTMARK)["spf"] == ("red", "v=spf1 mx ~all")


# -- DKIM


def test_a_selector_of_the_provider_that_is_absent(server: str) -> None:
    found = check(server, "none.example", FASTMAIL)["dkim"]
    assert found.verdict == "red"
    assert found.records == (
        Record("fm3._domainkey.none.example", "CNAME", "fm3.none.example.dkim.fmhosted.com"),
    )


def test_where_only_the_provider_knows_the_value(server: str) -> None:
    found = check(server, "none.example", SENDGRID)["dkim"]
    assert found.records == (Record("s2._domainkey.none.example", "CNAME", None),)
    assert "Sender Authentication" in found.text
    assert str(found.records[0]).endswith("IN CNAME (as the provider shows it)")


def test_selectors_that_only_the_provider_knows_are_asked_for(server: str) -> None:
    found = check(server, "none.example", SES)
    assert (found["dkim"].verdict, found["alignment"].verdict) == ("unknown", "unknown")
    assert "dkim_selectors" in found["dkim"].text


def test_selectors_that_only_most_have(server: str) -> None:
    assert check(server, "none.example", GMAIL)["dkim"].verdict == "unknown"


def test_the_tenants_own_selectors(server: str) -> None:
    found = check(server, "acme.example", SES, selectors=("k1",))
    assert (found["dkim"].verdict, found["alignment"].verdict) == ("green", "green")
    assert "1024 bits, better 2048" in found["dkim"].text
    absent = check(server, "acme.example", SES, selectors=("k2",))
    assert (absent["dkim"].verdict, absent["alignment"].verdict) == ("red", "red")


def test_own_selectors_stand_for_those_of_the_provider(server: str) -> None:
    found = check(server, "acme.example", OFFICE, selectors=("k1",))
    assert found["dkim"].text.startswith("k1._domainkey")


def test_keys_that_are_no_good(server: str) -> None:
    assert "cut off" in check(server, "revoked.example")["dkim"].text
    assert "revoked" in check(server, "revoked.example", OWN, selectors=("s1",))["dkim"].text
    assert "2 records" in check(server, "twins.example", OWN, selectors=("k1",))["dkim"].text
    assert "v=DKIM1" in check(server, "shop.wild.example")["dkim"].text


def test_the_key_of_the_domain_above_does_for_it(server: str) -> None:
    found = check(server, "shop.acme.example")
    assert found["dkim"].text.startswith("s2._domainkey.acme.example")
    assert (found["dkim"].domain, found["alignment"].verdict) == ("shop.acme.example", "green")


# -- DMARC


def test_the_policy_of_the_organisation_holds_beneath_it(server: str) -> None:
    found = check(server, "shop.acme.example")["dmarc"]
    assert found.verdict == "green"
    assert found.text.startswith("p=quarantine, from acme.example")


def test_no_policy(server: str) -> None:
    found = check(server, "shop.none.example")["dmarc"]
    assert found.verdict == "red"
    assert [str(record) for record in found.records] == [
        '_dmarc.none.example. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@none.example"'
    ]


def test_policies_that_count_as_none(server: str) -> None:
    twice = check(server, "twice.example")["dmarc"]
    assert (twice.verdict, len(twice.records)) == ("red", 1)
    assert str(twice.records[0].value).startswith("v=DMARC1; p=")
    misspelt = check(server, "misspelt.example")["dmarc"]
    assert (misspelt.verdict, "p=monitor" in misspelt.text) == ("red", True)


def test_a_mild_policy_is_told(server: str) -> None:
    found = check(server, "mild.example")["dmarc"]
    assert found.verdict == "green"
    for note in ("nothing yet", "20 %", "nobody gets reports"):
        assert note in found.text


def test_alignment_of_a_reverse_path_that_stays(server: str) -> None:
    assert check(server, "none.example", FASTMAIL)["alignment"].verdict == "green"
    other = check(server, "none.example", FASTMAIL, reverse="acme.example")["alignment"]
    assert other.verdict == "red"
    assert other.records[0].name == "fm1._domainkey.none.example"
    beneath = check(server, "acme.example", FASTMAIL, reverse="bounces.acme.example")
    assert beneath["alignment"].verdict == "green"


def test_strict_alignment(server: str) -> None:
    strict = check(server, "strict.example", FASTMAIL, reverse="bounces.strict.example")
    assert strict["alignment"].verdict == "red"
    assert "aspf=s" in strict["alignment"].text
    assert check(server, "strict.example", FASTMAIL)["alignment"].verdict == "green"


# -- MX


@pytest.mark.parametrize(
    ("domain", "verdict", "record"),
    [
        ("acme.example", "green", None),
        ("none.example", "green", None),  # its own address
        ("half.example", "green", None),
        ("null.example", "red", "null.example. IN MX (your mail server)"),
        ("lost.example", "red", "lost.example. IN MX (your mail server)"),
        ("nowhere.example", "red", "nowhere.example. IN MX (your mail server)"),
        ("shop.nomx.example", "red", "shop.nomx.example. IN MX 10 mx.acme.example."),
    ],
)
def test_bounces_find_their_way(server: str, domain: str, verdict: str, record: str | None) -> None:
    found = check(server, domain)["mx"]
    assert found.verdict == verdict
    assert [str(one) for one in found.records] == ([record] if record else [])


def test_a_null_mx_is_named(server: str) -> None:
    assert "(a null MX)" in check(server, "null.example")["mx"].text


# -- a DNS that does not answer


def test_a_failing_server_is_unknown(server: str) -> None:
    found = check(server, "acme.broken")
    assert {str(finding.verdict) for finding in found.values()} == {"unknown"}
    assert "SERVFAIL" in found["spf"].text


def test_silence_is_unknown_and_bounded() -> None:
    with silence() as mute:
        began = time.monotonic()
        found = check(mute, "acme.example", timeout_s=0.5)
        assert time.monotonic() - began < 5
    assert {str(finding.verdict) for finding in found.values()} == {"unknown"}
    assert "no answer within 0.5 s" in found["mx"].text


def test_silence_is_bounded_for_many_domains_too() -> None:
    async def check_all(mute: str) -> list[list[Finding]]:
        names = [f"d{number}.example" for number in range(1000)]
        subjects = [Subject(name, (Leaving(SENDGRID, name, name),)) for name in names]
        return await check_up(asks(mute, 0.2), subjects)

    with silence() as mute:
        began = time.monotonic()
        found = asyncio.run(check_all(mute))
    assert time.monotonic() - began < 20
    assert {str(one.verdict) for findings in found for one in findings} == {"unknown"}


def test_the_next_server_is_asked(server: str) -> None:
    async def ask() -> Answer:
        with silence() as mute:
            servers = [(host, int(port)) for host, port in (a.split(":") for a in (mute, server))]
            return await Dns(servers, 8).texts("sendgrid.net")

    assert asyncio.run(ask()).values


def test_names_that_can_not_be() -> None:
    """They are answered without a question."""
    for name in ("a..example", f"{'x' * 64}.example", ".".join(["x" * 60] * 5)):
        assert asyncio.run(_texts("127.0.0.1:1", name)) == Answer()


def test_many_domains_at_once(server: str) -> None:
    """Bounded, and each question but once."""
    names = [f"d{number}.acme.example" for number in range(300)]

    async def check_all() -> list[list[Finding]]:
        subjects = [Subject(name, (Leaving(SENDGRID, name, name),)) for name in names]
        return await check_up(asks(server), subjects)

    began = time.monotonic()
    found = asyncio.run(check_all())
    assert len(found) == 300
    assert time.monotonic() - began < 30
