"""What the verbs take from the service's EnvironmentFile, and when."""

from pathlib import Path

import pytest

from relay.config import location, service
from relay.config.location import environ_of_verbs


@pytest.fixture
def environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(location, "SYSTEM_FILE", tmp_path / "etc.yaml")
    monkeypatch.setattr(service, "ENVIRONMENT_FILE", tmp_path / "environment")
    return tmp_path / "environment"


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("KEY=s3cret", {"KEY": "s3cret"}),
        ("  KEY = s3cret  ", {"KEY": "s3cret"}),
        ("KEY=", {"KEY": ""}),
        ("KEY=two words # and more", {"KEY": "two words # and more"}),
        ("KEY='a \\ b'", {"KEY": "a \\ b"}),
        ('KEY="a \\" b"', {"KEY": 'a " b'}),
        ("KEY=a\\\nb", {"KEY": "ab"}),
        ("KEY=a=b", {"KEY": "a=b"}),
        ("# KEY=x\n;KEY=y\n\nexport\nOTHER=z", {"OTHER": "z"}),
        ("KEY='open\nOTHER=z", {"OTHER": "z"}),
        ("KEY=1\nKEY=2", {"KEY": "2"}),
    ],
)
def test_it_is_read_as_systemd_reads_it(
    environment_file: Path, line: str, variables: dict[str, str]
) -> None:
    environment_file.write_text(line + "\n")
    assert service.environment() == variables


def test_one_that_is_absent_or_closed_is_as_good_as_empty(
    environment_file: Path, closed_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.environment() == {}
    monkeypatch.setattr(service, "ENVIRONMENT_FILE", closed_directory / "closed")
    assert service.environment() == {}


def test_a_variable_of_ones_own_comes_first(environment_file: Path) -> None:
    environment_file.write_text("KEY=service\nOTHER=service\n")
    assert environ_of_verbs(None, {"KEY": "own"}) == {"KEY": "own", "OTHER": "service"}


def test_the_file_of_the_service_has_its_variables(environment_file: Path) -> None:
    environment_file.write_text("KEY=service\n")
    location.SYSTEM_FILE.touch()
    assert environ_of_verbs(None, {})["KEY"] == "service"
    assert environ_of_verbs(str(location.SYSTEM_FILE), {})["KEY"] == "service"


def test_another_file_has_nothing_to_do_with_them(environment_file: Path) -> None:
    environment_file.write_text("KEY=service\n")
    Path("config.yaml").touch()
    assert environ_of_verbs("other.yaml", {}) == {}
    assert environ_of_verbs(None, {"RELAY_CONFIG": "other.yaml"}) == {"RELAY_CONFIG": "other.yaml"}
    assert environ_of_verbs(None, {}) == {}  # ./config.yaml


def test_the_service_may_name_its_file_there(environment_file: Path) -> None:
    environment_file.write_text("RELAY_CONFIG=/srv/relay.yaml\nKEY=service\n")
    assert environ_of_verbs(None, {})["RELAY_CONFIG"] == "/srv/relay.yaml"
    assert environ_of_verbs("/srv/relay.yaml", {})["KEY"] == "service"
