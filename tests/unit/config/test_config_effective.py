"""Every value in force, and where it comes from."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config.effective import effective
from relay.config.problem import Loc

FILE = """\
hostname: web01.example
listen:
  - 127.0.0.1:2525
  - {address: '[::1]:2525', auth: none}
aliases: {root: ops@platform.example}
limits: {message_size: 10MiB, recipients: 7}
store: postgresql://relay:s3cret@db.example/relay
upstreams:
  acme: {provider: sendgrid, password: s3cret, limits: {per_second: 14, idle: 0.5s}}
  token: {provider: postmark, password: env:TOKEN}
  platform: {host: mx.example, username: s3cret, password: file:/none}
default: {upstream: platform, from: Platform <noreply@platform.example>}
tenants:
  acme: {domains: [acme.example, '*.acme.example'], upstream: acme, acknowledge: relayed}
  globex: {domains: [globex.example], acknowledge: {mode: relayed, within: 5s}}
classes: {otp: {match: {subject: '(?i)code', header: {X-Kind: otp}}}}
"""


def shown(text: str | None, environ: Mapping[str, str] | None = None) -> dict[str, tuple[Any, str]]:
    path = None if text is None else Path("config.yaml")
    if path and text:
        path.write_text(text)
    return {s.key: (s.value, s.origin) for s in effective(path, environ or {})}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("hostname", "web01.example", "config.yaml:1"),
        ("listen[0].address", "127.0.0.1:2525", "config.yaml:3"),
        ("listen[0].tls", "none", "default"),
        ("listen[1].address", "[::1]:2525", "config.yaml:4"),
        ("listen[1].auth", "none", "config.yaml:4"),
        ("clients.networks[0].network", "127.0.0.0/8", "default"),
        ("aliases.root", "ops@platform.example", "config.yaml:5"),
        ("limits.message_size", "10MiB", "config.yaml:6"),
        ("limits.recipients", 7, "config.yaml:6"),
        ("limits.memory", "48MiB", "default"),
        ("store", "postgresql://relay@db.example/relay", "config.yaml:7"),
        ("retry.first", "30s", "default"),
        ("retry.factor", 2, "default"),
        ("upstreams.acme.provider", "sendgrid", "config.yaml:9"),
        ("upstreams.acme.host", "smtp.sendgrid.net", "preset sendgrid"),
        ("upstreams.acme.port", 465, "preset sendgrid"),
        ("upstreams.acme.username", "apikey", "preset sendgrid"),
        ("upstreams.acme.password", "(plain text in the file)", "config.yaml:9"),
        ("upstreams.acme.limits.per_second", 14, "config.yaml:9"),
        ("upstreams.acme.limits.idle", "0.5s", "config.yaml:9"),
        ("upstreams.acme.limits.messages_per_connection", 5000, "preset sendgrid"),
        ("upstreams.acme.limits.recipients", 100, "default"),
        ("upstreams.acme.null_sender", "keep", "default"),
        ("upstreams.token.username", "env:TOKEN", "preset postmark"),
        ("upstreams.token.limits.idle", "30s", "preset postmark"),
        ("upstreams.platform.username", "(plain text in the file)", "config.yaml:11"),
        ("upstreams.platform.password", "file:/none", "config.yaml:11"),
        ("upstreams.platform.port", 465, "default"),
        ("default.from", "Platform <noreply@platform.example>", "config.yaml:12"),
        ("default.rewrite_from", "always", "default"),
        ("tenants.acme.domains", ["acme.example", "*.acme.example"], "config.yaml:14"),
        ("tenants.acme.enabled", True, "default"),
        ("tenants.acme.acknowledge.mode", "relayed", "config.yaml:14"),
        ("tenants.acme.acknowledge.within", "10s", "default"),
        ("tenants.globex.acknowledge.within", "5s", "config.yaml:15"),
        ("classes.otp.match.subject", "(?i)code", "config.yaml:16"),
        ("classes.otp.match.header.X-Kind", "otp", "config.yaml:16"),
    ],
)
def test_a_value_and_its_origin(key: str, value: Any, origin: str) -> None:
    assert shown(FILE)[key] == (value, origin)


def test_auth_that_follows_from_users_says_so() -> None:
    users = "clients: {users: {crm: {password_hash: 'file:/none'}}}\n"
    found = shown(FILE + users)
    assert found["listen[0].auth"] == ("optional", "default, since there are clients.users")
    assert found["listen[1].auth"] == ("none", "config.yaml:4")
    assert shown(FILE)["listen[0].auth"] == ("none", "default")


def test_what_is_absent_is_not_shown() -> None:
    keys = shown(FILE).keys()
    assert not keys & {"tenants.acme.owner", "tenants.acme.senders", "alerts.webhook"}
    assert not [key for key in keys if "(" in key or key.startswith(("source", "places"))]


def test_a_variable_is_the_origin_of_what_it_says() -> None:
    found = shown(
        FILE,
        {
            "RELAY_HOSTNAME": "web02.example",
            "RELAY_RETRY": "{first: 1s}",
            "RELAY_UPSTREAMS__ACME__PASSWORD": "s3cret",
            "RELAY_UPSTREAMS__TOKEN__PASSWORD": "env:OTHER",
            "RELAY_SMTP_PORT": "2525",
        },
    )
    assert found["hostname"] == ("web02.example", "variable RELAY_HOSTNAME")
    assert found["retry.first"] == ("1s", "variable RELAY_RETRY")
    assert found["retry.longest"] == ("1h", "default")
    variable = "RELAY_UPSTREAMS__ACME__PASSWORD"
    assert found["upstreams.acme.password"] == (f"env:{variable}", f"variable {variable}")
    assert found["upstreams.token.password"][0] == "env:OTHER"
    assert found["upstreams.platform.port"] == (2525, "variable RELAY_SMTP_PORT")


def test_a_whole_section_in_a_variable_leaves_the_preset_its_own() -> None:
    found = shown(FILE, {"RELAY_UPSTREAMS__ACME": "{provider: resend, password: env:KEY}"})
    assert found["upstreams.acme.provider"] == ("resend", "variable RELAY_UPSTREAMS__ACME")
    assert found["upstreams.acme.host"] == ("smtp.resend.com", "preset resend")
    assert found["upstreams.acme.limits.per_second"] == (2, "preset resend")


def test_without_a_file() -> None:
    found = shown(
        None,
        {
            "RELAY_SMTP_HOST": "smtp.sendgrid.net",
            "RELAY_SMTP_USERNAME": "apikey",
            "RELAY_SMTP_PASSWORD": "s3cret",
            "RELAY_SMTP_FROM_EMAIL": "noreply@acme.example",
        },
    )
    assert found["upstreams.smtp.host"] == ("smtp.sendgrid.net", "variable RELAY_SMTP_HOST")
    assert found["upstreams.smtp.password"][0] == "env:RELAY_SMTP_PASSWORD"
    assert found["upstreams.smtp.port"] == (465, "default")
    assert found["default.upstream"] == ("smtp", "variable RELAY_SMTP_HOST")
    assert found["default.from"] == ("noreply@acme.example", "variable RELAY_SMTP_FROM_EMAIL")


def test_merged_keys_have_the_place_of_where_they_stand() -> None:
    text = "hostname: web01.example\nupstreams:\n  one: &one {host: one.example, port: 587}\n"
    text += "  two:\n    <<: *one\n    host: two.example\n"
    found = shown(text)
    assert found["upstreams.two.port"] == (587, "config.yaml:3")
    assert found["upstreams.two.host"] == ("two.example", "config.yaml:6")


def test_no_secret_is_in_it() -> None:
    found = shown(FILE + "alerts: {webhook: https://hooks.example/s3cret}\n", {"TOKEN": "s3cret"})
    assert "s3cret" not in str(found)
    assert found["alerts.webhook"] == ("(plain text in the file)", "config.yaml:17")


def test_it_says_what_load_says() -> None:
    """What is shown, written to a file, makes the same configuration."""
    text = FILE.replace("s3cret", "env:X").replace("sendgrid", "mandrill, username: env:U")
    before = shown(text)
    again: dict[str, Any] = {}
    for setting in effective(Path("config.yaml"), {}):
        _put(again, setting.loc, setting.value)
    again["store"] = "postgresql://relay:env:X@db.example/relay"
    after = shown(yaml.safe_dump(again, sort_keys=False))
    assert {key: value for key, (value, _) in before.items()} == {
        key: value for key, (value, _) in after.items()
    }


def _put(section: Any, loc: Loc, value: Any) -> None:
    for key, following in pairwise(loc):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(section, list) and len(section) <= int(key):
            section.append(empty)
        elif isinstance(section, dict):
            section.setdefault(key, empty)
        section = section[key]
    section[loc[-1]] = value
