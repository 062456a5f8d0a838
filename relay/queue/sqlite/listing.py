"""Reads messages for the verbs, page by page, without their content."""

from collections.abc import Iterator, Sequence
from sqlite3 import Connection
from typing import Any

import orjson

from relay.model.identifiers import decode
from relay.model.message import Message
from relay.model.value import value_class
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import CLAIMED, DEAD_SINCE, DUE, json_text, message_from, seconds

_AT_ONCE = 200


@value_class
class Listed:
    """A message and how it stands. ``due`` and ``dead_since`` in Unix seconds."""

    message: Message
    due: float
    claimed: bool
    dead_since: float | None


@value_class
class Selection:
    """All dead letters, or all that is queued; of one tenant, if one is named."""

    dead: bool
    tenant: str | None = None


def pages(connection: Connection, selection: Selection) -> Iterator[list[Listed]]:
    """The queued in order of arrival, the dead in order of death. Between two pages other
    processes may change what is yet to come."""
    query = SQL["list_dead" if selection.dead else "list_queued"]
    place = {"after": -1, "after_id": -1}
    while True:
        parameters = place | {"tenant": selection.tenant, "most": _AT_ONCE}
        rows = connection.execute(query, parameters).fetchall()
        if rows:
            yield [_listed(facts) for (facts,) in rows]
        if len(rows) < _AT_ONCE:
            return
        last = orjson.loads(rows[-1][0])
        place = {"after": last[DEAD_SINCE], "after_id": last[0]}


def some(connection: Connection, numbers: Sequence[int]) -> list[Listed]:
    """Those of the messages that exist."""
    rows = connection.execute(SQL["some_messages"], (json_text(numbers),)).fetchall()
    return [_listed(facts) for (facts,) in rows]


def one(connection: Connection, queue_id: str) -> Listed | None:
    """None also for what can be no queue_id."""
    try:
        found = some(connection, [decode(queue_id)])
    except ValueError:
        return None
    return found[0] if found else None


def _listed(text: str) -> Listed:
    facts: list[Any] = orjson.loads(text)
    dead_since = facts[DEAD_SINCE]
    return Listed(
        message_from(facts),
        seconds(facts[DUE]),
        bool(facts[CLAIMED]),
        None if dead_since is None else seconds(dead_since),
    )
