"""The audit trail of a relay that runs in the test's own loop, read from its store."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

Event = dict[str, Any]

_LOOK_EVERY_S = 0.03


class Trail:
    """``folder`` holds the relay's store. Events come in the order of their time."""

    def __init__(self, folder: Path) -> None:
        self._store = folder / "relay.db"
        self._seen: dict[int, Event] = {}
        self._looked_at = 0.0

    def events(self, name: str = "", **fields: Any) -> list[Event]:
        """Those of that name that have these fields, as of now."""
        self._look()
        return self._found(name, fields)

    def _found(self, name: str, fields: Event) -> list[Event]:
        return [
            event
            for _, event in sorted(self._seen.items())
            if name in ("", event["event"]) and fields.items() <= event.items()
        ]

    async def told(
        self, name: str, count: int = 1, *, timeout_s: float = 15, **fields: Any
    ) -> list[Event]:
        """The events, as soon as there are ``count`` of them."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := self._found(name, fields)) < count:
                    await asyncio.sleep(_LOOK_EVERY_S)
                    self._look(unless_within_s=_LOOK_EVERY_S / 2)
        except TimeoutError:
            raise AssertionError(
                f"{len(self.events(name, **fields))} of {count} times {name} {fields}"
            ) from None
        return found

    def _look(self, unless_within_s: float = 0.0) -> None:
        """Each row is parsed once; of many who wait, one looks for all."""
        if time.monotonic() - self._looked_at < unless_within_s:
            return
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT id, body FROM event").fetchall()
        store.close()
        for number, body in rows:
            if number not in self._seen:
                self._seen[number] = json.loads(body)
        self._looked_at = time.monotonic()
