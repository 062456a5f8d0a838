"""Queue and event identifiers: 63-bit, time-ordered, written as 13 characters of base32.

They sort by the time of their making, so that a range of time is a range of keys, and rows are
appended at the end of every index. The alphabet is Crockford's: no I, L, O or U to misread aloud.
"""

import random
import re
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
# int() reads base 32 in C, but with its own digits.
_TO_INT_DIGITS = str.maketrans(
    _ALPHABET + _ALPHABET.lower(), "0123456789abcdefghijklmnopqrstuv" * 2
)
LENGTH = 13
# The first of 13 characters holds but 3 bits of the 63.
_IDENTIFIER = re.compile(rf"[0-7][{_ALPHABET}]{{{LENGTH - 1}}}", re.ASCII | re.IGNORECASE)

# 51 bits of microseconds since 2020 last until 2091; 12 random bits keep two processes apart.
_EPOCH_US = 1_577_836_800_000_000
_RANDOM_BITS = 12
# As numbers these lie within the first three days of 2020.
_BEGIN_BITS = 50


class Identifiers:
    """Makes identifiers that never repeat nor go back within a process, even if the clock does."""

    def __init__(self) -> None:
        # A clock that begins before 2020 at every start must not make the same ones every time.
        self._last = random.getrandbits(_BEGIN_BITS)

    def next(self) -> str:
        moment = (time.time_ns() // 1000 - _EPOCH_US) << _RANDOM_BITS
        self._last = max(self._last + 1, moment | random.getrandbits(_RANDOM_BITS))
        return encode(self._last)


def encode(number: int) -> str:
    """13 characters that sort as the numbers do."""
    pairs = _PAIRS
    return (
        _ALPHABET[number >> 60]
        + pairs[number >> 50 & 1023]
        + pairs[number >> 40 & 1023]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )


def decode(text: str) -> int:
    """The number behind an identifier; ValueError for anything that is not one."""
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(f"not an identifier: {text!r}")
    return int(text.translate(_TO_INT_DIGITS), 32)


def first_at(unix_s: float) -> int:
    """The smallest identifier, as a number, that could be made at ``unix_s`` or later."""
    return max(0, int(unix_s * 1_000_000) - _EPOCH_US) << _RANDOM_BITS


def made_at(number: int) -> float:
    """When the identifier with that number was made, in Unix seconds."""
    return ((number >> _RANDOM_BITS) + _EPOCH_US) / 1_000_000


new_identifier = Identifiers().next
