"""What the event loop asks the store itself, before every attempt: has anything changed?

SQLite answers from shared memory in 3 us (PRAGMA data_version); only when the answer differs is a
row read (6 us more), and only when an administrator has been at work what he has said.
"""

import math
import sqlite3
import time
from collections.abc import Collection
from contextlib import suppress
from sqlite3 import Connection

from relay.model.ports import Orders
from relay.model.suppression import Suppression
from relay.queue.sqlite import pausing, suppressing
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
        self._overtaken = False
        self._ledger = Ledger()
        self._looked_at = -math.inf
        self._told_generation = -1
        self._next_expiry = math.inf
        self._any_suppression = False
        self._listed_generation: int | None = None

    def note(self, ledger: Ledger) -> None:
        """What the writer has just committed; it may have been overtaken by a look."""
        self._overtaken = True
        if ledger.changes > self._ledger.changes:
            self._ledger = ledger

    def ledger(self) -> Ledger:
        """The last one known where the disk fails: who asks for room must get an answer."""
        if time.monotonic() - self._looked_at > _USAGE_AGE_S:
            with suppress(sqlite3.Error):
                self._look()
        return self._ledger

    def orders(self) -> Orders | None:
        """Those in force, if there was a change or a toggle has run out since the last call."""
        self._look()
        now = time.time()
        if self._ledger.generation == self._told_generation and now < self._next_expiry:
            return None
        # Read before what it counts, which may be newer then, and is told of again.
        generation, *reload = self._connection.execute(SQL["standing"]).fetchone()
        rows = self._connection.execute(SQL["toggles"], {"now": micros(now)}).fetchall()
        toggles = {toggle.tenant: toggle for toggle in map(toggle_from, rows)}
        orders = Orders(toggles, pausing.stored(self._connection), generation, *reload)
        self._told_generation = generation
        self._next_expiry = min(
            (toggle.until for toggle in toggles.values() if toggle.until is not None),
            default=math.inf,
        )
        return orders

    def tell_again(self) -> None:
        """The next call of ``orders`` answers, even if nothing has changed until then."""
        self._told_generation = -1

    def suppressed(self, tenant: str, addresses: Collection[str]) -> dict[str, Suppression]:
        """An empty list is known to be empty until it is heard of a change."""
        generation = self._ledger.generation
        if generation != self._listed_generation:
            self._any_suppression = suppressing.any_at_all(self._connection)
            self._listed_generation = generation
        if not self._any_suppression:
            return {}
        return suppressing.found(self._connection, tenant, addresses, time.time())

    def look_for_suppressions(self) -> None:
        """This relay may have added the first, or forgotten the last."""
        self._listed_generation = None

    def close(self) -> None:
        self._connection.close()

    def _look(self) -> None:
        """After a commit of our own the version differs in any case: then the row is read at
        once."""
        version = self._version
        if not self._overtaken:
            version = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        self._looked_at = time.monotonic()
        if self._overtaken or version != self._version:
            self._ledger = read_ledger(self._connection)
            self._version = version
            self._overtaken = False
