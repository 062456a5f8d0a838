"""Notices when the wall clock was set, by the monotonic one, which nobody sets."""

import time

# What is less is the kernel's gentle way of setting a clock right, or our own being late.
_NOTICED_S = 2.0


class WallClock:
    def __init__(self) -> None:
        self._ahead = _ahead_of_monotonic()

    def moved_s(self) -> float:
        """How far it was set since this was last asked, negative where back; 0.0 if it was not."""
        moved = _ahead_of_monotonic() - self._ahead
        if abs(moved) < _NOTICED_S:
            return 0.0
        self._ahead += moved
        return moved


def _ahead_of_monotonic() -> float:
    # A machine that has slept has slept for both.
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
