"""Whose mail is what lies in the store, by the tenants of another configuration."""

from collections.abc import Callable
from sqlite3 import Connection

import orjson

from relay.model.ports import Bound
from relay.model.value import value_class
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import json_text, storable

# Some milliseconds of a reader, and at most so many of the writer.
_AT_ONCE = 1000

TenantOf = Callable[[str, str, Bound], str]


@value_class
class Page:
    """``moves`` are those of its messages whose tenant is another now, as (id, tenant). ``last`` is
    the id of the last one looked at; None: there was none."""

    moves: list[tuple[int, str]]
    last: int | None


def page(connection: Connection, after: int, tenant_of: TenantOf) -> Page:
    """The next messages behind that id."""
    rows = connection.execute(SQL["senders"], {"after": after, "most": _AT_ONCE}).fetchall()
    moves = [
        (number, now)
        for number, tenant, reverse_path, header_from, bound in rows
        if (now := storable(tenant_of(reverse_path, header_from, _bound(bound)))) != tenant
    ]
    return Page(moves, rows[-1][0] if rows else None)


def move(connection: Connection, moves: list[tuple[int, str]]) -> Outcome:
    """How many there were: those that have ended meanwhile are left out."""
    return Outcome(connection.execute(SQL["move_to_tenants"], (json_text(moves),)).rowcount)


def sorted_by(connection: Connection) -> str:
    """The tenancy by which all of it was sorted last."""
    tenancy: str = connection.execute(SQL["tenancy"]).fetchone()[0]
    return tenancy


def done(connection: Connection, tenancy: str) -> Outcome:
    connection.execute(SQL["set_tenancy"], (tenancy,))
    return Outcome(None)


def _bound(stored: str | None) -> Bound:
    return None if stored is None else tuple(orjson.loads(stored))
