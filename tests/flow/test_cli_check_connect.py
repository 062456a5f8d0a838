"""relay check: the configuration as people and as programs read it, and --connect."""

import base64
import datetime
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from support.certificates import NAMES, Certificates
from support.configs import relay_config, upstream_entry
from support.upstream import SILENCE, Script, ThreadedUpstream, TlsMode
from support.verbs import Relay, command_line

USERS = {"acme": "s3cret-words"}
TIMEOUTS = {"connect": "800ms", "reply": "500ms"}

Servers = dict[str, ThreadedUpstream]


@pytest.fixture
def servers(certificates: Certificates) -> Iterator[Servers]:
    """One of each TLS mode that is well, one that hangs, one whose certificate has expired."""

    def server(tls: TlsMode, script: Script | None = None, context: Any = None) -> ThreadedUpstream:
        shown = None if tls == "none" else context or certificates.good()
        return stack.enter_context(ThreadedUpstream(shown, tls=tls, users=USERS, script=script))

    with ExitStack() as stack:
        yield {
            "good": server("implicit"),
            "later": server("starttls"),
            "hanging": server("starttls", {"ehlo": SILENCE}),
            "expired": server("implicit", context=certificates.expired()),
        }


@pytest.fixture
def config_file(tmp_path: Path, certificates: Certificates, servers: Servers) -> Path:
    file = tmp_path / "config.yaml"
    entries = {
        name: upstream_entry(server, certificates.ca_file) for name, server in servers.items()
    }
    file.write_text(
        relay_config(
            tmp_path,
            2525,
            upstreams=entries,
            tenants={"acme": {"domains": ["acme.example"], "upstream": "good"}},
            timeouts=TIMEOUTS,
        )
    )
    return file


@pytest.fixture
def relay(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    return command_line(config_file, capsys)


def change(config_file: Path, **sections: Any) -> None:
    whole = yaml.safe_load(config_file.read_text())
    config_file.write_text(yaml.safe_dump(whole | sections))


def row_of(out: str, name: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}  ")][:1]
    return line.split("  ")


def test_all_upstreams_side_by_side(relay: Relay, servers: Servers) -> None:
    began = time.monotonic()
    done = relay("check", "--connect")
    assert done.status == 1
    titles = [line.split() for line in done.out.splitlines() if line.startswith("UPSTREAM")]
    assert titles == [
        ["UPSTREAM", "ENDPOINT", "DNS", "TCP", "TLS", "BANNER", "EHLO", "AUTH", "QUIT"],
        ["UPSTREAM", "ENDPOINT", "DNS", "TCP", "BANNER", "EHLO", "STARTTLS", "TLS", "EHLO", "AUTH",
         "QUIT"],
    ]  # fmt: skip
    assert " ms" in row_of(done.out, "good")[-1]
    assert "FAILED" in "".join(row_of(done.out, "hanging"))
    # What is amiss comes last, where it is seen.
    behind = done.out.partition("\nhanging  ehlo FAILED: reply_timeout\n")[2]
    assert "no answer in time" in behind
    assert "expired  tls FAILED: certificate_invalid" in behind
    assert "renew the server's certificate" in behind
    assert time.monotonic() - began < 20
    assert not [line for s in servers.values() for _, line in s.commands if "MAIL" in line]


def test_rows_for_programs(relay: Relay) -> None:
    done = relay("check", "--connect", "--json")
    assert done.status == 1
    rows = {row["upstream"]: row for row in done.rows if row["about"] == "upstream"}
    assert {name: (row["ok"], row["failed_step"], row["cause"]) for name, row in rows.items()} == {
        "good": (True, None, None),
        "later": (True, None, None),
        "hanging": (False, "ehlo", "reply_timeout"),
        "expired": (False, "tls", "certificate_invalid"),
    }
    assert [step["step"] for step in rows["later"]["steps"]][2:6] == [
        "banner",
        "ehlo",
        "starttls",
        "tls",
    ]
    assert rows["good"]["certificate"]["names"] == list(NAMES)
    assert rows["good"]["tls_version"].startswith("TLSv1.")
    assert rows["expired"]["certificate"]["expires_at"] < "2999"


def test_only_those_that_are_named(relay: Relay, servers: Servers) -> None:
    done = relay("check", "--connect", "good")
    assert done.status == 0
    assert "TLSv1." in done.out
    assert servers["hanging"].connections == 0


def test_a_name_that_is_none(relay: Relay, servers: Servers) -> None:
    done = relay("check", "--connect", "goood")
    assert (done.status, done.err) == (
        1,
        'relay: no upstream named "goood"; did you mean "good"?\n',
    )
    assert relay("check", "good").status == 2
    assert not any(server.connections for server in servers.values())


def test_without_upstreams_it_says_so(relay: Relay, config_file: Path) -> None:
    change(config_file, upstreams={}, tenants={})
    done = relay("check", "--connect")
    assert done.status == 0
    assert done.out.endswith("no upstreams to connect to\n")


def test_wrong_password(relay: Relay, config_file: Path) -> None:
    whole = yaml.safe_load(config_file.read_text())
    whole["upstreams"]["good"]["password"] = "not-the-one"
    config_file.write_text(yaml.safe_dump(whole))
    done = relay("check", "--connect", "good")
    assert done.status == 1
    assert "auth FAILED: authentication_failed" in done.out
    assert "535 5.7.8 wrong user name or password" in done.out


# -- without --connect


def test_the_configuration_as_rows(relay: Relay) -> None:
    done = relay("check", "--json")
    assert done.status == 0
    summary, *others = done.rows
    assert (summary["about"], summary["tenants"]) == ("summary", ["acme"])
    assert summary["upstreams"] == ["good", "later", "hanging", "expired"]
    warning = next(row for row in others if row["key"] == "upstreams.good.password")
    assert (warning["about"], warning["line"] > 1) == ("warning", True)


def test_problems_as_rows(relay: Relay, config_file: Path) -> None:
    change(config_file, tenants={"acme": {"domains": ["acme.example"], "upstream": "goood"}})
    done = relay("check", "--json")
    assert (done.status, done.err) == (78, "")
    (row,) = done.rows
    assert (row["about"], row["key"]) == ("problem", "tenants.acme.upstream")
    assert (row["source"], row["line"] > 0) == (str(config_file), True)
    assert 'did you mean "good"?' in row["message"]


@pytest.mark.parametrize(
    ("days", "said"),
    [(30, None), (20, "expires on "), (-2, "has expired on ")],
)
def test_certificates_in_files(
    relay: Relay, config_file: Path, days: int, said: str | None
) -> None:
    """The listener's own; and a CA of which the older has a successor in the same file."""
    folder = config_file.parent
    now = datetime.datetime.now(datetime.UTC)
    begin, end = now - datetime.timedelta(365), now + datetime.timedelta(days=days)
    leaf = trustme.CA().issue_cert(*NAMES, not_before=begin, not_after=end)
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    (folder / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    pair = {"cert_file": f"{folder}/cert.pem", "key_file": f"{folder}/key.pem"}
    change(config_file, listen=[{"address": "127.0.0.1:2525", "tls": "starttls"} | pair])
    warnings = [row for row in relay("check", "--json").rows if row["about"] == "warning"]
    found = [row["message"] for row in warnings if row["key"] == "listen[0].cert_file"]
    if said is None:
        assert found == []
    else:
        assert len(found) == 1
        assert said in found[0]


def test_the_last_certificate_of_a_private_ca_counts(
    relay: Relay, config_file: Path, certificates: Certificates, tmp_path: Path
) -> None:
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(365)
    end = datetime.datetime.now(datetime.UTC) - datetime.timedelta(1)
    gone = trustme.CA().issue_cert(*NAMES, not_before=begin, not_after=end).cert_chain_pems[0]
    ca_file = tmp_path / "cas.pem"
    whole = yaml.safe_load(config_file.read_text())
    whole["upstreams"]["good"]["ca_file"] = str(ca_file)
    config_file.write_text(yaml.safe_dump(whole))

    def warned() -> list[str]:
        rows = relay("check", "--json").rows
        return [row["message"] for row in rows if row.get("key") == "upstreams.good.ca_file"]

    ca_file.write_bytes(gone.bytes() + certificates.ca_file.read_bytes())
    assert warned() == []
    ca_file.write_bytes(gone.bytes())
    assert "no server can be verified by it" in warned()[0]


def test_nothing_shows_the_secrets(relay: Relay, servers: Servers) -> None:
    (password,) = USERS.values()
    for server in servers.values():
        server.script.setdefault("auth", f"535 5.7.8 not {password}")
    outputs = [relay("check", "--connect", *more) for more in ([], ["--json"])]
    assert all(done.status == 1 for done in outputs)
    plain = base64.b64encode(f"\0acme\0{password}".encode()).decode()
    for form in (password, base64.b64encode(password.encode()).decode(), plain):
        assert not [done for done in outputs if form in done.out + done.err]
