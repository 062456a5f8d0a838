"""bench/ works: every row, at a size that says nothing of speed. Its figures are not looked at."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.need import need, need_root

_BENCH = Path(__file__).parents[2] / "bench"
_ROWS = ("small", "persist", "large", "many-large", "far", "backlog", "tenants", "idle", "latency",
         "trail")  # fmt: skip
_TINY = ("--rounds=1", "--messages=20", "--large-sessions=2", "--backlog=50", "--tenants=30",
         "--seconds=1")  # fmt: skip
_US = ("--contestant=relay", "--contestant=relay-without-trail")
_TIMEOUT_S = 100


def started(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(_BENCH), *_TINY, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All rows at once: each mostly waits."""
    for program in ("smtp-source", "smtp-sink", "stunnel"):
        need(program)
    folder = tmp_path_factory.mktemp("bench")
    processes = {row: started(f"--only={row}", f"--folder={folder}", *_US) for row in _ROWS}
    yield processes
    for process in processes.values():
        end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """As Ctrl-C does, so that it ends what it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=40)


def said(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("row", _ROWS)
def test_a_row(runs: dict[str, "subprocess.Popen[str]"], row: str) -> None:
    output = said(runs[row])
    assert f"### {row}: " in output
    assert "\n| relay | " in output


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files can be imported, as they import one another."""
    monkeypatch.syspath_prepend(_BENCH)


def test_the_rows_here_are_all(bench: None) -> None:
    from rows import ROWS

    assert [row.name for row in ROWS] == list(_ROWS)


def test_a_round_that_fails_is_reported(bench: None, tmp_path: Path) -> None:
    from figures import PEAK, Effort, Failed, Row, at_most
    from report import goal_table, row_table
    from rounds import in_rounds

    results = iter([{PEAK: 70.0}, Failed("20 messages were sent, 19 have arrived"), {PEAK: 90.0}])

    def measure(around: Any) -> Any:
        result = next(results)
        if isinstance(result, Failed):
            raise result
        return result

    row = Row("odd", "what fails at times", ("relay",), measure, (at_most(PEAK, 80),))
    measured = in_rounds(row, ["relay"], Effort(rounds=3), tmp_path)
    assert "| relay | 80.0 |" in row_table(measured)
    assert "Medians of 2 rounds; peak MiB differ by up to 25% between rounds." in row_table(
        measured
    )
    assert "- failed: relay: Failed: 20 messages were sent, 19 have arrived" in row_table(measured)
    assert "| odd | peak MiB: at most 80 |  | 80.0 |  | **failed** |" in goal_table([measured])


def test_goals_beside_another(bench: None) -> None:
    from figures import CPU, RATE, Row, at_least_times, at_most_times
    from report import Measured, goal_table

    goals = (at_least_times(RATE, 4), at_most_times(CPU, 0.25))
    row = Row("small", "", ("postfix-20", "relay"), lambda _: {}, goals)
    figures = {"postfix-20": [{RATE: 100.0, CPU: 2.0}], "relay": [{RATE: 399.0, CPU: 0.5}]}
    together, alone = Measured(row, figures), Measured(row, {"relay": figures["relay"]})
    assert [line.split("|")[-2].strip() for line in goal_table([together]).splitlines()[2:]] == [
        "**not reached**",
        "reached",
    ]
    assert goal_table([alone]).count("not compared") == 2


def test_a_page_is_written_between_its_marks(bench: None, tmp_path: Path) -> None:
    from report import write_into

    page = Path(__file__).parents[2] / "docs/performance.md"
    copy = tmp_path / "performance.md"
    copy.write_text(page.read_text())
    write_into(copy, "figures of today")
    write_into(copy, "figures of tomorrow")
    before, written, after = copy.read_text().partition("figures of tomorrow")
    assert written
    assert "figures of today" not in before + after
    assert page.read_text().startswith(before)
    assert page.read_text().endswith(after)
    bare = tmp_path / "bare.md"
    bare.write_text("nothing to see\n")
    with pytest.raises(ValueError, match="has no lines"):
        write_into(bare, "the table")


def test_postfix_beside_the_relay() -> None:
    """Where bench/ puts it by itself: pytest's folders are closed to Postfix's user."""
    need("postfix")
    need_root()
    run = started("--only=small", "--contestant=postfix-20", "--contestant=relay")
    try:
        assert "\n| relay / postfix-20 | " in said(run)
    finally:
        end(run)
