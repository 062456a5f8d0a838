"""What is known of each provider, as a person and a program read it."""

import re
from pathlib import Path

import pytest
from support.verbs import Relay, command_line

from relay.config import load
from relay.config.providers import provider_names


@pytest.fixture
def relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    """No configuration is needed, nor looked at."""
    return command_line(tmp_path / "absent.yaml", capsys)


def without_columns(text: str) -> str:
    return re.sub(r"(?<=\S) +", " ", text)


def test_all_are_listed_with_what_an_upstream_needs(relay: Relay) -> None:
    out = without_columns(relay("providers").out)
    titles = [line.split()[0] for line in out.splitlines() if line[:1] not in ("", " ")]
    assert titles[:-1] == list(provider_names())
    assert "  hosts smtp.sendgrid.net: 465 implicit TLS; 587, 2525, 25 STARTTLS\n" in out
    assert "email-smtp.REGION.amazonaws.com: 465, 2465 implicit TLS; 587, 2587, 25 STARTTLS" in out
    assert "30 messages a minute, 10000 recipients a day" in out
    assert "  user apikey\n" not in out.partition("sendgrid ")[0]


def test_one_is_shown_whole(relay: Relay) -> None:
    out = without_columns(relay("providers", "microsoft365").out)
    assert "  user the mailbox's address\n" in out
    assert "provider's documentation, 20" in out
    assert "535 5.7.139" in out
    assert "gmail" not in out


def test_rows_are_for_programs(relay: Relay) -> None:
    rows = relay("providers", "--json").rows
    assert [row["name"] for row in rows] == list(provider_names())
    (row,) = relay("providers", "postmark", "--json").rows
    assert row["endpoints"][0] == {"host": "smtp.postmarkapp.com", "port": 587, "tls": "starttls"}
    assert (row["username"], row["limits"]["recipients"]) == (None, 50)


@pytest.mark.parametrize("name", provider_names())
def test_the_upstream_to_paste_is_sound(relay: Relay, name: str, tmp_path: Path) -> None:
    upstream = relay("providers", name, "--json").rows[0]["upstream"]
    assert upstream in relay("providers", name).out
    (tmp_path / "config.yaml").write_text(f"{upstream}\ndefault: {{upstream: my-{name}}}\n")
    made = load(tmp_path / "config.yaml", {}).upstreams[f"my-{name}"]
    assert made.provider == name
    assert made.username is not None


def test_an_unknown_one_gets_a_suggestion(relay: Relay) -> None:
    done = relay("providers", "sendgird")
    assert (done.status, done.out) == (1, "")
    assert done.err == 'relay: no provider named "sendgird"; did you mean "sendgrid"?\n'
