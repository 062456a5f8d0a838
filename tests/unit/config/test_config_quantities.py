import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.quantities import duration_s, size_bytes

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@given(st.integers(0, 999_999_999), st.sampled_from(sorted(SECONDS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert duration_s(f"{number}{unit}") == pytest.approx(number * SECONDS[unit])


@given(st.integers(0, 999_999_999), st.sampled_from(sorted(BYTES)))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert size_bytes(f"{number}{unit}") == number * BYTES[unit]


def test_fractions_are_read() -> None:
    assert duration_s("1.5h") == 5400
    assert size_bytes("0.5MiB") == 2**19


@given(st.text())
def test_any_other_text_is_refused_with_a_sentence(text: str) -> None:
    for read in (duration_s, size_bytes):
        try:
            message = f"write {read(text)}"
        except ValueError as error:
            message = str(error)
        assert re.search("write [0-9]", message)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("30", "write 30s"),
        ("5min", "write 5m"),
        ("5 Minutes", "write 5m"),
        ("30sec", "write 30s"),
        ("2 hrs", "write 2h"),
        ("1 day", "write 1d"),
        ("100 msec", "write 100ms"),
        ("30S", "write 30s"),
        ("soon", "write 200ms, 30s"),
        ("-5m", "write 200ms, 30s"),
        ("1e9s", "write 200ms, 30s"),
        ("٣s", "write 200ms, 30s"),
        ("9999999999s", "is not how"),
    ],
)
def test_a_duration_gone_wrong_gets_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("25MB", "write 25MiB"),
        ("25 mb", "write 25MiB"),
        ("10G", "write 10GiB"),
        ("64kib", "write 64KiB"),
        ("100bytes", "write 100B"),
        ("25", "write 25MiB"),
        ("26214400", "write 25MiB"),
        ("1000000", "write 1000000B"),
        ("large", "write 64KiB"),
    ],
)
def test_a_size_gone_wrong_gets_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        size_bytes(text)
