"""Classes of messages: which addresses a pattern is of, and what a class changes."""

from collections.abc import Callable

import pytest

from relay.config.bounds import Retry
from relay.config.patterns import address_pattern
from relay.config.schema import Config, MessageClass

Loads = Callable[..., Config]

CLASSES = """\
clients: {users: {crm: {password_hash: $argon2id$x}}}
upstreams: {bulk-mail: {host: bulk.example}}
retry: {first: 10s, factor: 3, longest: 2h, give_up_after: 3d, attempts: 7}
classes:
  zulu:
    match:
      sender: [billing@acme.example, "*.acme.example"]
      recipient: globex.example
      header: {List-Unsubscribe: ".+", X-Kind: "^otp$"}
      subject: (?i)verification code
      user: crm
    priority: high
    give_up_after: 10m
    upstream: bulk-mail
    retry: {first: 1s, attempts: 2}
    suppression: ignore
  alpha: {match: {sender: "*"}}
"""


def classes(loads: Loads) -> list[MessageClass]:
    return list(loads(CLASSES).classes.values())


@pytest.mark.parametrize(
    ("pattern", "addresses"),
    [
        ("Billing@Acme.example", ["billing@acme.example", "BILLING@ACME.EXAMPLE"]),
        ("acme.example", ["a@acme.example", "b@ACME.example", '"x@y"@acme.example']),
        ("@acme.example", ["a@acme.example"]),
        ("acme.example.", ["a@acme.example"]),
        ("*.acme.example", ["a@x.acme.example", "a@x.y.acme.example"]),
        ("*@acme.example", ["a@acme.example"]),
        ("www-*@*.acme.example", ["www-data@web01.acme.example"]),
        ("shop+*@acme.example", ["shop+17@acme.example"]),
        ("web0*", ["root@web01"]),
        ("müller.example", ["a@müller.example", "a@xn--mller-kva.example"]),
        ("*.müller.example", ["a@x.xn--mller-kva.example"]),
        ("*", ["a@acme.example", "root", ""]),
        ("<>", [""]),
    ],
)
def test_a_pattern_is_of_these_addresses(pattern: str, addresses: list[str]) -> None:
    compiled = address_pattern(pattern)
    assert [address for address in addresses if not compiled.matches(address)] == []
    assert str(compiled) == pattern


@pytest.mark.parametrize(
    ("pattern", "addresses"),
    [
        ("billing@acme.example", ["xbilling@acme.example", "billing@acme.example.org", ""]),
        ("acme.example", ["a@x.acme.example", "a@xacme.example", "a@acmeXexample", "acme.example"]),
        ("*.acme.example", ["a@acme.example", "a@xacme.example"]),
        ("*@acme.example", ["a@x.acme.example", "", "acme.example"]),
        ("a.b@acme.example", ["axb@acme.example"]),
        ("<>", ["a@acme.example", "<>"]),
    ],
)
def test_a_pattern_is_not_of_those(pattern: str, addresses: list[str]) -> None:
    compiled = address_pattern(pattern)
    assert [address for address in addresses if compiled.matches(address)] == []


def test_many_stars_take_no_time() -> None:
    """A naive regular expression would go through some 10**20 ways of dividing the address."""
    pattern = address_pattern("*".join("a" * 30) + "*@acme.example")
    assert not pattern.matches("a" * 300 + "@globex.example")


def test_classes_keep_the_order_of_the_file(loads: Loads) -> None:
    assert list(loads(CLASSES).classes) == ["zulu", "alpha"]


def test_what_a_class_asks_for_is_compiled(loads: Loads) -> None:
    zulu, alpha = classes(loads)
    assert (zulu.name, alpha.name) == ("zulu", "alpha")
    assert [str(pattern) for pattern in zulu.match.sender] == [
        "billing@acme.example",
        "*.acme.example",
    ]
    assert zulu.match.recipient[0].matches("x@globex.example")
    assert zulu.match.header["X-Kind"].search("otp")
    assert list(zulu.match.header) == ["List-Unsubscribe", "X-Kind"]
    assert zulu.match.subject is not None
    assert zulu.match.subject.search("Your Verification Code is 17")
    assert zulu.match.user == ("crm",)
    assert (zulu.priority, zulu.upstream, zulu.suppression) == ("high", "bulk-mail", "ignore")
    assert (alpha.priority, alpha.upstream, alpha.suppression) == ("normal", None, "obey")
    assert alpha.match.sender[0].matches("")
    assert (alpha.match.recipient, alpha.match.header, alpha.match.subject) == ((), {}, None)


def test_a_class_retries_as_all_do_but_for_its_changes(loads: Loads) -> None:
    config = loads(CLASSES)
    zulu, alpha = config.classes.values()
    of_zulu = zulu.retry_from(config.retry)
    assert of_zulu == Retry(first="1s", factor=3, longest="2h", give_up_after="10m", attempts=2)
    assert of_zulu.schedule.give_up_after_s == 600
    assert alpha.retry_from(config.retry) == config.retry
