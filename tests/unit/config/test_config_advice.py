"""What `relay check` warns of: each piece of advice, given and not given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from relay.config.advice import warnings
from relay.config.schema import Config

Loads = Callable[..., Config]

# Nothing to say of this one.
SOUND = """\
hostname: web01.example
upstreams:
  one: {host: one.example, username: u, password: env:KEY}
  two: {host: two.example}
default: {upstream: two}
tenants:
  acme: {domains: [acme.example], upstream: one, owner: a@acme.example}
  globex: {domains: [globex.example], upstream: two, owner: b@globex.example}
"""
ENVIRON = {"KEY": "s3cret"}


def advice(loads: Loads, text: str, environ: dict[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in warnings(loads(text, environ or ENVIRON))]


def test_a_sound_configuration_gets_none(loads: Loads) -> None:
    assert advice(loads, SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "env:KEY",
            "s3cret",
            ["3:41: upstreams.one.password: stands in the file as plain text"],
        ),
        ("env:KEY", "env:NONE", ["3:41: upstreams.one.password: env:NONE: the variable NONE is"]),
        ("env:KEY", "file:/none", ["3:41: upstreams.one.password: file:/none: no file /none"]),
        (
            "{host: two.example}",
            "{host: two.example, port: 587, tls: implicit}",
            ["4:39: upstreams.two.tls: implicit does not fit port 587"],
        ),
        (
            "{host: two.example}",
            "{host: two.example, port: 465, tls: starttls}",
            ["4:39: upstreams.two.tls: starttls does not fit port 465"],
        ),
        (
            "upstream: two, owner",
            "upstream: one, owner",
            ['8:39: tenants.globex.upstream: has credentials, and tenant "acme" sends by it too'],
        ),
        (
            ", owner: b@globex.example",
            "",
            ["8:3: tenants.globex: has no owner: nobody hears of its failures"],
        ),
        (
            "{domains: [globex.example], ",
            "{",
            ["8:3: tenants.globex: has no domains and no senders, so no mail is ever its own"],
        ),
        (
            "  two: {host: two.example}\n",
            "  two: {host: two.example}\n  three: {host: three.example}\n",
            ["5:3: upstreams.three: no tenant, class or default names it"],
        ),
        ("hostname: web01.example", "hostname: web01", ["1:1: hostname: web01 has no domain"]),
        (
            "hostname",
            "listen: [10.0.0.5:25]\nclients: {networks: [127.0.0.0/8, 10.0.0.0/8]}\nhostname",
            ["2:35: clients.networks[1]: clients from 10.0.0.0/8 may send as any tenant"],
        ),
        (
            "hostname",
            "listen: [10.0.0.5:25]\nclients: {networks: [{network: 9.9.9.0/24, tenants: [acme]}]}\n"
            "hostname",
            ["2:22: clients.networks[0]: 9.9.9.0/24 is a public network, and sends without a"],
        ),
        (
            "hostname",
            "listen: [{address: 127.0.0.1:25, auth: none}]\n"
            "clients: {users: {crm: {password_hash: $argon2id$x}}}\nhostname",
            ["2:11: clients.users: no listener lets them log in: set its auth"],
        ),
        (
            "upstream: two, owner",
            "upstream: two, failover: {to: [one]}, owner",
            ['8:70: tenants.globex.failover.to[0]: has credentials, and tenant "acme" sends by it'],
        ),
        (
            "upstream: two, owner",
            "upstream: two, pilot: {upstream: one, percent: 5}, owner",
            ['8:62: tenants.globex.pilot.upstream: has credentials, and tenant "acme" sends by it'],
        ),
        (
            "hostname",
            "classes: {otp: {match: {user: crm}, upstream: one}}\n"
            "clients: {users: {crm: {password_hash: $argon2id$x}}}\nhostname",
            ['1:37: classes.otp.upstream: has credentials, and tenant "acme" sends by it: others'],
        ),
        (
            "default: {upstream: two}\n",
            "",
            ["6:50: tenants.acme.owner: no alert could be mailed to an owner: set alerts.upstream"],
        ),
        (
            "hostname",
            "alerts: {webhook: http://hooks.example/x}\nhostname",
            ["1:10: alerts.webhook: alerts would cross the network in clear text: use https"],
        ),
        (
            "hostname",
            "alerts: {webhook: env:NONE}\nhostname",
            ["1:10: alerts.webhook: env:NONE: the variable NONE is not set"],
        ),
        (
            "hostname",
            "alerts: {webhook: env:KEY}\nhostname",
            ["1:10: alerts.webhook: is not a URL that begins with https:// or http://"],
        ),
        (
            "{host: two.example}",
            "{provider: ses, region: eu-west-11}",
            ['4:24: upstreams.two.region: "eu-west-11" is none that we know of; did you mean "eu-'],
        ),
        (
            "{host: two.example}",
            "{provider: brevo, region: eu-west-1}",
            ["4:26: upstreams.two.region: is of no use to this preset: where Brevo's host is"],
        ),
        (
            "{host: two.example}",
            "{provider: sendgrid}",
            ["4:3: upstreams.two: there is no password, without which Twilio SendGrid takes no"],
        ),
        (
            "{host: one.example, username: u",
            "{provider: microsoft365, username: u@x.example",
            ["3:56: upstreams.one.password: Microsoft 365 turns passwords for SMTP off at the end"],
        ),
        (
            "{host: one.example, username: u, password: env:KEY}",
            "{provider: postmark, password: env:NONE}",
            ["3:29: upstreams.one.password: env:NONE: the variable NONE is not set"],
        ),
        (
            "hostname",
            "store: postgresql://relay:s3cret@db.example/relay\nhostname",
            ["1:1: store: holds a password as plain text"],
        ),
        (
            "hostname",
            "listen: [127.0.0.1:25, 10.1.0.5:25]\nhostname",
            ["1:24: listen[1]: 10.1.0.5:25 answers the network, and admits nobody from there"],
        ),
    ],
)
def test_advice_is_given_with_its_place(
    loads: Loads, old: str, new: str, expected: list[str]
) -> None:
    Path("config.yaml").touch(mode=0o640)
    found = advice(loads, SOUND.replace(old, new))
    assert len(found) == len(expected), found
    for message, beginning in zip(found, expected, strict=True):
        assert message.startswith(f"config.yaml:{beginning}")
        assert "s3cret" not in message


@pytest.mark.parametrize(
    ("mode", "is_open"), [(0o600, 0), (0o640, 0), (0o400, 0), (0o644, 1), (0o660, 1)]
)
def test_secret_files_are_for_owner_and_group(loads: Loads, mode: int, is_open: int) -> None:
    key = Path("key").absolute()
    key.write_text("s3cret")
    key.chmod(mode)
    found = advice(loads, SOUND.replace("env:KEY", f"file:{key}"))
    assert len(found) == is_open
    if found:
        assert found[0].endswith(f"{key} has mode {mode:04o}: chmod 0640 it, or 0600")


def test_a_file_with_secrets_in_it_is_one_too(loads: Loads) -> None:
    Path("config.yaml").touch()
    Path("config.yaml").chmod(0o644)
    found = advice(loads, SOUND.replace("env:KEY", "s3cret"))
    assert (
        "config.yaml: holds secrets, and config.yaml has mode 0644: chmod 0640 it, or 0600" in found
    )


def test_clients_of_this_machine_need_no_tenants(loads: Loads) -> None:
    text = "listen: ['127.0.0.1:25', '[::1]:25']\nclients: {networks: [0.0.0.0/0, '::1/128']}\n"
    assert advice(loads, text + SOUND) == []


def test_without_tenants_there_is_nobody_to_be_bound_to(loads: Loads) -> None:
    text = "listen: [10.0.0.5:25]\nclients: {networks: [10.0.0.0/8]}\n"
    text += "hostname: web01.example\nupstreams: {two: {host: two.example}}\n"
    assert advice(loads, text + "default: {upstream: two}\n") == []


def test_an_upstream_without_credentials_may_be_shared(loads: Loads) -> None:
    assert advice(loads, SOUND.replace("upstream: one, owner", "upstream: two, owner")) == [
        "config.yaml:3:3: upstreams.one: no tenant, class or default names it"
    ]


def test_a_tenant_without_domains_may_be_that_of_a_bound_client(loads: Loads) -> None:
    text = SOUND.replace("{domains: [globex.example], ", "{")
    assert advice(loads, "listen: [{address: 127.0.0.1:25, tenants: [globex]}]\n" + text) == []


def test_a_password_in_a_variable_is_not_plain_text_in_the_file(loads: Loads) -> None:
    variable = {"RELAY_UPSTREAMS__ONE__PASSWORD": "s3cret"}
    assert advice(loads, SOUND, variable) == []


def test_an_empty_configuration_refuses_all_mail(loads: Loads) -> None:
    assert advice(loads, "hostname: web01.example\n") == [
        "config.yaml: there are no tenants and no default: all mail is refused"
    ]


@pytest.mark.parametrize(
    "kept",
    [
        "alerts: {email: ops@platform.example}\n" + SOUND.replace(", owner: b@globex.example", ""),
        "alerts: {upstream: two}\n" + SOUND.replace("default: {upstream: two}\n", ""),
        "alerts: {webhook: https://hooks.example/x}\n" + SOUND,
        "alerts: {webhook: http://127.0.0.1:8080/x}\n" + SOUND,
        SOUND.replace("two: {host: two.example}", "two: {provider: ses, region: EU-West-1}"),
        SOUND.replace("host: one.example, username: u", "provider: sendgrid"),
        SOUND.replace("host: one.example, username: u", "provider: mandrill, username: u"),
        SOUND.replace("one.example, username: u", "smtp.zoho.eu, provider: zoho, username: u@x.y"),
        SOUND.replace("one.example, username: u", "127.0.0.1, provider: sendgrid, port: 4465"),
        SOUND.replace("two.example", "smtp.resend.com, provider: resend, password: env:KEY"),
        SOUND.replace("upstream: one, owner", "upstream: one, failover: {to: [two]}, owner"),
    ],
)
def test_what_is_well_done_gets_no_advice(loads: Loads, kept: str) -> None:
    Path("config.yaml").touch(mode=0o640)
    assert advice(loads, kept) == []


@pytest.mark.parametrize(
    "use",
    [
        "tenants.acme: {failover: {to: [three]}}",
        "tenants.acme: {pilot: {upstream: three, percent: 0}}",
        "classes: {otp: {match: {sender: '*'}, upstream: three}}",
        "alerts: {upstream: three}",
    ],
)
def test_whatever_names_an_upstream_uses_it(loads: Loads, use: str) -> None:
    text = SOUND.replace("  two:", "  three: {host: three.example}\n  two:")
    if use.startswith("tenants"):
        text = text.replace("upstream: one, ", f"upstream: one, {use.partition('{')[2][:-1]}, ")
    else:
        text += use + "\n"
    assert advice(loads, text) == []


ONE = "{host: one.example, username: u, password: env:KEY}"


@pytest.mark.parametrize(
    ("entry", "key", "expected"),
    [
        ("{provider: sendgrid, username: me, password: env:KEY}", "x", "username: is not the one "
         "that Twilio SendGrid has for all: apikey"),
        ("{provider: resend, username: re, password: env:KEY}", "x", "username: is not the one "
         "that Resend has for all: resend"),
        ("{provider: sparkpost, username: smtp_injection, password: env:KEY}", "x", "username: is "
         "not the one that SparkPost has for all: SMTP_Injection"),
        ("{provider: gmail, username: dana, password: env:KEY}", "abcd efgh ijkl mnop", "username: "
         "is no address: for Gmail and Google Workspace it is the Gmail address, with an app"),
        ("{provider: zoho, username: dana, password: env:KEY}", "x", "username: is no address: for "
         "Zoho Mail it is the mailbox's address"),
        ("{provider: gmail, username: d@x.example, password: env:KEY}", "hunter2", "password: is "
         "not an app password, which has 16 letters: Google takes no other"),
        ("{provider: ses, region: eu-west-1, username: AKIA, password: env:KEY}", "k/" * 20,
         "password: looks like an AWS secret access key, which SES does not take by SMTP"),
        ("{provider: postmark, username: me, password: env:KEY}",
         "01234567-89ab-cdef-0123-456789abcdef", "username: a server token of Postmark is the "
         "password too: remove username"),
        ("{provider: sendgrid, port: 2526, password: env:KEY}", "x", "port: Twilio SendGrid has "
         "none but 465, 587, 2525, 25"),
        ("{provider: ses, region: eu-west-1, host: mx.example, username: A, password: env:KEY}",
         "x", "host: is none of Amazon SES that we know of: that has email-smtp.REGION.amazonaws."),
        ("{provider: sendgrid, port: 465, tls: starttls, password: env:KEY}", "x", "tls: starttls "
         "does not fit port 465: that is for implicit"),
    ],
)  # fmt: skip
def test_what_is_not_as_the_provider_has_it(
    loads: Loads, entry: str, key: str, expected: str
) -> None:
    (found,) = advice(loads, SOUND.replace(ONE, entry), {"KEY": key})
    assert f": upstreams.one.{expected}" in found
    assert key == "x" or key not in found


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("{provider: gmail, username: d@x.example, password: env:KEY}", "abcd efgh ijkl mnop"),
        ("{provider: ses, region: eu-west-1, username: AKIA, password: env:KEY}", "B" + "k/" * 21),
        ("{provider: postmark, username: PM-T-outbound-x, password: env:KEY}", "x"),
        ("{provider: postmark, password: env:KEY}", "01234567-89ab-cdef-0123-456789abcdef"),
        ("{provider: mailgun, host: smtp.eu.mailgun.org, username: p@x.y, password: env:KEY}", "x"),
    ],
)
def test_what_is_as_the_provider_has_it(loads: Loads, entry: str, key: str) -> None:
    assert advice(loads, SOUND.replace(ONE, entry), {"KEY": key}) == []


def test_a_hash_that_is_none_is_told_where_it_is_kept(loads: Loads) -> None:
    text = "listen: [{address: 127.0.0.1:25, auth: optional}]\n"
    text += "clients: {users: {crm: {password_hash: env:HASH}}}\n"
    (found,) = advice(loads, text + SOUND, ENVIRON | {"HASH": "hunter2"})
    assert "clients.users.crm.password_hash: env:HASH: is not an argon2 hash" in found
    assert advice(loads, text + SOUND, ENVIRON | {"HASH": "$argon2id$v=19$x"}) == []
