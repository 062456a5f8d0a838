"""The store's one row of running sums, and what is shown of it."""

from sqlite3 import Connection
from typing import NamedTuple

from relay.model.ports import Usage
from relay.queue.sqlite.queries import SQL


class Ledger(NamedTuple):
    """``generation`` moves with what an administrator does, ``changes`` with the messages."""

    generation: int = -1
    changes: int = -1
    messages: int = 0
    content_bytes: int = 0
    dead_messages: int = 0
    dead_bytes: int = 0
    audit_bytes: int = 0


def read_ledger(connection: Connection) -> Ledger:
    return Ledger(*connection.execute(SQL["ledger"]).fetchone())


def charge_ledger(connection: Connection, audit_bytes: int) -> Ledger:
    """Count what events have added to the trail, and read the sums by the same step."""
    return Ledger(*connection.execute(SQL["charge_ledger"], (audit_bytes,)).fetchone())


def usage_of(ledger: Ledger) -> Usage:
    """The content of dead letters takes room like any other."""
    return Usage(
        messages=ledger.messages,
        content_bytes=ledger.content_bytes + ledger.dead_bytes,
        dead_messages=ledger.dead_messages,
        dead_bytes=ledger.dead_bytes,
    )
