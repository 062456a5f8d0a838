"""What is wrong with a configuration, and where it stands.

Places are 1-based lines and columns of a file, or the name of an environment variable.
"""

from collections.abc import Iterable, Sequence

from relay.model.value import value_class

# The keys and list positions that lead to a value: ("tenants", "acme", "domains", 0).
Loc = tuple[str | int, ...]

# All events and causes; of ten thousand tenants nobody reads more.
_MOST_NAMED = 50


@value_class
class Place:
    """``source`` is the file as the user named it, or a variable, which has no line (0)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@value_class
class Problem:
    """``key`` is the dotted way to the value, "" where the whole file is meant."""

    place: Place | None
    key: str
    message: str

    def __str__(self) -> str:
        parts = (str(self.place or ""), self.key, self.message)
        return ": ".join(part for part in parts if part)


class ConfigError(Exception):
    """The configuration can't be used; ``problems`` has all that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=reading_order)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Places:
    """Where each key and list item stands."""

    def __init__(self) -> None:
        self._known: dict[Loc, Place] = {}

    def __setitem__(self, loc: Loc, place: Place) -> None:
        self._known[loc] = place

    def get(self, loc: Loc) -> Place | None:
        """The place of ``loc``, or of the nearest thing around it that has one."""
        for end in range(len(loc), -1, -1):
            if place := self._known.get(loc[:end]):
                return place
        return None

    def forget(self, loc: Loc) -> None:
        """Drop what is known of ``loc`` and of all beneath it: something else stands there now."""
        self._known = {k: place for k, place in self._known.items() if k[: len(loc)] != loc}

    def problem(self, loc: Loc, message: str) -> Problem:
        return Problem(self.get(loc), dotted(loc), message)


def dotted(loc: Loc) -> str:
    """("listen", 0, "tls") is written listen[0].tls."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in loc)
    return "".join(parts).removeprefix(".")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The ending of a message about an unknown name: the nearest of the ``names``, or all
    of them, as far as anybody would read."""
    from difflib import get_close_matches  # only a configuration with a mistake needs it

    known = sorted(names)
    if close := get_close_matches(name, known, 1):
        return f'; did you mean "{close[0]}"?'
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f" (there is: {', '.join(known[:_MOST_NAMED])}{more})" if known else ""


def reading_order(problem: Problem) -> tuple[bool, int, int]:
    """By line; what has none, like variables, comes last."""
    place = problem.place or Place("")
    return (not place.line, place.line, place.column)
