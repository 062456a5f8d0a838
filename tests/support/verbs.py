"""The command line in the test's own process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relay.cli import main


@dataclass
class Done:
    """What a verb came to; ``rows`` are those of --json."""

    status: Any
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Relay = Callable[..., Done]


def command_line(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    """``relay`` with this configuration: ``relay("queue", "list", "--json").rows``."""

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(config_file), *arguments])
        return Done(ended.value.code, *capsys.readouterr())

    return run
