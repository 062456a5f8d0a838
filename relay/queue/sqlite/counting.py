"""How many messages there are, of which kind and whose: for the verbs and the metrics."""

from dataclasses import dataclass
from sqlite3 import Connection

from relay.queue.sqlite.ledger import read_ledger
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import seconds


@dataclass(frozen=True, slots=True)
class Counts:
    """``pending`` wait for their time, ``claimed`` are under way. ``oldest_at``, in Unix seconds,
    is when the oldest of both arrived. ``pending_of`` counts by tenant ("" is none)."""

    pending: int
    claimed: int
    dead: int
    oldest_at: float | None
    pending_of: dict[str, int]


def counts(connection: Connection) -> Counts:
    connection.execute("BEGIN")
    try:
        ledger = read_ledger(connection)
        pending_of = dict(connection.execute(SQL["count_waiting"]).fetchall())
        oldest = connection.execute(SQL["oldest_message"]).fetchone()
    finally:
        connection.execute("ROLLBACK")
    pending = sum(pending_of.values())
    return Counts(
        pending=pending,
        claimed=ledger.messages - pending,
        dead=ledger.dead_messages,
        oldest_at=seconds(oldest[0]) if oldest else None,
        pending_of=pending_of,
    )
