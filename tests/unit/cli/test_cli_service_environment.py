"""The verbs go by the service's variables, of which its EnvironmentFile has the relay's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli import main
from relay.config import location, service


@pytest.fixture(autouse=True)
def service_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that there is of a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(location, "SYSTEM_FILE", tmp_path / "absent.yaml")
    monkeypatch.setattr(service, "ENVIRONMENT_FILE", tmp_path / "environment")
    (tmp_path / "environment").write_text(
        f"RELAY_SMTP_HOST=mail.acme.example\nRELAY_STORE=sqlite://{tmp_path}/relay.db\n"
    )


def test_a_drill_rehearses_what_the_service_has(monkeypatch: pytest.MonkeyPatch):
    """It read its own variables alone, and ended in a KeyError."""
    scripts: list[Any] = []

    async def drill(script: Any) -> AsyncIterator[Any]:
        scripts.append(script)
        for nothing in ():
            yield nothing

    monkeypatch.setattr("relay.rehearse.drill.drill", drill)
    with pytest.raises(SystemExit) as ended:
        main(["drill"])
    assert ended.value.code == 0
    [script] = scripts
    assert script.written["upstreams"].keys() == script.config.upstreams.keys()


@pytest.mark.parametrize("verb", ["check", "config show", "route a@b.example", "upstream list"])
def test_others_do_too(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(verb.split())
    assert ended.value.code == 0
    assert "mail.acme.example" in capsys.readouterr().out or verb == "check"
