"""The configuration in force, as a person reads it; effective() says what is in it."""

from pathlib import Path

import pytest
import yaml
from support.verbs import Relay, command_line

from relay.cli import main

CONFIG = """\
hostname: web01.example
listen:
  - 127.0.0.1:2525
  - {address: '[::1]:2525', auth: none, tenants: [acme]}
upstreams:
  acme: {provider: sendgrid, password: s3cret}
  platform: {host: mx.example}
default: {upstream: platform}
tenants:
  acme:
    domains: [acme.example]
    upstream: acme
    notes: |
      Moved in May.
      See the wiki.
"""


@pytest.fixture
def relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    (tmp_path / "relay.yaml").write_text(CONFIG)
    return command_line(tmp_path / "relay.yaml", capsys)


def test_it_reads_like_the_file(relay: Relay) -> None:
    out = relay("config", "show").out
    read = yaml.safe_load(out)
    assert read["hostname"] == "web01.example"
    assert [listen["address"] for listen in read["listen"]] == ["127.0.0.1:2525", "[::1]:2525"]
    assert read["listen"][1]["tenants"] == ["acme"]
    assert read["upstreams"]["acme"]["limits"]["connections"] == 2
    assert read["upstreams"]["acme"]["username"] == "apikey"
    assert read["tenants"]["acme"]["notes"] == "Moved in May. See the wiki."
    assert "s3cret" not in out


def test_origins_stand_beside_the_values(relay: Relay, tmp_path: Path) -> None:
    lines = relay("config", "show").out.splitlines()
    (host,) = [line for line in lines if "smtp.sendgrid.net" in line]
    (name,) = [line for line in lines if line.startswith("hostname")]
    assert host.endswith("  # preset sendgrid")
    assert name.endswith(f"  # {tmp_path}/relay.yaml:1")
    assert host.index("  # ") == name.index("  # ")
    assert "  first: 30s" in "\n".join(lines)


def test_one_part_of_it(relay: Relay) -> None:
    out = relay("config", "show", "upstreams.acme.limits", "listen[1]", "hostname").out
    assert list(yaml.safe_load(out)) == ["hostname", "listen", "upstreams"]
    assert yaml.safe_load(out)["upstreams"].keys() == {"acme"}
    assert yaml.safe_load(out)["listen"][0]["address"] == "[::1]:2525"


def test_rows_are_for_programs(relay: Relay, tmp_path: Path) -> None:
    rows = relay("config", "show", "--json", "upstreams.acme.port", "tenants.acme.domains").rows
    assert rows == [
        {"key": "upstreams.acme.port", "value": 465, "origin": "preset sendgrid"},
        {
            "key": "tenants.acme.domains",
            "value": ["acme.example"],
            "origin": f"{tmp_path}/relay.yaml:11",
        },
    ]


def test_variables_alone_will_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("relay.config.location.SYSTEM_FILE", tmp_path / "none.yaml")
    monkeypatch.setattr("relay.config.service.ENVIRONMENT_FILE", tmp_path / "environment")
    (tmp_path / "environment").write_text("RELAY_SMTP_PASSWORD=s3cret\n")
    monkeypatch.setenv("RELAY_SMTP_HOST", "smtp.sendgrid.net")
    monkeypatch.setenv("RELAY_SMTP_USERNAME", "apikey")
    with pytest.raises(SystemExit) as ended:
        main(["config", "show", "upstreams.smtp.password", "upstreams.smtp.host"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        "upstreams:",
        "  smtp:",
        "    host: smtp.sendgrid.net            # variable RELAY_SMTP_HOST",
        "    password: env:RELAY_SMTP_PASSWORD  # variable RELAY_SMTP_PASSWORD",
    ]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("upstream.acme", 'did you mean "upstreams.acme"?'),
        ("tenants.acme.owner", "tenants.acme.owner is not set, and has no default"),
        ("tenants.acne", 'did you mean "tenants.acme"?'),
        ("nonsense", 'nothing is set by the name "nonsense"'),
    ],
)
def test_a_key_that_is_not_there(relay: Relay, key: str, said: str) -> None:
    done = relay("config", "show", key)
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_broken_file_is_told_as_ever(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("upstreams: {a: {hots: x, password: s3cret}}\n")
    done = relay("config", "show")
    assert (done.status, done.out) == (78, "")
    assert 'unknown key; did you mean "host"?' in done.err
    assert "s3cret" not in done.err
