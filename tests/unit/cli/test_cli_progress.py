"""How far long work has come: for a terminal alone."""

import io
import itertools

import pytest

from relay.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def half_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is half a second later."""
    ticks = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks) / 2)


@pytest.mark.usefixtures("half_seconds")
def test_a_terminal_sees_count_and_rate_and_is_left_clean(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress.told(range(3), "rows")) == [0, 1, 2]
    shown = terminal.getvalue().split("\r")
    assert shown[1] == "1 rows, 2 a second"
    assert shown[-4].startswith("3 rows, 2 a second")
    assert shown[-2].isspace()
    assert shown[-1] == ""


@pytest.mark.usefixtures("half_seconds")
def test_a_pipe_sees_nothing(monkeypatch: pytest.MonkeyPatch):
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    assert list(progress.told(range(3), "rows")) == [0, 1, 2]
    assert pipe.getvalue() == ""


def test_what_takes_no_time_shows_nothing(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress.told(range(3), "rows")) == [0, 1, 2]
    assert terminal.getvalue() == ""


@pytest.mark.usefixtures("half_seconds")
def test_a_failure_amid_the_work_leaves_the_line_clean(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    passing = iter(progress.told(range(9), "rows"))
    next(passing), next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert terminal.getvalue().split("\r")[-2].isspace()


def test_a_closed_standard_error_is_no_news(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress.told(range(3), "rows")) == [0, 1, 2]
