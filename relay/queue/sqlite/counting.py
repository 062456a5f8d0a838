"""How many messages there are, of which kind and whose."""

from sqlite3 import Connection

import orjson

from relay.model.causes import Cause
from relay.model.identifiers import encode
from relay.model.ports import Share, Spent, Stage, Untold
from relay.model.value import value_class
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.ledger import read_ledger
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import micros, seconds


@value_class
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


def shares(connection: Connection) -> dict[str, Share]:
    rows = orjson.loads(connection.execute(SQL["shares"]).fetchone()[0])
    return {tenant: Share(messages, octets) for tenant, messages, octets in rows}


def untold(connection: Connection, purge_soon: float) -> list[Untold]:
    """The longest dead first."""
    rows = connection.execute(SQL["untold"], {"purge_soon": micros(purge_soon)}).fetchall()
    return [
        Untold(tenant, Stage(stage), messages, encode(number), *_why(facts))
        for tenant, stage, messages, number, facts in rows
    ]


def _why(facts: str | None) -> tuple[Cause | None, str | None]:
    cause, remedy = orjson.loads(facts) if facts else (None, None)
    return cause and Cause(cause), remedy


def spent(connection: Connection, since_slot: int) -> Outcome:
    """A list of Spent; what is older is forgotten."""
    connection.execute(SQL["forget_spent"], (since_slot,))
    rows = orjson.loads(connection.execute(SQL["spent"]).fetchone()[0])
    return Outcome([Spent(*row) for row in rows])
