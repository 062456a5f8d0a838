"""Toggles that end by themselves (nobody minds one whose time is over), and how far a relay has
come with what was ordered."""

from sqlite3 import Connection

from relay.model.events import tenant_reset
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.retention import Render
from relay.queue.sqlite.rows import micros


def any_over(connection: Connection, now: float) -> bool:
    return bool(connection.execute(SQL["any_toggle_over"], {"now": micros(now)}).fetchone()[0])


def end_over(connection: Connection, now: float, render: Render) -> Outcome:
    """How many went. The configuration counts again for their tenants."""
    rows = connection.execute(SQL["end_toggles"], {"now": micros(now)}).fetchall()
    if rows:
        connection.execute(SQL["move_generation"])
    events = [tenant_reset(tenant, "relay", "the time of the toggle is over") for (tenant,) in rows]
    return Outcome(len(rows), [(event, render(event)) for event in events])


def reach(connection: Connection, generation: int) -> Outcome:
    connection.execute(SQL["reach"], (generation,))
    return Outcome(None)


def answer(connection: Connection, request: int) -> Outcome:
    connection.execute(SQL["answer_reload"], (request,))
    return Outcome(None)
