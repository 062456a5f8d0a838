"""The trail as a person reads it: a line for each event, cause and remedy beneath a failure.

It knows the fields of events, and neither the store nor the command line. It shows what tells of
the matter; the rest is in the JSON.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

import orjson

from relay.model.value import value_class
from relay.record import administration

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RED, _YELLOW, _GREEN, _BOLD, _DIM = "31", "33", "32", "1", "2"

# What an operator looks for is red or yellow; the rest of the trail stays quiet.
_COLOURS = {
    "email.sent": _GREEN,
    "email.send_failed": _RED,
    "email.dead_lettered": _RED,
    "email.expired": _RED,
    "email.purged": _YELLOW,
    "email.deferred": _YELLOW,
    "email.rejected": _YELLOW,
    "tenant.disabled": _YELLOW,
    "upstream.paused": _YELLOW,
    "queue.full": _RED,
    "store.failed": _RED,
    "config.rejected": _RED,
    "client.refused": _YELLOW,
    "client.auth_failed": _YELLOW,
    "alert.failed": _RED,
    "test.failed": _RED,
}
# Told in words of their own, or for programs alone.
_NOT_BY_NAME = frozenset({
    "ts", "event", "event_id", "tenant", "queue_id", "message_id", "recipients", "reverse_path",
    "header_from", "upstream", "route", "reply", "attempt", "count", "size", "user", "sender",
    "address", "source", "actor", "reason", "until", "cause", "last_cause", "detail", "remedy",
    "queued_ms", "possible_duplicate", "kind", "client", "helo", "scope", "class", "remote_mta",
    "tls", "duration_ms", "unchanged_8bit", "paused_s", "problems", "request", "scenes",
})  # fmt: skip
_SHOWN_RECIPIENTS = 3
_LONGEST_TENANT = 20
_EVENT = 20
# Beneath the event, behind its time.
_INDENT = " " * 21
# On a narrower terminal lines go on near its edge.
_NARROW = 60


@value_class
class _Piece:
    """Words that belong together, in one colour or none."""

    text: str
    colour: str | None = None


def wants_colours(stream: TextIO | None) -> bool:
    """Whether it is a terminal that knows colours, whose user wants them (https://no-color.org)."""
    if stream is None or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Prettifier:
    """JSON lines of the trail as text, without the last line end. ``width`` in columns; None is
    the terminal's, and no end of a line where standard output is none."""

    def __init__(self, *, colors: bool, width: int | None = None) -> None:
        self._colors = colors
        self._width = width
        self._tenant_width = 8

    def __call__(self, line: bytes) -> str:
        entry: dict[str, Any] = orjson.loads(line)
        width = self._width or _terminal_width()
        further = _INDENT if width is None or width >= _NARROW else "  "
        head = list(self._head(entry))
        begin = "  ".join(self._coloured(piece.text, piece.colour) for piece in head)
        column = len("  ".join(piece.text for piece in head))
        lines = [self._filled(begin, column, _story(entry), width, further)]
        for piece in _trouble(entry):
            lines.append(self._filled(further, len(further), [piece], width, further))
        return "\n".join(lines)

    def _head(self, entry: Mapping[str, Any]) -> Iterator[_Piece]:
        """Time, event, tenant: columns."""
        moment, name = str(entry.get("ts", "")), str(entry["event"])
        yield _Piece(f"{moment[:10]} {moment[11:19]}", _DIM)
        yield _Piece(_plain(name).ljust(_EVENT), _colour(entry))
        tenant = _plain(entry.get("tenant") or "-")
        self._tenant_width = max(self._tenant_width, min(len(tenant), _LONGEST_TENANT))
        yield _Piece(tenant.ljust(self._tenant_width))

    def _filled(
        self, text: str, column: int, pieces: Iterable[_Piece], width: int | None, further: str
    ) -> str:
        """The pieces behind ``text``, which is ``column`` wide; lines go on behind ``further``."""
        for word, gap, colour, whole in _words(pieces):
            room = len(word) if width and len(further) + whole > width else whole
            if width and column > len(further) and column + gap + room > width:
                text = f"{text.rstrip()}\n{further}"
                column = len(further)
            blanks = 0 if column == len(further) else gap
            text += " " * blanks + self._coloured(word, colour)
            column += blanks + len(word)
        return text.rstrip()

    def _coloured(self, text: str, colour: str | None) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colors and colour and text else text


def _words(pieces: Iterable[_Piece]) -> Iterator[tuple[str, int, str | None, int]]:
    """Each word, the blanks before it, its colour; how much should stay together from there on:
    a piece that fits on a line is not torn."""
    for piece in pieces:
        for number, word in enumerate(piece.text.split()):
            yield word, 1 if number else 2, piece.colour, len(word if number else piece.text)


def _story(entry: Mapping[str, Any]) -> Iterator[_Piece]:
    """Who to whom, by what, what was said; who did it and why."""
    for text in (
        _correspondents(entry),
        _subject(entry),
        _way(entry),
        _reply(entry.get("reply")),
        _told(entry),
        _administration(entry),
        administration.told(entry),
        *_others(entry),
    ):
        if text:
            yield _Piece(_plain(text))
    if entry.get("queue_id"):
        yield _Piece(_plain(entry["queue_id"]), _DIM)


def _trouble(entry: Mapping[str, Any]) -> Iterator[_Piece]:
    """Cause, with what it was before it expired, and what was seen; then what to do about it; or
    what administrators did and found, line by line."""
    cause, last = entry.get("cause"), entry.get("last_cause")
    why = f"{cause} ({last})" if last and last != cause else cause
    if entry["event"] == "upstream.resumed":
        why = None  # it is over, and told with how long it took
    if text := ": ".join(str(part) for part in (why, entry.get("detail")) if part):
        yield _Piece(_plain(text), _colour(entry))
    if remedy := entry.get("remedy"):
        yield _Piece(_plain(remedy))
    for detail in administration.details(entry):
        yield _Piece(_plain(detail))


def _colour(entry: Mapping[str, Any]) -> str:
    failed = entry.get("result") in ("red", "failed")
    return _RED if failed else _COLOURS.get(str(entry["event"]), _BOLD)


def _correspondents(entry: Mapping[str, Any]) -> str:
    recipients = entry.get("recipients")
    if not isinstance(recipients, list):
        return str(entry.get("reverse_path") or "")
    more = len(recipients) - _SHOWN_RECIPIENTS
    whom = ", ".join(map(str, recipients[:_SHOWN_RECIPIENTS])) + (f" +{more}" if more > 0 else "")
    return f"{entry.get('reverse_path') or '<>'} -> {whom}"


def _subject(entry: Mapping[str, Any]) -> str:
    """What an event is about that is about no message; from whom it came, of one that came."""
    address = entry.get("address") or entry.get("sender")
    client = entry.get("client")
    user = f" as {entry['user']}" if entry.get("user") else ""
    words = (address, entry.get("source"), f"from {client}{user}" if client else None)
    return " ".join(str(word) for word in words if word)


def _way(entry: Mapping[str, Any]) -> str:
    upstream, route = entry.get("upstream"), entry.get("route")
    if not upstream:
        return ""
    return f"via {upstream}" + (f" ({route})" if route and route != "tenant" else "")


def _reply(reply: Any) -> str:
    if not isinstance(reply, dict):
        return str(reply or "")
    return " ".join(str(part) for part in reply.values() if part is not None)


def _told(entry: Mapping[str, Any]) -> str:
    """What is out of the ordinary, and how long it took."""
    words = [*_unusual(entry), *_times(entry)]
    if entry.get("possible_duplicate"):
        words.append("possible duplicate")
    return ", ".join(words)


def _unusual(entry: Mapping[str, Any]) -> Iterator[str]:
    if kind := entry.get("kind"):
        yield str(kind) if str(entry["event"]).startswith("email.") else f"about {kind}"
    if (entry.get("attempt") or 1) > 1:
        yield f"attempt {entry['attempt']}"
    if (entry.get("count") or 1) > 1:
        yield f"{entry['count']} times"


def _times(entry: Mapping[str, Any]) -> Iterator[str]:
    name = str(entry["event"])
    if name == "email.sent" and entry.get("queued_ms") is not None:
        yield f"after {_length(entry['queued_ms'] / 1000)}"
    if name.startswith("test.") and entry.get("duration_ms") is not None:
        yield f"in {_length(entry['duration_ms'] / 1000)}"
    if entry.get("paused_s"):
        cause = f" of {entry['cause']}" if entry.get("cause") else ""
        yield f"after {_length(entry['paused_s'])}{cause}"


def _administration(entry: Mapping[str, Any]) -> str:
    """Who, until when, why."""
    actor, until, reason = (entry.get(key) for key in ("actor", "until", "reason"))
    words = [f"by {actor}"] if actor else []
    if until:
        words.append(f"until {str(until)[:10]} {str(until)[11:19]}")
    text = " ".join(words)
    return f"{text}: {reason}" if reason and text else str(reason or text)


def _others(entry: Mapping[str, Any]) -> Iterator[str]:
    if administration.told(entry) is not None:
        return
    for key, value in entry.items():
        if key not in _NOT_BY_NAME and value not in (None, "", [], {}):
            yield f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_value, value))
    if isinstance(value, dict):
        return ",".join(f"{key}:{_value(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _length(seconds: float) -> str:
    """140ms, 1.2s, 5m, 3h, 2d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    for size, unit in ((86400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 60:.0f}m"


def _plain(value: Any) -> str:
    """Nothing in it can move a terminal's cursor, or turn the direction of writing."""
    return _CONTROL.sub("?", str(value))


def _terminal_width() -> int | None:
    try:
        descriptor = sys.stdout.fileno()
        return os.get_terminal_size(descriptor).columns or None
    except (AttributeError, OSError, ValueError):
        return None
