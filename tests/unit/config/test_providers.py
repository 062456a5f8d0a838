"""The providers' data files: whole, sound, read only when asked for, and strict about mistakes."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import relay
from relay.config.providers import (
    general_rules,
    provider,
    provider_names,
    providers,
    read_provider,
    read_rules,
)
from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.provider import Endpoint, ProviderDkim, ProviderLimits, ProviderSpf, ReplyRule
from relay.model.reply import Reply

ALL = [
    "brevo", "fastmail", "gmail", "google-relay", "icloud", "mailgun", "mailjet", "mandrill",
    "microsoft365", "postmark", "resend", "sendgrid", "ses", "sparkpost", "yahoo", "zoho",
]  # fmt: skip

SOUND = """\
title: Acme
endpoints:
  - {host: smtp.acme.example, port: 465, tls: implicit, source: &own "Acme's word, 2026-11"}
username: {literal: acme, source: *own}
limits:
  connections: {value: 3, source: *own}
  per_second: {value: 1.5, source: *own}
  counts: {value: recipients, source: *own}
spf: {include: spf.acme.example, keeps_reverse_path: false, source: *own}
dkim:
  selectors: [a1, a2]
  fixed: true
  where: Domains, in Acme
  cname: "{selector}.{domain}.dkim.acme.example"
  source: *own
replies:
  - example: 550 5.4.5 No more today
    code: 550
    status: 5.4.5
    text: [no more]
    cause: quota_exceeded
    scope: upstream
    source: *own
"""


def test_all_providers_are_there() -> None:
    assert list(provider_names()) == ALL
    assert list(providers()) == ALL
    assert [known.name for known in providers().values()] == ALL


@pytest.mark.parametrize("name", ["sendgird", "general", "../providers/ses", "", "__init__"])
def test_an_unknown_one_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        provider(name)


@pytest.mark.parametrize("name", ALL)
def test_implicit_tls_comes_first_and_ports_fit_their_mode(name: str) -> None:
    endpoints = provider(name).endpoints
    modes = [endpoint.tls for endpoint in endpoints]
    assert modes == sorted(modes)
    ports = {"implicit": {465, 2465}, "starttls": {25, 587, 2525, 2587}}
    assert all(endpoint.port in ports[endpoint.tls] for endpoint in endpoints)
    assert endpoints[0].port in {465, 587}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_has_its_source_with_a_date(name: str) -> None:
    known = provider(name)
    told = [source.rsplit(": ", 1) for source in known.sources]
    assert all(re.fullmatch(r"(provider's|third party).*, \d{4}-\d{2}", said) for _, said in told)
    what = " ".join(figure for figure, _ in told)
    neutral = ProviderLimits()
    for field in fields(ProviderLimits):
        value = getattr(known.limits, field.name)
        assert value == getattr(neutral, field.name) or f"{field.name} {value}" in what
    assert all(f"{e.host} {e.port} {e.tls}" in what for e in known.endpoints)


@pytest.mark.parametrize("name", ALL)
def test_regions_are_for_hosts_that_have_one(name: str) -> None:
    known = provider(name)
    assert bool(known.regions) == any("{region}" in e.host for e in known.endpoints)
    assert bool(known.username) != bool(known.username_form)


def test_some_facts() -> None:
    assert provider("gmail").endpoints[0] == Endpoint("smtp.gmail.com", 465, "implicit")
    assert provider("sendgrid").username == "apikey"
    assert provider("resend").username == "resend"
    assert provider("resend").idempotency_header == "Resend-Idempotency-Key"
    assert provider("sparkpost").username == "SMTP_Injection"
    assert "eu-west-1" in provider("ses").regions
    assert provider("ses").limits.counts == "recipients"
    microsoft = provider("microsoft365").limits
    assert (microsoft.connections, microsoft.per_minute, microsoft.per_day) == (3, 30, 10_000)
    assert (microsoft.counts, microsoft.per_day_counts) == ("messages", "recipients")
    assert provider("zoho").limits == ProviderLimits()
    assert provider("gmail").spf == ProviderSpf("_spf.google.com", keeps_reverse_path=True)
    assert provider("postmark").spf == ProviderSpf(None, keeps_reverse_path=False)


@pytest.mark.parametrize("name", ALL)
def test_an_alias_of_a_key_is_a_name_and_none_that_is_unconfirmed_is_a_must(name: str) -> None:
    dkim = provider(name).dkim
    if dkim and dkim.cname:
        made = dkim.cname.format(selector="s1", domain="acme.example")
        assert re.fullmatch(r"[a-z0-9.-]+", made)
    if dkim and dkim.fixed:
        (source,) = [source for source in provider(name).sources if source.startswith("DKIM")]
        assert "unconfirmed" not in source


def test_the_general_rules_are_those_that_pass_all_checks() -> None:
    """They are read without them at every start."""
    octets = Path(relay.__file__).with_name("providers").joinpath("general.yaml").read_bytes()
    assert general_rules() == read_rules("general", octets)


def test_the_general_rules_end_with_one_that_fits_everything() -> None:
    last = general_rules()[-1]
    assert (last.codes, last.statuses, last.text, last.phases) == ((), (), (), frozenset())
    assert not last.permanent


def test_a_sound_file_is_read() -> None:
    known = read_provider("acme", SOUND.encode())
    assert known.limits == ProviderLimits(connections=3, per_second=1.5, counts="recipients")
    assert known.spf == ProviderSpf("spf.acme.example", keeps_reverse_path=False)
    cname = "{selector}.{domain}.dkim.acme.example"
    assert known.dkim == ProviderDkim(("a1", "a2"), True, "Domains, in Acme", cname)
    rule = known.replies[0]
    assert (rule.codes, rule.statuses, rule.phases) == (("550",), ("5.4.5",), frozenset())
    assert rule.matches(Phase.MAIL, Reply(550, "5.4.5", "NO MORE mail"))
    assert not rule.matches(Phase.MAIL, Reply(550, "5.4.5", "some more mail"))


def test_each_text_is_a_regular_expression_by_itself() -> None:
    """They are compiled when a reply asks for them, which is too late to find a mistake."""
    rules = [*general_rules(), *(rule for one in providers().values() for rule in one.replies)]
    for text in (text for rule in rules for text in rule.text):
        re.compile(text)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("title:", "titel:"),
        ("title: Acme\n", "title: Acme\ntitle: Acme\n"),
        ("port: 465", "port: '465'"),
        ("port: 465", "port: 465000"),
        ("tls: implicit", "tls: none"),
        ("host: smtp.acme.example", "host: smtp.acme.example:465"),
        (', 2026-11"', '"'),
        ("{literal: acme, ", "{literal: acme, form: words, "),
        ("{literal: acme, ", "{"),
        ("connections: {value: 3", "conections: {value: 3"),
        ("connections: {value: 3", "connections: {value: 3.5"),
        ("connections: {value: 3", "connections: {value: 0"),
        ("{value: 3, source: *own}", "3"),
        ("{value: 3, source: *own}", "{value: 3}"),
        ("value: recipients", "value: rcpts"),
        ("value: 1.5", "value: many"),
        ("include: spf.acme.example", "include: 'spf acme'"),
        ("keeps_reverse_path: false, ", ""),
        ("keeps_reverse_path: false", "keeps_reverse_path: 0"),
        ("selectors: [a1, a2]", "selectors: [a1._domainkey]"),
        ("fixed: true", "fixed: 1"),
        ("  where: Domains, in Acme\n", ""),
        ("code: 550", "code: 55"),
        ("code: 550", "kode: 550"),
        ("code: 550", "code: true"),
        ("status: 5.4.5", "status: 5.4"),  # which YAML takes for a number
        ("status: 5.4.5", "status: 5.4.x"),
        ("text: [no more]", "text: no more"),
        ("text: [no more]", "phases: [mial]"),
        ("quota_exceeded", "quota_exeeded"),
        ("scope: upstream", "scope: server"),
        ("scope: upstream", "scope: message"),
        ("scope: upstream", "scope: upstream\n    permanent: true"),
        ("scope: upstream", "scope: upstream\n    permanent: 1"),
        ("scope: upstream", "scope: upstream\n    remedy: ''"),
        ("example: 550", "example: never 550"),
        ("    source: *own\n", ""),
        ("endpoints:\n", "endpoints: []\nnotes:\n"),
        ("title", "[title"),
    ],
)
def test_a_mistake_is_refused_by_the_files_name(right: str, wrong: str) -> None:
    assert right in SOUND
    with pytest.raises(ValueError, match=r"^acme\.yaml"):
        read_provider("acme", SOUND.replace(right, wrong).encode())


def test_a_table_of_rules_holds_nothing_else() -> None:
    assert read_rules("acme", b"replies: []") == ()
    with pytest.raises(ValueError, match=r"acme\.yaml"):
        read_rules("acme", SOUND.encode())


def rule(**given: object) -> ReplyRule:
    base = {"cause": Cause.RATE_LIMITED, "scope": Scope.UPSTREAM, "example": "x", "source": "x"}
    return ReplyRule(**{**base, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"scope": Scope.MESSAGE},
        {"scope": Scope.TENANT, "phases": frozenset({Phase.AUTH, Phase.MAIL})},
        {"permanent": True},
        {"permanent": True, "scope": Scope.MESSAGE, "phases": frozenset({Phase.DATA})},
        {"permanent": True, "cause": Cause.MESSAGE_REFUSED},
    ],
)
def test_no_row_can_fail_a_message_for_what_is_not_its_own(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"never fails|needs phases"):
        rule(**given)


def test_importing_reads_no_provider() -> None:
    program = (
        "import relay.deliver.classify, relay.config.providers as p;"
        "print(p.provider.cache_info().currsize, p.providers.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "0"], done.stderr
