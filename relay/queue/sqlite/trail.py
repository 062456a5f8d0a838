"""Reads the trail, page by page: no reader keeps the log from being folded into the file."""

from collections.abc import Collection, Iterator
from sqlite3 import Connection
from typing import Any

from relay.model.identifiers import decode, first_at
from relay.model.value import value_class
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import json_text

_AT_ONCE = 500
# Nearly every message has these; they are not in the index event_rare.
_FREQUENT = frozenset({"email.accepted", "email.sent", "email.deferred"})
_END = 2**63 - 1


@value_class
class Wanted:
    """Moments in Unix seconds: from ``since`` on, and before ``until``. ``after_id`` is an
    event_id, whose successors are wanted. No names: all events."""

    since: float | None = None
    until: float | None = None
    names: Collection[str] = ()
    tenant: str | None = None
    queue_id: str | None = None
    after_id: str | None = None
    limit: int | None = None

    @property
    def first(self) -> int:
        since = 0 if self.since is None else first_at(self.since)
        return max(since, 0 if self.after_id is None else decode(self.after_id) + 1)

    @property
    def end(self) -> int:
        return _END if self.until is None else first_at(self.until)


def events(connection: Connection, wanted: Wanted) -> Iterator[bytes]:
    """The lines as they were stored, in order of their time."""
    query, parameters = _query(wanted)
    first, left = wanted.first, wanted.limit
    while left is None or left > 0:
        most = _AT_ONCE if left is None else min(left, _AT_ONCE)
        rows = connection.execute(query, parameters | {"first": first, "most": most}).fetchall()
        for _, body in rows:
            yield body.encode()
        if len(rows) < most:
            return
        first = rows[-1][0] + 1
        left = None if left is None else left - len(rows)


def latest(connection: Connection, names: Collection[str], tenant: str | None) -> bytes | None:
    """The last line of some events, of a tenant or of whomever. ValueError for what nearly every
    message has: there is no index to find the last of them."""
    if frequent := _FREQUENT & set(names):
        raise ValueError(f"too frequent to be found by name: {', '.join(sorted(frequent))}")
    query = SQL["latest"] if tenant is None else SQL["latest_of_tenant"]
    row = connection.execute(query, {"names": json_text(list(names)), "tenant": tenant}).fetchone()
    return None if row is None else row[0].encode()


def _query(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """By the narrowest index there is."""
    names = json_text(sorted(wanted.names)) if wanted.names else None
    parameters: dict[str, Any] = {"end": wanted.end, "names": names, "tenant": wanted.tenant}
    if wanted.queue_id is not None:
        return SQL["events_of_message"], parameters | {"message": decode(wanted.queue_id)}
    if wanted.names and not _FREQUENT & set(wanted.names):
        return SQL["events_rare"], parameters
    if wanted.tenant is not None:
        return SQL["events_of_tenant"], parameters
    return SQL["events"], parameters
