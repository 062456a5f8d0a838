"""What attempts came to, as a change of the store, with all that is stored beside it.

A settle is repeated when it is unknown whether it was stored. So whatever adds something does it
once: the settle's events, which lie in the same transaction, tell whether it was done before.
"""

from collections.abc import Sequence
from functools import partial
from sqlite3 import Connection

from relay.model.events import suppression_added
from relay.model.message import Ending, Message, Settlement
from relay.model.ports import Also, Told
from relay.queue.sqlite import suppressing
from relay.queue.sqlite.changes import Change, Outcome, new_message, store_new
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.retention import Render
from relay.queue.sqlite.rows import (
    Line,
    json_text,
    micros,
    news_rows,
    number_of,
    settled_row,
    spent_row,
    storable,
)


def settled(
    settlements: Sequence[Settlement],
    lines: Sequence[Line],
    also: Also,
    *,
    now: float,
    render: Render,
) -> Change:
    """``render`` makes the lines of the events that come of what is stored beside."""
    change = Change(lines=lines)
    change.finished = [number_of(s.queue_id) for s in settlements if s.ending is Ending.DONE]
    lasting = [(number_of(s.queue_id), s) for s in settlements if s.ending is not Ending.DONE]
    if lasting:
        # An attempt that goes on keeps its claim: its message's row stays as it is.
        change.settled = [
            settled_row(number, s, now) for number, s in lasting if s.ending is not Ending.GOES_ON
        ]
        change.news = [row for number, s in lasting for row in news_rows(number, s.recipients)]
    if also.spent:
        change.spent = [spent_row(spent, lines) for spent in also.spent]
    if also.messages or also.strikes or also.told:
        added = [new_message(message, claimed=False) for message in also.messages]
        change.work = partial(_store_also, also=also, added=added, lines=lines, render=render)
    return change


def _store_also(
    connection: Connection,
    also: Also,
    added: Sequence[Change],
    lines: Sequence[Line],
    render: Render,
) -> Outcome:
    if _is_stored(connection, also.messages, lines):
        return Outcome(None)
    store_new(connection, added)
    for told in also.told:
        _tell(connection, told)
    events = [
        suppression_added(entry)
        for strike in also.strikes
        for entry in suppressing.strike(connection, strike)
    ]
    return Outcome(None, [(event, render(event)) for event in events])


def _is_stored(connection: Connection, messages: Sequence[Message], lines: Sequence[Line]) -> bool:
    ids = {
        "events": json_text([number_of(event.event_id) for event, _ in lines]),
        "messages": json_text([number_of(message.queue_id) for message in messages]),
    }
    return bool(connection.execute(SQL["is_stored"], ids).fetchone()[0])


def _tell(connection: Connection, told: Told) -> None:
    tenants = json_text([storable(tenant) for tenant in told.tenants])
    parameters = {"tenants": tenants, "until": micros(told.until), "stage": told.stage.value}
    connection.execute(SQL["tell"], parameters)
