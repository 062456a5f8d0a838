"""docs/failures.md is what the tables make."""

from pathlib import Path

from relay.config.providers import provider_names
from relay.deliver.failures_reference import reference
from relay.model.causes import Cause

DOCS = Path(__file__).parents[2] / "docs" / "failures.md"


def test_the_page_is_up_to_date() -> None:
    made = "python -m relay.deliver.failures_reference > docs/failures.md"
    assert DOCS.read_text() == reference(), made


def test_the_page_has_every_cause_and_provider() -> None:
    page = reference()
    assert all(f"| `{cause}` | " in page for cause in Cause)
    assert all(f"### {name}: " in page for name in provider_names())


def test_every_table_is_whole() -> None:
    for table in reference().split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, table
