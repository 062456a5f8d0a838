"""What people and programs are shown."""

import json
import time

import pytest

from relay.cli import output


def test_table_aligns_columns_and_ends_lines_without_blanks(capsys: pytest.CaptureFixture[str]):
    count = output.table(("ID", "CAUSE"), [("1", "expired"), ("1000", "-")])
    assert count == 2
    assert capsys.readouterr().out == "ID    CAUSE\n1     expired\n1000  -\n"


def test_table_without_rows_prints_no_titles(capsys: pytest.CaptureFixture[str]):
    assert output.table(("ID",), []) == 0
    assert capsys.readouterr().out == ""


def test_table_of_many_rows_has_one_row_of_titles(capsys: pytest.CaptureFixture[str]):
    rows = [(str(number),) for number in range(1200)]
    assert output.table(("ID",), rows) == 1200
    assert len(capsys.readouterr().out.splitlines()) == 1201


def test_nothing_in_a_table_moves_the_cursor(capsys: pytest.CaptureFixture[str]):
    output.table(("REPLY",), [("550 \x1b[2Jgo\x9baway\u202e",)])
    assert capsys.readouterr().out == "REPLY\n550 ?[2Jgo?away?\n"


def test_facts_put_further_lines_below_the_first(capsys: pytest.CaptureFixture[str]):
    output.facts({"why": "one\ntwo", "tenant": "acme"})
    assert capsys.readouterr().out == "why     one\n        two\ntenant  acme\n"


def test_json_lines_are_one_object_a_line(capsysbinary: pytest.CaptureFixture[bytes]):
    output.json_lines([{"text": "a\nb", "n": 1}, {"text": "ü"}])
    lines = capsysbinary.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "a\nb", "n": 1}, {"text": "ü"}]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (200_000, "2d")]
)
def test_duration_is_in_the_largest_unit_that_fits(seconds: float, text: str):
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"), [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (20 << 20, "20MiB")]
)
def test_size_is_in_the_largest_unit_that_fits(octets: int, text: str):
    assert output.size(octets) == text


def test_until_says_now_for_what_is_past():
    assert output.until(time.time() - 5) == "now"
    assert output.until(time.time() + 90) == "in 1m"


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch):
    assert not output.colours()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.colours()
