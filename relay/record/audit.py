"""Renders audit events with structlog: JSON lines, for the store and for machines."""

from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from relay.model.events import Event

if TYPE_CHECKING:
    from structlog.processors import JSONRenderer


def rfc3339(unix_s: float) -> str:
    """UTC with microseconds, as every event has it."""
    second, micros = divmod(round(unix_s * 1_000_000), 1_000_000)
    return f"{_to_the_second(second)}.{micros:06}Z"


@lru_cache(maxsize=16)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def json_line(event: Event) -> bytes:
    """One JSON object without a line end."""
    entry: dict[str, Any] = {
        "ts": rfc3339(event.ts),
        "event": event.name,
        "event_id": event.event_id,
    }
    if event.queue_id is not None:
        entry["queue_id"] = event.queue_id
        entry["tenant"] = event.tenant
        entry["message_id"] = event.message_id
    elif event.tenant is not None:
        entry["tenant"] = event.tenant
    entry.update(event.fields)
    if isinstance(until := entry.get("until"), float):
        entry["until"] = rfc3339(until)
    try:
        line = _renderer()(None, "", entry)
    except TypeError:
        # Half a surrogate pair, from octets that are no UTF-8; nothing may keep an event untold.
        line = _renderer()(None, "", _sound(entry))
    return line if isinstance(line, bytes) else line.encode()


@cache
def _renderer() -> "JSONRenderer":
    """structlog takes longer to import than most verbs to run, and most only read."""
    from structlog.processors import JSONRenderer

    return JSONRenderer(serializer=orjson.dumps)


def _sound(value: Any) -> Any:
    """The same value, in strings that have a UTF-8 form."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(key): _sound(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(item) for item in value]
    return value if isinstance(value, int | float | None) else str(value)
