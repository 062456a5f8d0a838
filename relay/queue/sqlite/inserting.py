"""Any number of rows by few statements: each lets go of the interpreter lock (see changes.py)."""

from collections.abc import Sequence
from itertools import chain
from sqlite3 import Connection

from relay.queue.sqlite.rows import Row


class Insert:
    """An INSERT of many rows by few steps: 64 at once, then 32, and so on down to one."""

    _SIZES = (64, 32, 16, 8, 4, 2, 1)

    def __init__(self, sql: str) -> None:
        head, _, rest = sql.partition("VALUES ")
        row, _, tail = rest.partition("\n")
        self._statements = {
            size: f"{head}VALUES {', '.join([row] * size)} {tail}" for size in self._SIZES
        }

    def __call__(self, connection: Connection, rows: Sequence[Row]) -> int:
        """How many were not there yet."""
        start = inserted = 0
        for size, statement in self._statements.items():
            while len(rows) - start >= size:
                some = rows[start : start + size]
                inserted += connection.execute(statement, list(chain.from_iterable(some))).rowcount
                start += size
        return inserted
