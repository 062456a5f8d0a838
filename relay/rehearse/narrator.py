"""Tells a rehearsal to a newcomer: headings, short sentences, what came out, and whether it should.

Plain ASCII, so that it reads the same everywhere; bold and colour only on a terminal.
"""

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence

_WIDTH = 88
_BOLD, _DIM, _GREEN, _RED = "1", "2", "32", "31"


class Narrator:
    """``failures`` are the expectations that were not met."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._chapters = 0
        self.failures: list[str] = []

    def heading(self, title: str) -> None:
        self._chapters += 1
        print(f"\n\n{self._styled(f'{self._chapters}. {title}', _BOLD)}", flush=True)

    def say(self, text: str) -> None:
        lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
        print("", *lines, sep="\n", flush=True)

    def command(self, arguments: Sequence[str], output: str) -> None:
        """A verb as one would type it, and what it printed."""
        print(self._styled(f"\n  $ relay {' '.join(arguments)}", _BOLD))
        print(textwrap.indent(output.rstrip(), "  "), flush=True)

    def facts(self, title: str, facts: Mapping[str, str]) -> None:
        """Named values below a title, aligned; those without a value are left out."""
        width = max(len(name) for name in facts)
        print(f"\n  {self._styled(title, _BOLD)}")
        for name, value in facts.items():
            if value:
                print(f"    {self._styled(name.ljust(width), _DIM)}  {value}")

    def lines(self, lines: Sequence[str]) -> None:
        print("", *(f"  {line}" for line in lines), sep="\n", flush=True)

    def expect(self, came_true: bool, text: str) -> None:
        mark = self._styled("ok", _GREEN) if came_true else self._styled("NOT SO", _RED)
        print(f"  {mark}  {text}", flush=True)
        if not came_true:
            self.failures.append(text)

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours else text
