"""What the verbs print, or write to a file: aligned columns for people, one JSON object a line for
programs.

Nothing printed for people can move a terminal's cursor, wherever it came from.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from relay.cli.access import Trouble

_GAP = "  "
# Columns are aligned by so many rows at a time: a long list is shown while it is read.
_ALIGNED_AT_ONCE = 500
BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Rows under their titles, in columns; returns how many there were, and prints no titles
    where there was none."""
    source = (tuple(map(plain, row)) for row in rows)
    widths = [len(title) for title in titles]
    count = 0
    while batch := list(islice(source, _ALIGNED_AT_ONCE)):
        columns = zip(*batch, strict=True)
        widths = [max(w, *map(len, cells)) for w, cells in zip(widths, columns, strict=True)]
        if not count:
            print(styled(_aligned(titles, widths), BOLD))
        for line in batch:
            print(_aligned(line, widths))
        count += len(batch)
    return count


def facts(named: Mapping[str, str]) -> None:
    """One value a line, aligned behind the names; further lines of a value stand below it."""
    width = max(map(len, named))
    for name, value in named.items():
        first, *others = value.splitlines() or [""]
        print(_aligned((name, plain(first)), (width, 0)))
        for line in others:
            print(" " * width + _GAP + plain(line))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    import orjson

    for row in rows:
        raw_line(orjson.dumps(row))


def raw_line(line: bytes) -> None:
    """A line as it is stored, in UTF-8 whatever the locale."""
    raw(line + b"\n")


def raw(octets: bytes) -> None:
    """Octets as they are; where standard output is closed, to nobody."""
    if sys.stdout is not None:
        sys.stdout.buffer.write(octets)


def flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def save(octets: Iterable[bytes], file: Path) -> int:
    """A new file, for its owner alone; its size. Trouble where it is there already or can't be
    made, and nothing of it is left where the disk is full."""
    try:
        with open(file, "xb", opener=partial(os.open, mode=0o600)) as written:
            try:
                written.writelines(octets)
                return written.tell()
            except BaseException:
                file.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise Trouble(f"{file} is there already: name a new file") from error
    except OSError as error:
        raise Trouble(f"{file}: {error.strerror}") from error


def styled(text: str, style: str) -> str:
    """In bold or in a colour, where these are wanted."""
    return f"\x1b[{style}m{text}\x1b[0m" if colours() else text


def colours() -> bool:
    """Whether standard output is a terminal that knows colours, whose user wants them
    (https://no-color.org)."""
    if sys.stdout is None or not sys.stdout.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def plain(text: str) -> str:
    """Text without control characters, and without what turns the direction of writing."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def moment(unix_s: float) -> str:
    """2025-11-21 10:31:02 UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def since(unix_s: float) -> str:
    """How long ago, as a duration: 40s, 5m, 3h, 2d."""
    return duration(time.time() - unix_s)


def until(unix_s: float) -> str:
    """How long until then; "now" where that is past."""
    left_s = unix_s - time.time()
    return f"in {duration(left_s)}" if left_s > 0 else "now"


def duration(seconds: float) -> str:
    """In the largest unit that fits, as the configuration writes it."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds / size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def size(octets: int) -> str:
    """In the largest unit that fits, as the configuration writes it."""
    number, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f}{unit}" if unit == "B" or number >= 10 else f"{number:.1f}{unit}"


def shortened(items: Sequence[str], most: int = 1) -> str:
    """The first of them, and how many there are besides."""
    text = ", ".join(items[:most])
    return f"{text} +{len(items) - most}" if len(items) > most else text


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(_padded(cells, widths)).rstrip()


def _padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for cell, width in zip(cells, widths, strict=True):
        yield cell.ljust(width)
