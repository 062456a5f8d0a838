"""Markdown of what was measured: a table for each row, and one that holds all to their goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from figures import Figures, Goal, Measure, Row, medians

_BEGIN = "<!-- make bench writes from here -->"
_END = "<!-- to here -->"
_WORDS = {True: "reached", False: "**not reached**", None: "not compared"}


@dataclass
class Measured:
    """The rounds of one row, by contestant; and who failed, with what went wrong."""

    row: Row
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def medians(self) -> dict[str, Figures]:
        return {name: medians(rounds) for name, rounds in self.rounds.items() if rounds}


def row_table(measured: Measured) -> str:
    """Contestants down, measures across; below them the relay's share of each of the others."""
    row, found = measured.row, measured.medians()
    lines = [f"### {row.name}: {row.work}", ""]
    measures = list(dict.fromkeys(m for figures in found.values() for m in figures))
    if measures:
        lines += _head(["", *(measure.name for measure in measures)])
        lines += [_line(name, figures, measures) for name, figures in found.items()]
        lines += _ratios(found, measures)
        lines += ["", _noise(measured, measures[0])]
    lines += [f"- failed: {name}: {failure}" for name, failure in measured.failures]
    return "\n".join([*lines, ""])


def goal_table(all_measured: Sequence[Measured]) -> str:
    lines = _head(["work", "goal", "beside", "relay", "ratio", ""], left=2)
    for measured in all_measured:
        for goal in measured.row.goals:
            lines.append(_goal_line(measured, goal))
    return "\n".join([*lines, ""])


def write_into(page: Path, text: str) -> None:
    """Between the marks that the page has for it."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"{page} has no lines {_BEGIN} and {_END}")
    page.write_text(f"{before}{_BEGIN}\n\n{text.strip()}\n\n{_END}{after}")


def _noise(measured: Measured, measure: Measure) -> str:
    """How far the rounds of one contestant lie apart, at most, in what is measured first."""
    number = max(map(len, measured.rounds.values()))
    if number == 1:
        return "One round."
    columns = [[it[measure] for it in rounds] for rounds in measured.rounds.values() if rounds]
    apart = max((max(column) - min(column)) / (median(column) or 1) for column in columns)
    return f"Medians of {number} rounds; {measure.name} differ by up to {apart:.0%} between rounds."


def _head(names: Sequence[str], left: int = 1) -> list[str]:
    columns = ["---"] * left + ["---:"] * (len(names) - left)
    return [f"| {' | '.join(names)} |", f"| {' | '.join(columns)} |"]


def _line(name: str, figures: Figures, measures: Sequence[Measure]) -> str:
    cells = [measure.shown(figures[measure]) if measure in figures else "" for measure in measures]
    return f"| {name} | {' | '.join(cells)} |"


def _ratios(found: Mapping[str, Figures], measures: Sequence[Measure]) -> list[str]:
    ours = found.get("relay")
    if ours is None:
        return []
    lines = []
    for name, theirs in found.items():
        if name != "relay":
            cells = [_ratio(ours.get(measure), theirs.get(measure)) for measure in measures]
            lines.append(f"| relay / {name} | {' | '.join(cells)} |")
    return lines


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours is not None and theirs else ""


def _goal_line(measured: Measured, goal: Goal) -> str:
    found, row = measured.medians(), measured.row
    ours = found.get("relay", {}).get(goal.measure)
    theirs = found.get(row.beside, {}).get(goal.measure)
    if ours is None or "relay" in dict(measured.failures):
        verdict = "**failed**"
    else:
        verdict = _WORDS[goal.reached(ours, theirs)]
    shown = ["" if value is None else goal.measure.shown(value) for value in (theirs, ours)]
    cells = [row.name, str(goal), *shown, _ratio(ours, theirs), verdict]
    return f"| {' | '.join(cells)} |"
