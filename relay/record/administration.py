"""What administrators' events tell, in a person's words: what was changed, what was found.

It knows the fields of these events; ``reading`` sets the words, with who did it and why.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]

_SHOWN_NAMES = 10


def told(entry: Entry) -> str | None:
    """In a few words what came of it; None of an event that is no such one."""
    tell = _TOLD.get(str(entry["event"]))
    return tell(entry) if tell else None


def details(entry: Entry) -> Iterator[str]:
    """What goes beneath, a line each."""
    tell = _DETAILS.get(str(entry["event"]))
    return iter(tell(entry)) if tell else iter(())


def _loaded(entry: Entry) -> str:
    counts = [_counted(entry.get(key), key.removesuffix("s")) for key in ("tenants", "upstreams")]
    return f"{_path(entry)}: {', '.join(counts)}"


def _reloaded(entry: Entry) -> str:
    return _path(entry) + ("" if any(_changes(entry)) else ", no change")


def _rejected(entry: Entry) -> str:
    return f"{_path(entry)}: nothing was changed"


def _path(entry: Entry) -> str:
    return str(entry.get("path") or "the environment")


def _changes(entry: Entry) -> Iterator[str]:
    """ "tenants: 1 added (globex), 2 changed (acme, initech)", for each kind that has changed."""
    for kind in ("tenants", "upstreams"):
        of_kind = entry.get(kind) or {}
        parts = [f"{len(names)} {word} ({_named(names)})"
                 for word, names in of_kind.items() if names]  # fmt: skip
        if parts:
            yield f"{kind}: {', '.join(parts)}"
    if sections := entry.get("sections"):
        yield f"other sections: {', '.join(sections)}"


def _named(names: Sequence[str]) -> str:
    more = f" +{len(names) - _SHOWN_NAMES}" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def _problems(entry: Entry) -> Iterable[str]:
    return map(str, entry.get("problems") or ())


def _checked(entry: Entry) -> str:
    """The result goes without saying."""
    return ", ".join(f"{entry.get(verdict) or 0} {verdict}" for verdict in _VERDICTS)


def _red(entry: Entry) -> Iterator[str]:
    for check in entry.get("red_checks") or ():
        yield f"red: {check}"


def _drilled(entry: Entry) -> str:
    scenes, failed = len(entry.get("scenes") or ()), len(entry.get("failed") or ())
    told = f"{failed} of {scenes} scenes not as they should be" if failed else f"{scenes} scenes"
    return f"{entry.get('result')}, {told}"


def _drill_details(entry: Entry) -> Iterator[str]:
    outcomes = entry.get("scenes") or {}
    for scene in entry.get("failed") or ():
        yield f"{_words(scene)}: {_words(outcomes.get(scene) or 'failed')}"
    yield from map(str, entry.get("findings") or ())


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def _counted(number: Any, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


_VERDICTS = ("green", "red", "unknown")
_TOLD: Mapping[str, Callable[[Entry], str]] = {
    "config.loaded": _loaded,
    "config.reloaded": _reloaded,
    "config.rejected": _rejected,
    "doctor.checked": _checked,
    "drill.run": _drilled,
}
_DETAILS: Mapping[str, Callable[[Entry], Iterable[str]]] = {
    "config.reloaded": _changes,
    "config.rejected": _problems,
    "doctor.checked": _red,
    "drill.run": _drill_details,
}
