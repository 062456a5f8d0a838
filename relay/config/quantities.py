"""Durations (200ms, 30s, 5m, 2h, 3d) and sizes (64KiB, 25MiB, 10GiB), read with their unit.

A bare number is refused, since nobody can tell whether its writer thought of seconds.
"""

import re

# Nine digits are more than anyone waits or keeps, and keep floats and timers in their range.
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,3})?)"
DURATION_PATTERN = _NUMBER + "(ms|s|m|h|d)"
SIZE_PATTERN = _NUMBER + "(B|KiB|MiB|GiB|TiB)"

_LOOSE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def duration_s(text: str) -> float:
    """Seconds; ValueError with a sentence for the person who wrote it."""
    if match := re.fullmatch(DURATION_PATTERN, text):
        return float(match[1]) * _SECONDS[match[2]]
    number, unit = _loosely(text)
    if number and not unit:
        raise ValueError(f'a duration needs a unit: write {number}s for seconds (not "{text}")')
    if number and (meant := _duration_unit(unit)):
        raise ValueError(f'"{text}" is not how a duration is written: write {number}{meant}')
    raise ValueError(f'"{text}" is no duration: write 200ms, 30s, 5m, 2h or 3d')


def size_bytes(text: str) -> int:
    """Bytes; ValueError with a sentence for the person who wrote it."""
    if match := re.fullmatch(SIZE_PATTERN, text):
        return int(float(match[1]) * _BYTES[match[2]])
    number, unit = _loosely(text)
    if number and not unit:
        raise ValueError(f'a size needs a unit: write {_with_unit(number)} (not "{text}")')
    if number and (meant := _size_unit(unit)):
        raise ValueError(f'"{text}" is not how a size is written: write {number}{meant}')
    raise ValueError(f'"{text}" is no size: write 64KiB, 25MiB or 10GiB')


def _loosely(text: str) -> tuple[str, str]:
    match = _LOOSE.fullmatch(text.strip())
    return (match[1], match[2]) if match else ("", "")


def _duration_unit(unit: str) -> str | None:
    """The unit that a word like "Min" or "seconds" stands for."""
    word = unit.lower()
    if word.startswith(("ms", "milli")):
        return "ms"
    names = ("seconds", "secs", "minutes", "mins", "hours", "hrs", "days")
    return word[0] if any(name.startswith(word) for name in names) else None


def _size_unit(unit: str) -> str | None:
    """The unit that "MB", "m" or "mib" stands for; a mail system counts in powers of two."""
    initial = unit[0].upper()
    if initial == "B":
        return "B"
    known = f"{initial}iB" in _BYTES and unit[1:].lower() in ("", "b", "ib")
    return f"{initial}iB" if known else None


def _with_unit(number: str) -> str:
    """A bare number as it may have been meant: a small one in MiB, a large one in bytes."""
    if "." in number or int(number) < 2**16:
        return f"{number}MiB"
    value = int(number)
    unit = next(unit for unit, size in reversed(_BYTES.items()) if value % size == 0)
    return f"{value // _BYTES[unit]}{unit}"
