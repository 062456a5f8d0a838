"""A list of addresses while it is taken in: its file, its bad rows, how far it has come."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from relay.cli import output, progress
from relay.cli.access import Trouble
from relay.cli.suppress.formats import Read
from relay.model.suppression import Suppression

STANDARD_INPUT = 0


@dataclass(slots=True)
class Taken:
    """Counts the rows of an import while they pass, and tells of those that are bad."""

    name: str
    rows: int = 0
    bad: int = 0
    not_meant: int = 0

    def entries(self, rows: Iterable[Read]) -> Iterator[Suppression]:
        for row in progress.told(rows, "rows"):
            self.rows += 1
            if isinstance(row, Suppression):
                yield row
            elif row.bad:
                self.bad += 1
                print(f"{self.name}:{row.line}: {output.plain(row.why)}", file=sys.stderr)
            else:
                self.not_meant += 1

    @property
    def _entries(self) -> int:
        return self.rows - self.bad - self.not_meant

    def row(self, changed: int) -> dict[str, Any]:
        return {
            "source": self.name,
            "read": self._entries,
            "changed": changed,
            "left_out": self.not_meant,
            "unreadable": self.bad,
        }

    def summary(self, changed: int) -> str:
        text = f"{self._entries} read, {changed} of them new or changed"
        if self.not_meant:
            text += f"; {self.not_meant} left out: no bounces or complaints, or over"
        return text + (f"; {self.bad} could not be read" if self.bad else "")


@contextmanager
def opened(file: str) -> Iterator[TextIO]:
    """Octets that are no UTF-8 make bad rows, not the end of the import."""
    try:
        source = os.dup(STANDARD_INPUT) if file == "-" else file
        with open(source, encoding="utf-8", errors="surrogateescape", newline="") as lines:
            yield lines
    except OSError as error:
        name = "standard input" if file == "-" else file
        raise Trouble(f"{name}: {error.strerror}") from error
