"""relay doctor: whom and what it looks at, what it prints, and what goes on record."""

import asyncio
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.certificates import Certificates
from support.configs import relay_config, upstream_entry
from support.nameserver import nameserver, silence
from support.ports import free_port
from support.program import RELAY, Program
from support.upstream import ThreadedUpstream
from support.verbs import Relay, command_line

from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

USERS = {"acme": "s3cret-words"}
KEY = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDltFyndma4sAUdUL8e1kXbLY0haTYwJCLMRQY5mU8THRFgX+2cq6"
    "srSenRxDmCRYI9WS+lPSd4cNMuV/OknRqeq1gqHxwMfMuQRqyox4C2ht8jRm+xWOpZ6SFk4F2Y5YvlEaD7rGBsYh0D"
    "Nh37XOGB1R/51mPEn9cEU6wfDuYqxwIDAQAB"
)
ZONE = f"""
sendgrid.net. TXT "v=spf1 ip4:167.89.0.0/17 ~all"
amazonses.com. TXT "v=spf1 ip4:199.255.192.0/22 -all"
acme.example. TXT "v=spf1 include:sendgrid.net -all"
acme.example. MX 10 acme.example.
acme.example. A 192.0.2.1
s1._domainkey.acme.example. TXT "v=DKIM1; p={KEY}"
s2._domainkey.acme.example. TXT "v=DKIM1; p={KEY}"
_dmarc.acme.example. TXT "v=DMARC1; p=reject; rua=mailto:d@acme.example"
platform.example. TXT "v=spf1 include:amazonses.com -all"
platform.example. MX 10 acme.example.
k1._domainkey.platform.example. TXT "v=DKIM1; p={KEY}"
_dmarc.platform.example. TXT "v=DMARC1; p=none; rua=mailto:d@platform.example"
"""
DEFAULT = {"upstream": "ses", "from": "Platform <noreply@platform.example>"}

Section = dict[str, Any]


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nameserver(tmp_path_factory.mktemp("nsd"), {".": ZONE}) as address:
        yield address


@pytest.fixture
def servers(certificates: Certificates) -> Iterator[dict[str, ThreadedUpstream]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(ThreadedUpstream(context, tls="implicit", users=USERS))
            for name, context in (
                ("good", certificates.good()),
                ("expired", certificates.expired()),
            )
        }


@pytest.fixture
def config_file(
    tmp_path: Path, certificates: Certificates, servers: dict[str, ThreadedUpstream], dns: str
) -> Path:
    good = upstream_entry(servers["good"], certificates.ca_file)
    expired = upstream_entry(servers["expired"], certificates.ca_file)
    file = tmp_path / "config.yaml"
    file.write_text(
        relay_config(
            tmp_path,
            2525,
            upstreams={
                "sendgrid": good | {"provider": "sendgrid"},
                "ses": good | {"provider": "ses", "region": "eu-west-1"},
                "expired": expired,
            },
            tenants={"acme": {"domains": ["acme.example"], "upstream": "sendgrid"}},
            default=DEFAULT,
            doctor={"nameservers": [dns], "timeout": "5s"},
            timeouts={"connect": "5s", "reply": "5s"},
        )
    )
    return file


@pytest.fixture
def relay(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    return command_line(config_file, capsys)


@pytest.fixture
def store(tmp_path: Path) -> None:
    """As ``relay serve`` leaves it."""

    async def serve_once() -> None:
        store = SqliteStore(tmp_path / "relay.db", render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    asyncio.run(serve_once())


def change(config_file: Path, tenant: Section | None = None, **sections: Any) -> None:
    """Top-level sections in the place of theirs; keys of acme beside its own."""
    whole = yaml.safe_load(config_file.read_text())
    whole["tenants"]["acme"] |= tenant or {}
    config_file.write_text(yaml.safe_dump(whole | sections))


def change_upstream(config_file: Path, name: str, **keys: Any) -> None:
    whole = yaml.safe_load(config_file.read_text())
    whole["upstreams"][name] |= keys
    config_file.write_text(yaml.safe_dump(whole))


def looked_at(rows: list[Section], check: str) -> set[tuple[str | None, str, str | None]]:
    return {
        (row["tenant"], row["domain"], row["upstream"]) for row in rows if row["check"] == check
    }


def verdicts(rows: list[Section], check: str) -> list[str]:
    return [row["verdict"] for row in rows if row["check"] == check]


# -- what it prints


@pytest.mark.usefixtures("store")
def test_a_sound_tenant_is_green(relay: Relay) -> None:
    done = relay("doctor", "acme")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("acme\n  acme.example\n    green    spf           ")
    assert "\n  sendgrid\n    green    tls           the certificate holds until " in done.out
    assert done.out.endswith("\n10 green, 0 red, 0 unknown\n")
    assert "\x1b" not in done.out
    assert "s3cret" not in done.out


@pytest.mark.usefixtures("store")
def test_a_red_one_has_its_record_beneath_it(relay: Relay, config_file: Path) -> None:
    change(config_file, {"upstream": "ses", "dkim_selectors": ["s1"]})
    done = relay("doctor", "acme")
    assert done.status == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("    red")]
    assert "Amazon SES may not send" in line
    below = done.out.partition(line)[2].splitlines()[1]
    assert below == (
        '      acme.example. IN TXT "v=spf1 include:sendgrid.net include:amazonses.com -all"'
    )


def test_a_record_that_mends_several_is_shown_once(relay: Relay, config_file: Path) -> None:
    change(config_file, {"domains": ["new.example"]})
    done = relay("doctor", "acme")
    assert done.out.count("s1._domainkey.new.example. IN CNAME") == 1


def test_rows_for_programs(relay: Relay, config_file: Path) -> None:
    change(config_file, {"upstream": "ses", "dkim_selectors": ["s1"]})
    done = relay("doctor", "--json")
    assert done.status == 1
    assert {row["tenant"] for row in done.rows} == {"acme", None}
    (red,) = [row for row in done.rows if row["verdict"] == "red"]
    assert red == {
        "tenant": "acme",
        "domain": "acme.example",
        "upstream": "ses",
        "check": "spf_provider",
        "verdict": "red",
        "text": red["text"],
        "records": [
            {
                "name": "acme.example",
                "type": "TXT",
                "value": "v=spf1 include:sendgrid.net include:amazonses.com -all",
            }
        ],
    }


def test_colours_are_for_terminals(config_file: Path) -> None:
    terminal, end = pty.openpty()
    environ = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    subprocess.run(
        [RELAY, "--config", config_file, "doctor", "acme"],
        stdout=end, stderr=subprocess.DEVNULL, env=environ, timeout=60,
    )  # fmt: skip
    os.close(end)
    assert b"\x1b[32mgreen" in os.read(terminal, 1_000_000)
    os.close(terminal)


# -- what it looks at


def test_the_default_is_looked_at_with_all(relay: Relay) -> None:
    rows = relay("doctor", "--json").rows
    assert looked_at(rows, "spf_provider") == {
        ("acme", "acme.example", "sendgrid"),
        (None, "platform.example", "ses"),
    }
    assert {row["tenant"] for row in relay("doctor", "acme", "--json").rows} == {"acme"}


def test_the_domains_are_those_that_mail_leaves_under(relay: Relay, config_file: Path) -> None:
    change(config_file, {
        "domains": ["acme.example", "*.acme.example"],
        "senders": ["billing@shared.example"],
        "from": "noreply@mail.acme.example",
        "rewrite_from": "foreign",
    })  # fmt: skip
    rows = relay("doctor", "acme", "--json").rows
    domains = {row["domain"] for row in rows if row["check"] == "dmarc"}
    assert domains == {"acme.example", "shared.example", "mail.acme.example"}
    (beneath,) = [row for row in rows if row["domain"] == "*.acme.example"]
    assert beneath["verdict"] == "unknown"
    change(config_file, {"rewrite_from": "always"})
    rows = relay("doctor", "acme", "--json").rows
    assert {row["domain"] for row in rows} == {"mail.acme.example", None}


def test_international_domains_by_their_a_labels(relay: Relay, config_file: Path) -> None:
    change(config_file, {"domains": ["bücher.example"]})
    rows = relay("doctor", "acme", "--json").rows
    assert {row["domain"] for row in rows} == {"xn--bcher-kva.example", None}
    (dmarc,) = [row for row in rows if row["check"] == "dmarc"]
    assert dmarc["records"][0]["name"] == "_dmarc.xn--bcher-kva.example"


def test_every_upstream_that_it_may_take(relay: Relay, config_file: Path) -> None:
    change(
        config_file,
        {"pilot": {"upstream": "ses", "percent": 5}, "failover": {"to": ["expired"]}},
    )
    rows = relay("doctor", "acme", "--json").rows
    assert {upstream for _, _, upstream in looked_at(rows, "spf_provider")} == {
        "sendgrid", "ses", "expired",
    }  # fmt: skip
    assert len(verdicts(rows, "tls")) == 3


def test_without_an_upstream_it_leaves_as_the_default(relay: Relay, config_file: Path) -> None:
    whole = yaml.safe_load(config_file.read_text())
    whole["tenants"]["initech"] = {"domains": ["initech.example"]}
    config_file.write_text(yaml.safe_dump(whole))
    rows = relay("doctor", "initech", "--json").rows
    assert looked_at(rows, "alignment") == {("initech", "platform.example", "ses")}


@pytest.mark.usefixtures("store")
def test_toggled_off_both_ways_are_looked_at(relay: Relay) -> None:
    assert relay("tenant", "disable", "acme", "--reason", "suspended").status == 0
    rows = relay("doctor", "acme", "--json").rows
    assert looked_at(rows, "alignment") == {
        ("acme", "acme.example", "sendgrid"),
        ("acme", "platform.example", "ses"),
    }


def test_an_address_in_the_place_of_the_null_sender(relay: Relay, config_file: Path) -> None:
    change_upstream(config_file, "sendgrid", null_sender="bounce@bounces.acme.example")
    rows = relay("doctor", "acme", "--json").rows
    assert ("acme", "bounces.acme.example", None) in looked_at(rows, "spf")
    red = [row["check"] for row in rows if row["domain"] == "bounces.acme.example"]
    assert red == ["spf", "mx"]


def test_a_tenant_that_only_clients_tell(relay: Relay, config_file: Path) -> None:
    change(config_file, {"domains": []}, clients={
        "networks": [{"network": "10.0.0.0/8", "tenants": ["acme"]}],
    })  # fmt: skip
    rows = relay("doctor", "acme", "--json").rows
    assert [row["check"] for row in rows] == ["tls", "secrets"]


# -- the upstream's own


def test_an_expired_certificate(relay: Relay, config_file: Path) -> None:
    change(config_file, {"upstream": "expired"})
    (found,) = [row for row in relay("doctor", "acme", "--json").rows if row["check"] == "tls"]
    assert found["verdict"] == "red"
    assert "certificate_invalid" in found["text"]


def test_an_upstream_that_is_down(
    relay: Relay, config_file: Path, servers: dict[str, ThreadedUpstream]
) -> None:
    servers["good"].down()
    done = relay("doctor", "acme", "--json")
    assert done.status == 1
    (found,) = [row for row in done.rows if row["check"] == "tls"]
    assert (found["verdict"], "connection_refused" in found["text"]) == ("red", True)
    servers["good"].up()


def test_a_secret_that_is_not_there(relay: Relay, config_file: Path, tmp_path: Path) -> None:
    change_upstream(config_file, "sendgrid", password=f"file:{tmp_path}/absent")
    rows = relay("doctor", "acme", "--json").rows
    (found,) = [row for row in rows if row["check"] == "secrets"]
    assert (found["verdict"], f"{tmp_path}/absent" in found["text"]) == ("red", True)


def test_a_secret_that_is_refused(relay: Relay, config_file: Path) -> None:
    change_upstream(config_file, "sendgrid", password="wrong-s3cret")
    done = relay("doctor", "acme", "--json")
    (found,) = [row for row in done.rows if row["check"] == "secrets"]
    assert (found["verdict"], "authentication_failed" in found["text"]) == ("red", True)
    assert verdicts(done.rows, "tls") == ["green"]
    assert "s3cret" not in done.out + done.err


# -- the record


@pytest.mark.usefixtures("store")
def test_it_goes_on_record_for_each_tenant(relay: Relay, config_file: Path) -> None:
    change(config_file, {"upstream": "ses", "dkim_selectors": ["s1"]})
    assert relay("doctor").status == 1
    events = {event.get("tenant"): event for event in map(json.loads, _trail(relay))}
    acme = events["acme"]
    assert acme["actor"]
    assert (acme["result"], acme["red"], acme["unknown"]) == ("red", 1, 0)
    assert acme["red_checks"] == ["spf_provider acme.example"]
    assert (events[None]["result"], events[None]["red_checks"]) == ("green", [])


def _trail(relay: Relay) -> list[str]:
    return relay("audit", "--event", "doctor.checked", "--json").out.splitlines()


def test_beside_a_running_relay(config_file: Path, tmp_path: Path) -> None:
    port = free_port()
    change(config_file, listen=[f"127.0.0.1:{port}"])
    with Program(tmp_path, config_file.read_text(), port) as running:
        assert running.verb("doctor", "acme").returncode == 0
        (event,) = running.listing("audit", "--event", "doctor.checked")
    assert (event["tenant"], event["green"], event["red_checks"]) == ("acme", 10, [])


def test_without_a_store_it_says_so(relay: Relay) -> None:
    done = relay("doctor", "acme")
    assert done.status == 0
    assert done.err.startswith("relay: not on record: no store at ")


# -- whom it asks


def test_another_server_is_asked_by_the_command_line(relay: Relay, dns: str) -> None:
    with silence() as mute:
        done = relay("doctor", "acme", "--json", "--nameserver", mute, "--nameserver", dns)
        assert verdicts(done.rows, "spf") == ["green"]


def test_a_time_out_is_unknown_and_no_fault(relay: Relay, config_file: Path) -> None:
    with silence() as mute:
        change(config_file, doctor={"nameservers": [mute], "timeout": "300ms"})
        done = relay("doctor", "acme", "--json")
    assert done.status == 0
    assert set(verdicts(done.rows, "spf") + verdicts(done.rows, "mx")) == {"unknown"}


@pytest.mark.parametrize("address", ["dns.example", "127.0.0.1:x", "0.0.0.0:53", "::1:53:x", ""])
def test_a_server_that_is_none(relay: Relay, address: str) -> None:
    done = relay("doctor", "--nameserver", address)
    assert done.status == 2
    assert "--nameserver" in done.err
    assert "Traceback" not in done.err


def test_an_unknown_tenant(relay: Relay) -> None:
    done = relay("doctor", "amce")
    assert (done.status, done.out) == (1, "")
    assert done.err == 'relay: no tenant named "amce"; did you mean "acme"?\n'
