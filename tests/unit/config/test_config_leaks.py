"""No repr, no text and no error of the configuration shows a secret, wherever it was put."""

import traceback
from collections.abc import Callable

import pytest

from relay.config import ConfigError, load
from relay.config.advice import warnings
from relay.config.schema import Config
from relay.config.store import store_url

CANARY = "s3cret"


@pytest.mark.parametrize(
    "entry",
    [
        "{host: a.example, username: u, password: s3cret}",
        "{host: a.example, username: s3cret, password: s3cret}",
        "{host: a.example, password: s3cret}",
        "{host: a.example, pasword: s3cret}",
        "{host: a.example, username: u, password: {s3cret}}",
        "{host: a.example, username: u, password: [s3cret]}",
        "{host: a.example, username: u, password: !s3cret x}",
        "{host: a.example, username: u, password: *s3cret}",
        "{host: a.example, username: u, password: @s3cret}",
        '{host: a.example, username: u, password: "s3cret\\q"}',
        '{host: a.example, username: u, password: "s3cret\\n"}',
        "{host: a.example, username: u, password: 'sealed:s3cret'}",
        "{host: a.example, username: u, password: 'file:s3cret'}",
        "{host: a.example, tls: none, username: u, password: s3cret}",
        "{host: 'smtp://u:s3cret@a.example:587'}",
        "{host: 'u:s3cret@a.example'}",
        "'smtp://u:s3cret@a.example:587'",
    ],
)
def test_a_secret_in_the_file_is_not_shown(loads: Callable[..., Config], entry: str) -> None:
    text = f"upstreams: {{one: {entry}}}\ndefault: {{upstream: one}}\nhostname: 12\n"
    with pytest.raises(ConfigError) as raised:
        loads(text)
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert raised.value.__context__ is None


def test_the_token_of_a_webhook_is_not_shown(loads: Callable[..., Config]) -> None:
    text = "alerts: {webhook: 'URL'}\nupstreams: {one: {host: a.example}}\n"
    for url in ("hooks.example/s3cret", "https://h:s3cret/", "https://[s3cret/", "ftp://s3cret"):
        with pytest.raises(ConfigError) as raised:
            loads(text.replace("URL", url))
        assert CANARY not in "".join(traceback.format_exception(raised.value))
    config = loads(text.replace("URL", "http://hooks.example/s3cret"))
    assert CANARY not in repr(config) + config.model_dump_json(exclude={"places"})
    assert CANARY not in "".join(map(str, warnings(config)))


def test_what_a_webhook_refers_to_is_not_shown(loads: Callable[..., Config]) -> None:
    config = loads("alerts: {webhook: env:HOOK}\n", {"HOOK": "hooks.example/s3cret"})
    assert CANARY not in "".join(map(str, warnings(config)))


@pytest.mark.parametrize(
    "store", ["postgresql://u:s3cret@h/d", "postgres://u:s3cret@h/d", "sqlite://u:s3cret@h/d"]
)
def test_a_password_in_the_stores_url_is_not_shown(
    loads: Callable[..., Config], store: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        loads(f"store: {store}\nhostname: 12\n")
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@h/d", "postgresql://u@h/d"),
        ("postgresql://u:s3cret@h:5432/d?sslmode=require", "postgresql://u@h:5432/d"),
        ("postgresql://u@h/d?password=s3cret", "postgresql://u@h/d"),
        ("postgresql://h/d?password=s3cret", "postgresql://h/d"),
        ("postgresql://u:s3cret@s3cret@h/d?password=x", "postgresql://..."),
        ("postgresql://h:5432,[::1]:5433/d?password=s3cret", "postgresql://h:5432,[::1]:5433/d"),
        ("postgresql:///d?password=x@s3cret", "postgresql:///d"),
    ],
)
def test_the_stores_url_is_whole_for_the_store_alone(url: str, shown: str) -> None:
    store = store_url(url)
    assert store.url == url
    assert CANARY not in repr(store)
    assert str(store) == shown
    assert store.has_password


def test_a_secret_in_a_variable_is_not_shown() -> None:
    environ = {
        "RELAY_SMTP_PASSWORD": "s3cret",
        "RELAY_SMTP_HOST": "smtp://u:s3cret@a.example",
        "RELAY_UPSTREAMS__SMTP__USERNAME": "'s3cret",
        "RELAY_UPSTREAMS__SMTP__PASSWORD": "{s3cret",
        "RELAY_TENANTS": "{a: {upstream: *s3cret}}",
        "RELAY_STORE": "postgres://u:s3cret@h/d",
    }
    with pytest.raises(ConfigError) as raised:
        load(None, environ)
    assert len(raised.value.problems) > 3
    assert CANARY not in str(raised.value)


def test_a_configuration_shows_none_of_its_secrets(loads: Callable[..., Config]) -> None:
    text = """\
store: postgresql://relay:s3cret@db.example/relay
clients: {users: {crm: {password_hash: $argon2id$s3cret}}}
upstreams:
  one: {host: one.example, username: s3cret, password: s3cret}
  two: {host: two.example, username: env:USER, password: env:KEY}
default: {upstream: one}
tenants: {acme: {domains: [acme.example], upstream: two}}
"""
    config = loads(text, {"USER": "s3cret", "KEY": "s3cret"})
    for upstream in config.upstreams.values():
        assert upstream.password is not None
        assert upstream.password.reveal() == CANARY
    shown = [repr(config), str(config), str(warnings(config)), repr(config.model_dump())]
    shown += [f"{upstream.password} {upstream!r}" for upstream in config.upstreams.values()]
    assert CANARY not in "".join(shown)
