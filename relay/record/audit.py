"""Renders audit events with structlog: JSON lines for the store and machines, text for people."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
import structlog

from relay.model.events import Event

_to_json = structlog.processors.JSONRenderer(serializer=orjson.dumps)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# What an operator looks for is red or yellow; the rest of the trail stays quiet.
_LEVELS = {
    "email.send_failed": "error",
    "email.dead_lettered": "error",
    "email.expired": "error",
    "email.purged": "warning",
    "email.deferred": "warning",
    "email.rejected": "warning",
    "tenant.disabled": "warning",
    "upstream.paused": "warning",
    "queue.full": "error",
    "store.failed": "error",
    "config.rejected": "error",
    "client.refused": "warning",
    "client.auth_failed": "warning",
    "alert.failed": "error",
    "test.failed": "error",
}


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
        line = _to_json(None, "", entry)
    except TypeError:
        # Half a surrogate pair, from octets that are no UTF-8; nothing may keep an event untold.
        line = _to_json(None, "", _sound(entry))
    return line if isinstance(line, bytes) else line.encode()


def _sound(value: Any) -> Any:
    """The same value, in strings that have a UTF-8 form."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(key): _sound(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(item) for item in value]
    return value if isinstance(value, int | float | None) else str(value)


class Prettifier:
    """JSON lines of the trail as a person reads them; colours only where asked for."""

    def __init__(self, *, colors: bool) -> None:
        self._console = structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=20, sort_keys=False
        )

    def __call__(self, line: bytes) -> str:
        entry: dict[str, Any] = orjson.loads(line)
        name = entry.pop("event")
        entry.pop("event_id", None)
        moment = entry.pop("ts", "")
        shown: dict[str, Any] = {
            "timestamp": f"{moment[:10]} {moment[11:23]}",
            "level": _LEVELS.get(name, "info"),
            "event": name,
        }
        shown.update({key: _plain(value) for key, value in entry.items() if _telling(value)})
        return str(self._console(None, "", shown))


def _telling(value: Any) -> bool:
    return value is not None and value != [] and value != ""


def _plain(value: Any) -> str:
    """A value without JSON's brackets; nothing in it can move a terminal's cursor."""
    if isinstance(value, list):
        text = ", ".join(_plain(item) for item in value)
    elif isinstance(value, dict):
        text = " ".join(str(item) for item in value.values() if item is not None)
    else:
        text = str(value)
    return _CONTROL.sub("?", text)
