"""Pauses in the store: what the relay found, and what an administrator has said of upstreams.

The relay's word never overrules the administrator's, whichever is stored first.
"""

from collections.abc import Sequence
from sqlite3 import Connection

from relay.model.pause import Held, Pause
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import micros, pause_from, pause_row, storable


def stored(connection: Connection) -> dict[Held, Pause]:
    pauses = map(pause_from, connection.execute(SQL["pauses"]).fetchall())
    return {pause.held: pause for pause in pauses}


def keep(
    connection: Connection, pauses: Sequence[Pause], ended: Sequence[Held], now: float
) -> Outcome:
    """What the relay has found."""
    for pause in pauses:
        connection.execute(SQL["set_pause"], pause_row(pause))
    for held in ended:
        place = {
            "upstream": held.upstream,
            "tenant": storable(held.tenant),
            "sender": storable(held.sender),
        }
        connection.execute(SQL["end_pause"], place | {"now": micros(now)})
    return Outcome(None)


def end_all(connection: Connection, upstream: str) -> list[Pause]:
    """Every pause on the upstream, however far it reached."""
    return [
        pause_from(row) for row in connection.execute(SQL["end_pauses"], (upstream,)).fetchall()
    ]


def overlaid(
    stored: dict[Held, Pause], pauses: Sequence[Pause], ended: Sequence[Held]
) -> dict[Held, Pause]:
    """What will be stored once these have been kept."""
    said = {held for held, pause in stored.items() if pause.by_hand}
    after = stored | {pause.held: pause for pause in pauses if pause.held not in said}
    return {held: pause for held, pause in after.items() if held in said or held not in ended}
