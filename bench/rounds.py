"""A row's rounds, one after the other, each contestant afresh in an empty folder."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from contestants import CONTESTANTS
from figures import Effort, Round, Row
from report import Measured


def in_rounds(row: Row, chosen: Sequence[str], effort: Effort, folder: Path) -> Measured:
    """Of those chosen, the row's contestants, in an order that turns around with each round."""
    names = [name for name in row.contestants if name in chosen]
    measured = Measured(row, {name: [] for name in names})
    for _ in range(effort.rounds):
        for name in names:
            _take_part(measured, name, effort, folder)
        names.reverse()
    return measured


def _take_part(measured: Measured, name: str, effort: Effort, folder: Path) -> None:
    """A round that fails is part of the report, and the others go on."""
    row = measured.row
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as place:
        Path(place).chmod(0o755)  # Postfix's processes have another user
        try:
            figures = row.measure(Round(Path(place), CONTESTANTS[name], effort))
        except Exception as error:
            measured.failures.append((name, f"{type(error).__name__}: {error}"))
            print(f"{row.name} {name}: {error!r}", file=sys.stderr)
            return
    measured.rounds[name].append(figures)
    shown = ", ".join(f"{measure.name} {measure.shown(it)}" for measure, it in figures.items())
    print(f"{row.name} {name}: {shown}", file=sys.stderr)
