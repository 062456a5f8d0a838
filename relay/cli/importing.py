"""A list of addresses while it is taken in: its file, its bad rows, how far it has come."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from relay.cli import output
from relay.cli.access import Trouble
from relay.cli.suppression_csv import Read
from relay.model.suppression import Suppression

STANDARD_INPUT = 0
_TOLD_EVERY_S = 0.5


@dataclass(slots=True)
class Taken:
    """Counts the rows of an import while they pass, and tells of those that are bad."""

    name: str
    rows: int = 0
    bad: int = 0
    not_meant: int = 0
    _told_at: float = field(default_factory=time.monotonic)

    def entries(self, rows: Iterable[Read]) -> Iterator[Suppression]:
        for row in rows:
            self.rows += 1
            self._tell_progress()
            if isinstance(row, Suppression):
                yield row
            elif row.bad:
                self.bad += 1
                print(f"{self.name}:{row.line}: {output.plain(row.why)}", file=sys.stderr)
            else:
                self.not_meant += 1

    def summary(self, changed: int) -> str:
        entries = self.rows - self.bad - self.not_meant
        text = f"{entries} read, {changed} of them new or changed"
        if self.not_meant:
            text += f"; {self.not_meant} left out: no bounces or complaints, or over"
        return text + (f"; {self.bad} could not be read" if self.bad else "")

    def _tell_progress(self) -> None:
        """On a terminal, for files that take their time."""
        if self.rows % 1000 or not sys.stderr.isatty():
            return
        if time.monotonic() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = time.monotonic()
            print(f"\r{self.rows} rows \r", end="", file=sys.stderr, flush=True)


@contextmanager
def opened(file: str) -> Iterator[TextIO]:
    """Octets that are no UTF-8 make bad rows, not the end of the import."""
    source = os.dup(STANDARD_INPUT) if file == "-" else file
    try:
        with open(source, encoding="utf-8", errors="surrogateescape", newline="") as lines:
            yield lines
    except OSError as error:
        raise Trouble(f"{file}: {error.strerror}") from error
