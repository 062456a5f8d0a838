"""How far long work has come: a count and a rate, for a person who watches and nobody else.

On a terminal's standard error alone, so that neither a pipe nor a log sees anything of it. By hand,
since rich takes longer to import than most lists to be taken in.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

_ItemT = TypeVar("_ItemT")

_FIRST_AFTER_S = 0.5
_EVERY_S = 0.2


def told(items: Iterable[_ItemT], noun: str) -> Iterable[_ItemT]:
    """The same items, counted while they pass; what takes no time shows nothing."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return items
    return _counted(items, noun, stream)


def _counted(items: Iterable[_ItemT], noun: str, stream: TextIO) -> Iterator[_ItemT]:
    begin = time.monotonic()
    next_at, shown = begin + _FIRST_AFTER_S, 0
    try:
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now >= next_at:
                next_at = now + _EVERY_S
                text = f"{count:,} {noun}, {count / (now - begin):,.0f} a second"
                _show(stream, text.ljust(shown))
                shown = len(text)
    finally:
        if shown:
            _show(stream, " " * shown)


def _show(stream: TextIO, text: str) -> None:
    """The cursor goes back, so that whatever is printed next stands over it."""
    print(f"\r{text}\r", end="", file=stream, flush=True)
