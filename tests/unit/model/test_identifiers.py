"""Identifiers sort by time, never repeat, and can be read back."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import identifiers


def test_they_rise_and_never_repeat() -> None:
    made = [identifiers.new_identifier() for _ in range(5000)]
    assert made == sorted(set(made))


def test_a_clock_that_jumps_back_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = identifiers.Identifiers()
    before = maker.next()
    monkeypatch.setattr(time, "time_ns", lambda: 1_600_000_000_000_000_000)
    assert maker.next() > before


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_text_and_number_are_one(a: int, b: int) -> None:
    assert identifiers.decode(identifiers.encode(a)) == a
    assert (identifiers.encode(a) < identifiers.encode(b)) == (a < b)


@pytest.mark.parametrize("text", ["", "x", "U" * 13, "Z" * 13, "0" * 14, "0000000000é00"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an identifier"):
        identifiers.decode(text)


def test_a_moment_is_the_start_of_a_range() -> None:
    before = identifiers.first_at(time.time())
    made = identifiers.decode(identifiers.new_identifier())
    assert before <= made < identifiers.first_at(time.time() + 1)
