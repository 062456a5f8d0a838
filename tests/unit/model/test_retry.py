"""When to try again: the numbers themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.retry import JITTER, Schedule, delay_s

USUAL = Schedule(first_s=30, factor=2, longest_s=3600, give_up_after_s=172800)


@pytest.mark.parametrize(
    ("attempt", "delay"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (8, 3600), (9, 3600), (10_000, 3600)],
)
def test_the_usual_schedule(attempt: int, delay: float) -> None:
    assert delay_s(USUAL, attempt, 0.5) == pytest.approx(delay)


@given(
    st.floats(0.1, 100),
    st.floats(1, 10),
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_it_never_leaves_its_bounds(
    first: float, factor: float, attempt: int, chance: float
) -> None:
    schedule = Schedule(first, factor, 1000, 1)
    delay = delay_s(schedule, attempt, chance)
    assert first * (1 - JITTER) * 0.999 <= delay <= 1000 * (1 + JITTER)
    assert delay_s(schedule, attempt + 1, chance) >= delay * 0.999
