"""What the event loop asks the store itself, before every attempt: has anything changed?

SQLite answers from shared memory in 3 us (PRAGMA data_version); only when the answer differs is a
row read (6 us more), and only when an administrator has been at work the toggles.
"""

import math
import sqlite3
import time
from contextlib import suppress
from sqlite3 import Connection

from relay.model.toggle import Toggle
from relay.queue.sqlite.ledger import Ledger, read_ledger
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import micros, toggle_from

# How old the usage may be as other processes have changed it. Our own changes are noted at once.
_USAGE_AGE_S = 0.1


class Watch:
    """Used on the event loop's thread alone, with a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._version = -1
        self._ledger = Ledger()
        self._looked_at = -math.inf
        self._told_generation = -1
        self._next_expiry = math.inf

    def note(self, ledger: Ledger) -> None:
        """What the writer has just committed; it may have been overtaken by a look."""
        if ledger.changes > self._ledger.changes:
            self._ledger = ledger

    def ledger(self) -> Ledger:
        """The last one known where the disk fails: who asks for room must get an answer."""
        if time.monotonic() - self._looked_at > _USAGE_AGE_S:
            with suppress(sqlite3.Error):
                self._look()
        return self._ledger

    def toggles(self) -> dict[str, Toggle] | None:
        """Those in force, if there was a change or one has run out since the last call."""
        self._look()
        now = time.time()
        if self._ledger.generation == self._told_generation and now < self._next_expiry:
            return None
        generation = self._ledger.generation
        rows = self._connection.execute(SQL["toggles"], {"now": micros(now)}).fetchall()
        toggles = {toggle.tenant: toggle for toggle in map(toggle_from, rows)}
        self._told_generation = generation
        self._next_expiry = min(
            (toggle.until for toggle in toggles.values() if toggle.until is not None),
            default=math.inf,
        )
        return toggles

    def close(self) -> None:
        self._connection.close()

    def _look(self) -> None:
        version = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        self._looked_at = time.monotonic()
        if version != self._version:
            self._ledger = read_ledger(self._connection)
            self._version = version
