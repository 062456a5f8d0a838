"""The nouns of the benchmark: what is measured, what is wanted of it, and a row of the table."""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contestants import Contestant, Maker, Setting
from upstream import Upstream

MIB = 1024 * 1024


@dataclass(frozen=True)
class Measure:
    """Something that one round gives a number for."""

    name: str
    digits: int = 1

    def shown(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"


RATE = Measure("messages/s")
ACCEPTED = Measure("accepted/s")
CPU = Measure("CPU ms/message", 2)
IDLE = Measure("idle MiB")
PEAK = Measure("peak MiB")

Figures = Mapping[Measure, float]


@dataclass(frozen=True)
class Goal:
    """What the relay's figure is to be, on its own or as a multiple of another's."""

    measure: Measure
    bound: float
    at_least: bool = False
    of_other: bool = False

    def reached(self, ours: float, theirs: float | None) -> bool | None:
        """None where nobody can say: the other was not measured."""
        if self.of_other and not theirs:
            return None
        value = ours / theirs if self.of_other and theirs else ours
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{self.measure.name}: {sign} {self.bound:.4g}{' times' * self.of_other}"


def at_least_times(measure: Measure, bound: float) -> Goal:
    return Goal(measure, bound, at_least=True, of_other=True)


def at_most_times(measure: Measure, bound: float) -> Goal:
    return Goal(measure, bound, of_other=True)


def at_most(measure: Measure, bound: float) -> Goal:
    return Goal(measure, bound)


def at_least(measure: Measure, bound: float) -> Goal:
    return Goal(measure, bound, at_least=True)


@dataclass(frozen=True)
class Effort:
    """How much of everything; a round's length, and little else, follows from it."""

    messages: int = 4000
    rounds: int = 3
    large_sessions: int = 100
    backlog: int = 20_000
    tenants: int = 10_000
    seconds: int = 20


@dataclass(frozen=True)
class Round:
    """Where one round takes place: an empty folder on the disk to be measured, one contestant."""

    folder: Path
    make: Maker
    effort: Effort

    def upstream(self, round_trip_s: float = 0) -> Upstream:
        return Upstream(self.folder, round_trip_s)

    def contestant(self, upstream: Upstream, setting: Setting | None = None) -> Contestant:
        home = Path(tempfile.mkdtemp(dir=self.folder, prefix="contestant-"))
        home.chmod(0o755)  # Postfix's processes have another user
        return self.make(home, upstream, setting or Setting())


@dataclass(frozen=True)
class Row:
    """One kind of work. ``beside`` is the contestant that the goals speak of."""

    name: str
    work: str
    contestants: tuple[str, ...]
    measure: Callable[[Round], Figures]
    goals: tuple[Goal, ...] = ()
    beside: str = "postfix-20"


class Failed(Exception):
    """A round that did not do its work: mail was refused, lost or came twice."""


def medians(rounds: Sequence[Figures]) -> Figures:
    return {
        measure: statistics.median(figures[measure] for figures in rounds) for measure in rounds[0]
    }
