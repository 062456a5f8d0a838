"""What `relay check` warns of: each piece of advice, given and not given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from relay.config import warnings
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
            "{provider: ses, region: eu-west-11, host: two.example}",
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
            "{host: one.example, ",
            "{provider: microsoft365, ",
            ["3:46: upstreams.one.password: Microsoft 365 turns passwords for SMTP off at the end"],
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
