"""What an upstream gets of its provider's preset, and what the file says comes first."""

from collections.abc import Callable
from typing import Any

import pytest

from relay.config.providers import provider, provider_names
from relay.config.schema import Upstream

Loads = Callable[..., Any]


def upstream(loads: Loads, entry: str, environ: dict[str, str] | None = None) -> Upstream:
    loaded: Upstream = loads(f"upstreams: {{one: {entry}}}\n", environ).upstreams["one"]
    return loaded


@pytest.mark.parametrize(
    ("entry", "endpoint"),
    [
        ("{provider: sendgrid}", ("smtp.sendgrid.net", 465, "implicit")),
        ("{provider: sendgrid, port: 2525}", ("smtp.sendgrid.net", 2525, "starttls")),
        ("{provider: sendgrid, tls: starttls}", ("smtp.sendgrid.net", 587, "starttls")),
        ("{provider: sendgrid, port: 587, tls: starttls}", ("smtp.sendgrid.net", 587, "starttls")),
        # What the preset does not know is as without one.
        ("{provider: sendgrid, port: 465, tls: starttls}", ("smtp.sendgrid.net", 465, "starttls")),
        ("{provider: sendgrid, port: 4650}", ("smtp.sendgrid.net", 4650, "starttls")),
        ("{provider: postmark, tls: implicit}", ("smtp.postmarkapp.com", 465, "implicit")),
        ("{provider: postmark}", ("smtp.postmarkapp.com", 587, "starttls")),
        (
            "{provider: ses, region: EU-West-1}",
            ("email-smtp.eu-west-1.amazonaws.com", 465, "implicit"),
        ),
        (
            "{provider: ses, region: mars-north-1, port: 2587}",
            ("email-smtp.mars-north-1.amazonaws.com", 2587, "starttls"),
        ),
        ("{provider: ses, host: vpce.example}", ("vpce.example", 465, "implicit")),
        ("{provider: ses, host: 127.0.0.1, port: 2500, tls: none}", ("127.0.0.1", 2500, "none")),
    ],
)
def test_the_endpoint_is_the_presets_for_the_port_and_mode(
    loads: Loads, entry: str, endpoint: tuple[str, int, str]
) -> None:
    one = upstream(loads, entry)
    assert (one.host, one.port, one.tls) == endpoint


@pytest.mark.parametrize(
    ("entry", "username"),
    [
        ("{provider: sendgrid, password: env:KEY}", "apikey"),
        ("{provider: resend, password: env:KEY}", "resend"),
        ("{provider: sparkpost, password: env:KEY}", "SMTP_Injection"),
        ("{provider: postmark, password: env:KEY}", "s3cret"),
        ("{provider: postmark, username: u, password: env:KEY}", "u"),
        ("{provider: sendgrid, username: other, password: env:KEY}", "other"),
    ],
)
def test_the_username_is_the_presets_beside_a_password(
    loads: Loads, entry: str, username: str
) -> None:
    one = upstream(loads, entry, {"KEY": "s3cret"})
    assert one.username is not None
    assert one.username.reveal() == username


def test_without_a_password_there_is_no_username(loads: Loads) -> None:
    assert upstream(loads, "{provider: sendgrid}").username is None


def test_a_password_by_variable_is_postmarks_username_too(loads: Loads) -> None:
    variable = {"RELAY_UPSTREAMS__ONE__PASSWORD": "s3cret"}
    username = upstream(loads, "{provider: postmark}", variable).username
    assert username is not None
    assert (username.reveal(), username.plain) == ("s3cret", False)


def test_limits_are_the_presets_unless_the_file_says_otherwise(loads: Loads) -> None:
    limits = upstream(loads, "{provider: microsoft365, limits: {per_minute: 5, idle: 1s}}").limits
    known = provider("microsoft365").limits
    assert (limits.per_minute, limits.idle) == (5, 1)
    assert limits.connections == known.connections == 3
    assert (limits.per_day, limits.per_second) == (known.per_day, None)
    assert (limits.counts, limits.per_day_counts) == ("messages", "recipients")


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ("{host: a.example}", ("messages", "messages")),
        ("{host: a.example, limits: {counts: recipients}}", ("recipients", "recipients")),
        ("{provider: ses, region: eu-west-1}", ("recipients", "recipients")),
        ("{provider: ses, region: x, limits: {counts: messages}}", ("messages", "messages")),
        ("{provider: microsoft365, limits: {counts: messages}}", ("messages", "messages")),
    ],
)
def test_the_files_word_on_what_is_counted_holds_for_the_day_too(
    loads: Loads, entry: str, counts: tuple[str, str]
) -> None:
    limits = upstream(loads, entry).limits
    assert (limits.counts, limits.per_day_counts) == counts


def test_an_upstream_knows_its_preset(loads: Loads) -> None:
    assert upstream(loads, "{provider: zoho}").preset is provider("zoho")
    assert upstream(loads, "{host: zoho.example}").preset is None


@pytest.mark.parametrize("name", provider_names())
def test_every_preset_makes_an_upstream(loads: Loads, name: str) -> None:
    one = upstream(loads, f"{{provider: {name}, region: eu-west-1, username: u, password: env:K}}")
    preset = provider(name)
    first = preset.endpoints[0]
    assert one.host == first.host.replace("{region}", "eu-west-1")
    assert (one.port, one.tls) == (first.port, first.tls)
    limits = preset.limits
    assert (one.limits.connections, one.limits.idle) == (limits.connections, limits.idle_s)
    assert one.limits.recipients == (limits.recipients or 100)
    assert (one.limits.per_second, one.limits.per_day) == (limits.per_second, limits.per_day)
