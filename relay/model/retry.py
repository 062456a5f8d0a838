"""When to try again: a pure function of schedule, number of attempts and chance."""

from relay.model.value import value_class


@value_class
class Schedule:
    """All in seconds; ``attempts`` caps a recipient's own failures, None for no cap."""

    first_s: float
    factor: float
    longest_s: float
    give_up_after_s: float
    attempts: int | None = None


# A tenth either way keeps messages that failed together from coming back together.
JITTER = 0.1


def delay_s(schedule: Schedule, attempt: int, chance: float) -> float:
    """Seconds until the next attempt after the ``attempt``-th (from 1) has failed.

    ``chance`` in [0, 1) spreads the delay by JITTER either way. Never past ``longest_s`` but for
    the jitter, never below nine tenths of ``first_s``.
    """
    # The exponent is capped, since a float overflows at about 2**1024.
    exponent = min(max(attempt, 1) - 1, 64)
    base = min(schedule.first_s * schedule.factor**exponent, schedule.longest_s)
    return base * (1 - JITTER + 2 * JITTER * chance)
