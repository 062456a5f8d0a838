"""The stores that the contract holds for. A second store is a second backend, and no other test."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.model.events import Event
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

Render = Callable[[Event], bytes]
Committed = Callable[[Sequence[tuple[Event, bytes]]], None]


class SqliteBackend:
    """Where the store lies, and how it is opened by the relay and by the verbs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "store" / "relay.db"

    def store(
        self, committed: Committed = lambda told: None, render: Render = json_line
    ) -> SqliteStore:
        return SqliteStore(self.path, render=render, committed=committed)

    def administration(self) -> Administration:
        return Administration(self.path, json_line)

    def trail(self, **wanted: Any) -> list[bytes]:
        with self.administration() as administration:
            return list(administration.events(**wanted))


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteBackend:
    return {"sqlite": SqliteBackend}[request.param](tmp_path)


@pytest.fixture
async def store(backend: SqliteBackend) -> AsyncIterator[SqliteStore]:
    store = backend.store()
    await store.open()
    yield store
    await store.close()
