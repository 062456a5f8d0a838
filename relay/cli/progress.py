"""How far long work has come: a count and a rate, for a person who watches and nobody else.

On a terminal's standard error alone, so that neither a pipe nor a log sees anything of it. By hand,
since rich takes longer to import than most lists to be taken in.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_ItemT = TypeVar("_ItemT")

_FIRST_AFTER_S = 0.5
_EVERY_S = 0.2


class Line:
    """For work that counts for itself: what is said replaces what was said before."""

    def __init__(self) -> None:
        self._shown = 0

    def say(self, text: str) -> None:
        """ "" leaves the line clean."""
        stream = sys.stderr
        if stream is not None and stream.isatty() and (text or self._shown):
            # The cursor goes back, so that whatever is printed next stands over it.
            print(f"\r{text.ljust(self._shown)}\r", end="", file=stream, flush=True)
            self._shown = len(text)


def told(items: Iterable[_ItemT], noun: str) -> Iterable[_ItemT]:
    """The same items, counted while they pass; what takes no time shows nothing."""
    watched = sys.stderr is not None and sys.stderr.isatty()
    return _counted(items, noun) if watched else items


def _counted(items: Iterable[_ItemT], noun: str) -> Iterator[_ItemT]:
    begin, line = time.monotonic(), Line()
    next_at = begin + _FIRST_AFTER_S
    try:
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now >= next_at:
                next_at = now + _EVERY_S
                line.say(f"{count:,} {noun}, {count / (now - begin):,.0f} a second")
    finally:
        line.say("")
