"""Programs that a test needs: absent ones skip it here, and fail it where all must be there."""

import os
import shutil
from pathlib import Path

import pytest

# Debian keeps servers where a person's PATH does not reach.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def need(program: str) -> str:
    """The path of the program, or of a file such as a PHP library."""
    found = shutil.which(program, path=_PATH) or (program if Path(program).is_file() else None)
    if found:
        return found
    if os.environ.get("RELAY_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(f"{program} is not installed, and RELAY_TESTS_REQUIRE_ALL=1")
    pytest.skip(f"{program} is not installed")
