"""Not a hole: who can reach the relay, and whose mail they may send."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

Problems = Callable[..., list[str]]

BASE = "upstreams: {one: {host: one.example}}\ndefault: {upstream: one}\n"
USERS = "clients: {users: {crm: {password_hash: $argon2id$x}}}\n"
TWINS = """\
upstreams: {one: {host: one.example}, two: {host: two.example}}
tenants:
  production: {domains: [acme.example], upstream: one}
  staging: {domains: [Acme.Example], upstream: two}
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of a listener."""
    directory = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("web01.example")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    return directory / "cert.pem", directory / "key.pem"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("0.0.0.0:25", "0.0.0.0/0"),
        ("10.0.0.5:25", "0.0.0.0/1"),
        ("10.0.0.5:25", "128.0.0.0/7"),
        ("'[::]:25'", "'::/0'"),
        ("'[fd00::1]:25'", "'2000::/3'"),
    ],
)
def test_an_open_relay_is_refused(problems: Problems, address: str, network: str) -> None:
    (found,) = problems(f"{BASE}listen: [{address}]\nclients: {{networks: [{network}]}}\n")
    assert "listen[0]: would be an open relay" in found


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1:25", "0.0.0.0/0"),
        ("0.0.0.0:25", "10.0.0.0/8"),
        ("0.0.0.0:25", "192.0.2.0/29"),
        ("'[fd00::1]:25'", "'fc00::/7'"),
        ("10.0.0.5:25", "'::/0'"),
    ],
)
def test_a_relay_for_some_is_not_open(problems: Problems, address: str, network: str) -> None:
    assert problems(f"{BASE}listen: [{address}]\nclients: {{networks: [{network}]}}\n") == []


def test_with_a_login_required_all_may_knock(
    problems: Problems, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    listener = f"address: 0.0.0.0:25, tls: starttls, cert_file: {cert}, key_file: {key}"
    clients = "clients: {networks: [0.0.0.0/0], users: {crm: {password_hash: $argon2id$x}}}\n"
    assert problems(f"{BASE}listen: [{{{listener}, auth: required}}]\n{clients}") == []
    assert "open relay" in problems(f"{BASE}listen: [{{{listener}, auth: optional}}]\n{clients}")[0]
    assert "open relay" in problems(f"{BASE}listen: [{{{listener}}}]\n{clients}")[0]


@pytest.mark.parametrize("auth", ["optional", "required"])
def test_passwords_do_not_cross_a_network_in_clear_text(problems: Problems, auth: str) -> None:
    listen = f"listen: [{{address: 10.0.0.5:25, auth: {auth}}}]\n"
    (found,) = problems(BASE + listen + USERS)
    assert "listen[0].auth: passwords would cross the network in clear text" in found
    assert problems(BASE + listen.replace("10.0.0.5", "127.0.0.1") + USERS) == []


def test_a_login_that_nobody_has_is_refused(problems: Problems) -> None:
    (found,) = problems(BASE + "listen: [{address: 127.0.0.1:25, auth: required}]\n")
    assert found.endswith("listen[0].auth: there are no clients.users who could log in")


def test_tls_needs_both_files(problems: Problems, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    text = f"{BASE}listen: [{{address: 127.0.0.1:25, tls: starttls, cert_file: {cert}}}]\n"
    assert problems(text)[0].endswith(
        "listen[0].tls: key_file is missing, which tls: starttls needs"
    )
    text = f"{BASE}listen: [{{address: 127.0.0.1:25, cert_file: {cert}}}]\n"
    assert problems(text)[0].endswith("listen[0].cert_file: is of no use, since tls is none")
    for mode in ("starttls", "implicit"):
        listener = f"address: 127.0.0.1:25, tls: {mode}, cert_file: {cert}, key_file: {key}"
        assert problems(f"{BASE}listen: [{{{listener}}}]\n") == []


def test_tls_files_are_there_and_belong_together(
    problems: Problems, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("web02.example").private_key_pem.write_to_path(other)
    cases = {
        (cert, tmp_path / "none.pem"): f"listen[0].key_file: no file {tmp_path}/none.pem",
        (cert, other): f"the key in {other} is not that of the certificate in {cert}",
        (key, key): "are not a PEM certificate and its unencrypted key",
    }
    for (cert_file, key_file), expected in cases.items():
        listener = f"address: 127.0.0.1:25, tls: implicit, cert_file: {cert_file}"
        (found,) = problems(f"{BASE}listen: [{{{listener}, key_file: {key_file}}}]\n")
        assert expected in found


def test_two_tenants_with_one_domain_need_clients_that_tell_them_apart(problems: Problems) -> None:
    (found,) = problems(TWINS)
    assert found.startswith(
        'config.yaml:4:23: tenants.staging.domains[0]: acme.example is of tenant "production" too'
    )
    assert "clients from 127.0.0.0/8 at 127.0.0.1:25" in found


@pytest.mark.parametrize(
    "clients",
    [
        "listen: [{address: 127.0.0.1:25, tenants: [production]},"
        " {address: 127.0.0.1:26, tenants: [staging]}]\n",
        "listen: [10.0.0.5:25]\nclients: {networks: [{network: 10.1.0.0/16, tenants: [staging]},"
        " {network: 10.2.0.0/16, tenants: [production]}]}\n",
        "listen: [{address: 127.0.0.1:25, auth: required}]\n"
        "clients: {users: {p: {password_hash: $argon2id$, tenants: [production]},"
        " s: {password_hash: $argon2id$, tenants: [staging]}}}\n",
        # Both bound: what is left is what both allow.
        "listen: [{address: 127.0.0.1:25, tenants: [production, staging]}]\n"
        "clients: {networks: [{network: 127.0.0.0/8, tenants: [staging]}]}\n",
        # Users that can log in nowhere are no way in.
        "listen: [{address: 127.0.0.1:25, auth: none}]\n"
        "clients: {networks: [{network: 127.0.0.0/8, tenants: [staging]}],"
        " users: {p: {password_hash: $argon2id$}}}\n",
        # Nor is a network from which nobody gets to a listener on loopback.
        "listen: [127.0.0.1:25]\n"
        "clients: {networks: [{network: 127.0.0.0/8, tenants: [staging]}, 10.0.0.0/8]}\n",
        # An unbound network that cannot reach the listener tells nobody apart, nor need it.
        "listen: [{address: 127.0.0.1:25, tenants: [staging]}, 10.0.0.5:25]\n"
        "clients: {networks: ['::1/128', {network: 10.0.0.0/8, tenants: [production]}]}\n",
    ],
)
def test_bound_clients_tell_them_apart(problems: Problems, clients: str) -> None:
    assert problems(TWINS + clients) == []


@pytest.mark.parametrize(
    "clients",
    [
        "listen: [{address: 127.0.0.1:25, tenants: [production]}, 127.0.0.1:26]\n",
        "listen: [{address: 127.0.0.1:25, tenants: [production, staging]}]\n",
        "listen: [10.0.0.5:25]\nclients: {networks: [{network: 10.1.0.0/16, tenants: [staging]},"
        " 10.0.0.0/8]}\n",
        "listen: [127.0.0.1:25]\nclients: {networks: [{network: 127.0.0.0/8,"
        " tenants: [staging]}], users: {p: {password_hash: $argon2id$}}}\n",
    ],
)
def test_one_unbound_client_is_enough_to_confuse_them(problems: Problems, clients: str) -> None:
    (found,) = problems(TWINS + clients)
    assert "tenants.staging.domains[0]" in found


def test_senders_are_compared_without_case(problems: Problems) -> None:
    text = TWINS.replace("domains: [acme.example]", "senders: [Shop@acme.example]")
    (found,) = problems(text.replace("domains: [Acme.Example]", "senders: [shop@ACME.example]"))
    assert "tenants.staging.senders[0]: shop@acme.example is of tenant" in found


def test_only_the_second_tenant_is_at_fault(problems: Problems) -> None:
    (found,) = problems(TWINS.replace("[acme.example]", "[acme.example, ACME.example]"))
    assert "tenants.staging.domains[0]" in found


def test_an_encrypted_key_is_not_asked_the_password_of(
    problems: Problems, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        load_pem_private_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret")
        )
    )
    listener = f"address: 127.0.0.1:25, tls: implicit, cert_file: {cert}, key_file: {encrypted}"
    (found,) = problems(f"{BASE}listen: [{{{listener}}}]\n")
    assert found.endswith("are not a PEM certificate and its unencrypted key")


def test_one_tenant_may_repeat_itself(problems: Problems) -> None:
    text = TWINS.replace("[acme.example]", "[a.example, A.example]")
    assert problems(text) == []
