"""The documents that are made from the schema, and the example: up to date, whole, and sound."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from relay.cli.config import app
from relay.config import ConfigError, load
from relay.config.editor import json_schema
from relay.config.reference import reference

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.yaml"
DISABLED = re.compile(r"^( *)#(?=\S)", re.MULTILINE)


def keys_of(part: Any) -> Iterator[str]:
    """Every key that the JSON Schema knows."""
    if isinstance(part, dict):
        yield from part.get("properties", {})
        for value in part.values():
            yield from keys_of(value)


def test_the_reference_is_up_to_date() -> None:
    made = "python -m relay.config.reference > docs/configuration.md"
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), made


def test_the_reference_has_every_key_with_its_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| .* \| (.+) \|$", reference(), re.MULTILINE)
    assert {key for key, _, _ in rows} == set(keys_of(json_schema()))
    assert all(kind and meaning for _, kind, meaning in rows)


def test_the_example_loads() -> None:
    config = load(EXAMPLE, {})
    assert set(config.tenants) == {"acme", "globex", "initech"}


def test_the_example_shows_every_key() -> None:
    shown = set(re.findall(r"(?:^|[\s{#-])([a-z_]+):", EXAMPLE.read_text()))
    assert set(keys_of(json_schema())) - shown == set()


def test_what_the_example_shows_disabled_is_sound_too(tmp_path: Path) -> None:
    """But for files of which this machine knows nothing."""
    enabled = tmp_path / "config.yaml"
    enabled.write_text(DISABLED.sub(r"\1", EXAMPLE.read_text().partition("\n")[2]))
    with pytest.raises(ConfigError) as raised:
        load(enabled, {})
    assert {problem.key for problem in raised.value.problems} == {
        "listen[2].cert_file",
        "listen[2].key_file",
        "upstreams.globex-mail.ca_file",
    }
    assert all(problem.message.startswith("no file /etc") for problem in raised.value.problems)


def test_the_examples_disabled_values_are_the_defaults(tmp_path: Path) -> None:
    enabled = tmp_path / "config.yaml"
    text = EXAMPLE.read_text()
    for section in ("secrets", "limits", "timeouts", "queue", "suppression", "audit"):
        start = text.index(f"\n{section}:\n")
        body = re.split(r"\n\n", text[start:])[0]
        enabled.write_text(DISABLED.sub(r"\1", body))
        assert getattr(load(enabled, {}), section) == getattr(load(EXAMPLE, {}), section)
        assert "#" in body


def test_the_example_names_the_schema_on_its_first_line() -> None:
    first = EXAMPLE.read_text().partition("\n")[0]
    assert first == "# yaml-language-server: $schema=config.schema.json"


def test_the_schema_is_of_what_stands_in_a_file() -> None:
    text = json.dumps(json_schema())
    assert '"null"' not in text
    assert ": null" not in text
    assert "(" not in "".join(keys_of(json_schema()))
    tenant = json_schema()["$defs"]["Tenant"]["properties"]
    assert "from" in tenant
    assert "name" not in tenant
    upstream = json_schema()["$defs"]["Upstream"]
    assert "required" not in upstream
    assert upstream["anyOf"] == [{"required": ["host"]}, {"required": ["provider"]}]
    assert "ses" in upstream["properties"]["provider"]["enum"]
    assert "default" not in upstream["properties"]["port"]
    listen = json_schema()["properties"]["listen"]
    assert listen["default"] == ["127.0.0.1:25"]
    assert [option.get("type") for option in listen["items"]["anyOf"]] == ["string", None]
    acknowledge = tenant["acknowledge"]
    assert (acknowledge["default"], acknowledge["anyOf"][0]["enum"][1]) == ("queued", "relayed")
    sender = json_schema()["$defs"]["Match"]["properties"]["sender"]
    assert [option["type"] for option in sender["anyOf"]] == ["string", "array"]


def test_the_verb_prints_the_schema() -> None:
    program = typer.Typer()
    program.add_typer(app, name="config")
    result = CliRunner().invoke(program, ["config", "schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()
