"""The running sums of what mail came to: charged with the events that tell of it, by half an hour.

They are what ``relay status`` reads, since a day's trail may have a million events.
"""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from sqlite3 import Connection

import orjson

from relay.model.events import Event
from relay.model.figures import Figures, Tallies, Tally, octave
from relay.model.identifiers import made_at
from relay.queue.sqlite.inserting import Insert
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import Row, micros, storable

# As in migrations/0003.sql.
_SLOT_S = 1800
_RESULTS = {
    "email.sent": "sent",
    "email.deferred": "deferred",
    "email.send_failed": "failed",
    "email.expired": "expired",
}
# Tenant, upstream, route; with slot, result and octave.
_Way = tuple[str | None, str | None, str | None]
_Key = tuple[_Way, int, str, int]
# So much of the day before is kept, however short the trail has to be.
_KEPT_S = 25 * 3600.0


_add_tallies = Insert(SQL["add_tallies"])


def charge(connection: Connection, events: Iterable[Event]) -> None:
    """Count what new events say of applications' mail. Raises IntegrityError, having done part of
    it, where mail takes a way for the first time (see ``learn_ways``)."""
    sums: dict[_Key, list[float]] = {}
    for event in events:
        result = _RESULTS.get(event.name)
        if result is None or "kind" in event.fields:
            continue
        fields, at = event.fields, event.ts
        recipients = len(fields["recipients"])
        queued_ms = fields["queued_ms"] if result == "sent" else 0.0
        way = event.tenant, fields["upstream"], fields["route"]
        key = (way, int(at) // _SLOT_S, result, octave(queued_ms))
        count = sums.get(key)
        if count is None:
            sums[key] = [recipients, recipients * queued_ms, at]
        else:
            count[0] += recipients
            count[1] += recipients * queued_ms
            count[2] = max(count[2], at)
    if sums:
        _add_tallies(connection, [_row(key, *count) for key, count in sums.items()])


def learn_ways(connection: Connection, events: Iterable[Event]) -> None:
    """Have all ways known that the events count for."""
    ways = {
        _stored_way((event.tenant, event.fields["upstream"], event.fields["route"]))
        for event in events
        if event.name in _RESULTS
    }
    connection.executemany(SQL["add_way"], sorted(ways))


def since(connection: Connection, moment: float) -> Tallies:
    """From the beginning of the slot that the moment is in."""
    slot = _slot(moment)
    rows = orjson.loads(connection.execute(SQL["tallies"], (slot,)).fetchone()[0])
    by_way = tuple(
        Tally(tenant, upstream, route, _figures(of_way))
        for (tenant, upstream, route), of_way in groupby(rows, key=itemgetter(0, 1, 2))
    )
    return Tallies(float(slot * _SLOT_S), by_way)


def forget(connection: Connection, now: float) -> None:
    """What the trail does not tell of any more, unless it is of the last day."""
    kept_from = now - _KEPT_S
    (first,) = connection.execute(SQL["first_event"]).fetchone()
    if first is not None:
        kept_from = min(kept_from, made_at(first))
    connection.execute(SQL["forget_tallies"], (_slot(kept_from),))


def _row(key: _Key, recipients: float, queued_ms: float, last_at: float) -> Row:
    way, slot, result, number = key
    return (slot, *_stored_way(way), result, number, recipients, queued_ms, micros(last_at))


def _stored_way(way: _Way) -> tuple[str, str, str]:
    tenant, upstream, route = way
    return storable(tenant or ""), storable(upstream or ""), route or ""


def _figures(rows: Iterable[Row]) -> Figures:
    counts = dict.fromkeys(_RESULTS.values(), 0)
    octaves: dict[int, int] = {}
    total_ms = 0.0
    for *_, result, number, recipients, queued_ms in rows:
        counts[result] += recipients
        if result == "sent":
            octaves[number] = recipients
            total_ms += queued_ms
    return Figures(**counts, queued_ms=total_ms, octaves=octaves)


def _slot(moment: float) -> int:
    return int(moment // _SLOT_S)
