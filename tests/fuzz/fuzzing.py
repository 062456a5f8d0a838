"""How the targets run: short and always the same in CI, for as long as it is told by ``make fuzz``.

RELAY_FUZZ_MINUTES is shared out among the targets that are collected; without it each has one
round of its own size, derandomized. A long run goes round after round, each three times as long.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

MINUTES = float(os.environ.get("RELAY_FUZZ_MINUTES", "0"))
_LONG_ROUND = 3
_TARGETS: list[str] = []


def bounded(cases: int, **more: Any) -> settings:
    """``cases`` in CI; in a long run rounds that begin at random."""
    return settings(
        max_examples=_LONG_ROUND * cases if MINUTES else cases,
        derandomize=not MINUTES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def target(check: Callable[..., None]) -> Callable[..., None]:
    """A test of hypothesis's that goes on for its share of the minutes, and prints its figures."""
    _TARGETS.append(check.__name__)
    counted = 0
    handle = getattr(check, "hypothesis", None)
    if handle:
        inner = handle.inner_test

        @functools.wraps(inner)
        def count(*arguments: Any, **named: Any) -> Any:
            nonlocal counted
            counted += 1
            return inner(*arguments, **named)

        handle.inner_test = count

    @functools.wraps(check)
    def run(*arguments: Any, **named: Any) -> None:
        nonlocal counted
        counted, began = 0, time.monotonic()
        share_s = 60 * MINUTES / len(_TARGETS)
        while True:
            check(*arguments, **named)
            taken_s = time.monotonic() - began
            if taken_s >= share_s:
                break
        if MINUTES:
            print(f"\n{check.__name__}: {counted or '?'} cases in {taken_s:.0f} s")

    return run


def cut(octets: bytes, lengths: list[int]) -> list[bytes]:
    """In pieces of these lengths, and what is left."""
    pieces = []
    for length in lengths:
        if not octets:
            break
        pieces.append(octets[:length])
        octets = octets[length:]
    return [*pieces, octets] if octets else pieces
