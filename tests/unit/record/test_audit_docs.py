"""docs/audit.md tells of every event that is told, and of every cause as the code has it."""

import re
from pathlib import Path

from relay.model.causes import REMEDIES

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs/audit.md").read_text()


def test_every_event_that_is_told_is_described() -> None:
    source = (ROOT / "relay/model/events.py").read_text()
    functions = source.partition("def _of_message")[2]
    told = set(
        re.findall(
            r'"((?:email|tenant|client|queue|store|config|relay|upstream|suppression|alert|test)\.\w+)"',
            functions,
        )
    )
    assert told
    assert told <= set(re.findall(r"`([a-z.]+_?\w*)`", DOCS))


def test_causes_and_remedies_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", DOCS, re.MULTILINE))
    assert {cause.value: remedy for cause, remedy in REMEDIES.items()} == rows
