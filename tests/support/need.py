"""Programs that a test needs: absent ones skip it here, and fail it where all must be there."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# Debian keeps servers where a person's PATH does not reach.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def need(program: str) -> str:
    """The path of the program, or of a file such as a PHP library."""
    found = shutil.which(program, path=_PATH) or (program if Path(program).is_file() else None)
    if not found:
        _go_without(f"{program} is not installed")
    return found


def need_root() -> None:
    if os.geteuid() != 0:
        _go_without("root is needed")


def _go_without(why: str) -> NoReturn:
    if os.environ.get("RELAY_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(f"{why}, and RELAY_TESTS_REQUIRE_ALL=1")
    pytest.skip(why)
