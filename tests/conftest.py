"""Fixtures that every folder of tests may use."""

import pytest
from support.certificates import Certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA for the whole run, whose leaves name localhost."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
