"""The section http: where the relay shows how it is, and to whom."""

from collections.abc import Callable

import pytest

from relay.config.schema import Config

Loads = Callable[..., Config]
Problems = Callable[..., list[str]]

BASE = "upstreams: {one: {host: one.example}}\ndefault: {upstream: one}\n"


def test_it_is_off_unless_it_is_asked_for(loads: Loads) -> None:
    assert loads(BASE).http is None
    assert loads(BASE + "http:\n").http is None


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8025", "127.9.9.9:8025", "[::1]:8025", "unix:/run/relay/http.sock"]
)
def test_this_machine_needs_no_token(loads: Loads, address: str) -> None:
    http = loads(f'{BASE}http: {{listen: "{address}"}}\n').http
    assert http is not None
    assert (str(http.listen), http.token) == (address, None)


@pytest.mark.parametrize("address", ["0.0.0.0:8025", "10.0.0.5:8025", "[::]:8025", "[fd00::1]:80"])
def test_others_need_one(loads: Loads, problems: Problems, address: str) -> None:
    [found] = problems(f'{BASE}http: {{listen: "{address}"}}\n')
    assert found == (
        f"config.yaml:3:1: http: would tell every machine that reaches {address} of the mail: set "
        "a token, like file:/etc/relay/secrets/http, or listen on 127.0.0.1"
    )
    assert problems(f'{BASE}http: {{listen: "{address}", token: "env:HTTP"}}\n') == []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("unix:run/http.sock", "unix: wants a whole path, like unix:/run/relay/http.sock"),
        ("unix:/run/", "unix: wants a whole path, like unix:/run/relay/http.sock"),
        ("unix:/" + "x" * 120, "the path of a socket has at most 107 octets"),
        ("localhost:8025", "write 127.0.0.1:8025"),
        ("8025", "must be text, not 8025|YAML reads 8025 as a number: put it in quotes"),
    ],
)
def test_an_address_that_is_none(problems: Problems, written: str, told: str) -> None:
    [found] = problems(f"{BASE}http: {{listen: {written}}}\n")
    assert "http.listen: " in found
    assert any(words in found for words in told.split("|"))


def test_the_token_is_a_secret_like_others(loads: Loads, problems: Problems) -> None:
    http = loads(f"{BASE}http: {{listen: 127.0.0.1:80, token: s3cret}}\n").http
    assert http is not None
    assert "s3cret" not in repr(http)
    assert http.token is not None
    assert http.token.reveal() == "s3cret"
    [found] = problems(f"{BASE}http: {{listen: 127.0.0.1:80, token: ''}}\n")
    assert "http.token" in found


def test_its_token_can_come_by_the_environment(loads: Loads) -> None:
    environ = {"RELAY_HTTP__LISTEN": "0.0.0.0:8025", "RELAY_HTTP__TOKEN": "s3cret"}
    http = loads(BASE, environ).http
    assert http is not None
    assert http.token is not None
    assert (str(http.listen), http.token.reveal()) == ("0.0.0.0:8025", "s3cret")
