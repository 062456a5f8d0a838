"""What mail came to in a time: how many recipients, and how long they took."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import TypeVar

from relay.model.value import value_class

_KeyT = TypeVar("_KeyT")


def octave(milliseconds: float) -> int:
    """Times are counted by powers of two: 0 is less than a millisecond, 1 up to 2, 2 up to 4, 3 up
    to 8, and so on. A quantile is told from them within some tenths of itself."""
    return int(milliseconds).bit_length()


@value_class
class Figures:
    """Of applications' mail, counted by recipients: ``deferred`` counts one for each attempt.

    ``queued_ms`` is the sum, over the recipients sent, of the time from the 250 to the upstream's
    own; ``octaves`` says how many of them took how long.
    """

    sent: int = 0
    deferred: int = 0
    failed: int = 0
    expired: int = 0
    queued_ms: float = 0.0
    octaves: Mapping[int, int] = field(default_factory=dict)

    @property
    def mean_ms(self) -> float | None:
        return self.queued_ms / self.sent if self.sent else None

    @property
    def p95_ms(self) -> float | None:
        """The time in which 95 of 100 were sent, as near as the octaves tell it."""
        return self._quantile_ms(0.95)

    @property
    def failed_share(self) -> float | None:
        """Of those that came to an end, how many failed or expired."""
        ended = self.sent + self.failed + self.expired
        return (self.failed + self.expired) / ended if ended else None

    def _quantile_ms(self, share: float) -> float | None:
        """As if within an octave the times' logarithms were evenly spread: few are long."""
        wanted, below = share * sum(self.octaves.values()), 0
        for number, count in sorted(self.octaves.items()):
            if below + count >= wanted:
                part = (wanted - below) / count
                return float(2 ** (number - 1 + part)) if number else part
            below += count
        return None


@value_class
class Tally:
    """The figures of one way. "" where there is no tenant, no upstream (nothing was tried) or no
    route."""

    tenant: str
    upstream: str
    route: str
    figures: Figures


@value_class
class Tallies:
    """The figures of every way since a moment (Unix seconds), the nearest that is known to the one
    that was asked for."""

    since: float
    by_way: tuple[Tally, ...]


def total(parts: Iterable[Figures]) -> Figures:
    parts = list(parts)
    octaves: dict[int, int] = {}
    for part in parts:
        for number, count in part.octaves.items():
            octaves[number] = octaves.get(number, 0) + count
    return Figures(
        sent=sum(part.sent for part in parts),
        deferred=sum(part.deferred for part in parts),
        failed=sum(part.failed for part in parts),
        expired=sum(part.expired for part in parts),
        queued_ms=sum(part.queued_ms for part in parts),
        octaves=octaves,
    )


def summed(tallies: Iterable[Tally], key: Callable[[Tally], _KeyT | None]) -> dict[_KeyT, Figures]:
    """Those with the same key together; those whose key is None are left out."""
    found: dict[_KeyT, list[Figures]] = {}
    for tally in tallies:
        if (of := key(tally)) is not None:
            found.setdefault(of, []).append(tally.figures)
    return {of: total(parts) for of, parts in found.items()}
