"""Configurations as files in a directory of their own, loaded by the name "config.yaml"."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from relay.config import ConfigError, load
from relay.config.schema import Config

NAME = "config.yaml"


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Write YAML to config.yaml in the working directory, and load it."""
    monkeypatch.chdir(tmp_path)

    def write_and_load(text: str, environ: Mapping[str, str] | None = None) -> Config:
        Path(NAME).write_text(text)
        return load(Path(NAME), environ or {})

    return write_and_load


@pytest.fixture
def problems(loads: Callable[..., Config]) -> Callable[..., list[str]]:
    """What is wrong with a YAML text; [] if nothing is."""

    def list_problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        try:
            loads(text, environ)
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    return list_problems


@pytest.fixture
def closed_directory() -> Iterator[Path]:
    """Holds a file ``closed`` and a directory ``inner`` that this process may not read; root
    becomes nobody for as long."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "closed").write_text("s3cret")
        (directory / "inner").mkdir()
        for path, mode in ((directory, 0o755), (directory / "closed", 0), (directory / "inner", 0)):
            path.chmod(mode)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(nobody)
        try:
            yield directory
        finally:
            if was_root:
                os.seteuid(0)
            (directory / "inner").chmod(0o700)
