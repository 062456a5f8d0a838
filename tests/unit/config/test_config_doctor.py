"""The section doctor, and the selectors that a tenant names."""

from collections.abc import Callable

import pytest

from relay.config.addresses import ListenAddress
from relay.config.doctor import nameserver
from relay.config.schema import Config

Loads = Callable[..., Config]
Problems = Callable[[str], list[str]]


def test_by_default_the_machines_own_are_asked(loads: Loads) -> None:
    config = loads("")
    assert (config.doctor.nameservers, config.doctor.timeout) == ((), 5.0)


def test_servers_and_the_time_out(loads: Loads) -> None:
    config = loads('doctor: {nameservers: [127.0.0.1:5353, "[::1]:53", 9.9.9.9], timeout: 2s}')
    assert config.doctor.timeout == 2.0
    assert list(map(str, config.doctor.nameservers)) == ["127.0.0.1:5353", "[::1]:53", "9.9.9.9:53"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9.9.9.9", ListenAddress("9.9.9.9", 53)),
        ("2620:fe::fe", ListenAddress("2620:fe::fe", 53)),
        ("[2620:fe::fe]", ListenAddress("2620:fe::fe", 53)),
        ("[2620:fe::fe]:5353", ListenAddress("2620:fe::fe", 5353)),
    ],
)
def test_without_a_port_it_is_53(text: str, address: ListenAddress) -> None:
    assert nameserver(text) == address


@pytest.mark.parametrize("text", ["dns.example", "0.0.0.0", "[::]:53", "9.9.9.9:0", "9.9.9.9:x"])
def test_what_is_no_server_is_told_with_its_line(problems: Problems, text: str) -> None:
    (problem,) = problems(f"doctor:\n  nameservers: ['{text}']")
    assert problem.startswith("config.yaml:2:17: doctor.nameservers[0]: ")


@pytest.mark.parametrize("number", ["9", "true", "[]"])
def test_what_is_no_text_is_told(problems: Problems, number: str) -> None:
    assert len(problems(f"doctor: {{nameservers: [{number}]}}")) == 1


def test_the_selectors_of_a_tenant(loads: Loads) -> None:
    text = "tenants: {acme: {domains: [acme.example], dkim_selectors: [S1, 2026.mail, _x]}}"
    config = loads(text + "\ndefault: {upstream: up}\nupstreams: {up: {host: mail.x.example}}")
    assert config.tenants["acme"].dkim_selectors == ("s1", "2026.mail", "_x")


@pytest.mark.parametrize("selector", ["s1._domainkey.acme.example!", "a b", "''", "-x", "a..b"])
def test_what_is_no_selector_is_told(problems: Problems, selector: str) -> None:
    found = problems(f"tenants:\n  acme:\n    dkim_selectors: [{selector}]")
    assert any("dkim_selectors" in one and "no DKIM selector" in one for one in found)
