"""Every query has a name, a purpose, and somebody who asks it."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

import relay.queue.sqlite
from relay.queue.named_sql import named_queries
from relay.queue.sqlite.queries import SQL


def test_each_query_is_used_and_each_use_is_a_query() -> None:
    sources = Path(relay.queue.sqlite.__path__[0]).glob("*.py")
    text = "\n".join(source.read_text() for source in sources)
    used = set(re.findall(r'SQL\["(\w+)"', text))
    used |= set(re.findall(r'"(\w+)" if \w+\.dead else "(\w+)"', text)[0])
    used |= set(re.findall(r'^        \("(\w+)", _gathered', text, re.MULTILINE))
    assert used == set(SQL)


def test_each_query_says_its_purpose() -> None:
    text = files("relay.queue.sqlite").joinpath("queries.sql").read_text()
    for name, rest in re.findall(r"^-- name: (\w+)\n(.*)$", text, re.MULTILINE):
        assert rest.startswith("-- "), name


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("-- name: a\n-- Why.\nSELECT 1;\n\n-- name: a\nSELECT 2;\n")
    with pytest.raises(ValueError, match="a comes twice"):
        named_queries(file)
