"""What is kept for a time only: dead letters, the trail, suppressions, and disk space that nothing
needs.

Each function is a bounded bite, so that mail is stored between one and the next.
"""

from collections.abc import Callable, Iterable
from sqlite3 import Connection
from typing import Any

import orjson

from relay.model.events import Event, email_purged, suppression_removed
from relay.model.identifiers import first_at
from relay.model.message import DEAD_STATES
from relay.model.ports import Retention
from relay.model.value import value_class
from relay.queue.sqlite import suppressing, tallying
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.ledger import charge_ledger, read_ledger
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import DEAD_SINCE, json_text, message_from, micros

Render = Callable[[Event], bytes]

# About 10 ms of the writer each.
_DEAD_AT_ONCE = 50
_EVENTS_AT_ONCE = 2000
_SUPPRESSIONS_AT_ONCE = 200
_STRIKES_AT_ONCE = 2000
# Refusals farther apart than this don't add up to a suppression.
_STRIKES_KEPT_S = 30 * 86400.0
# Fewer, since each page is a step, which lets go of the interpreter lock.
_PAGES_AT_ONCE = 200
# Free pages that are kept for the mail to come (4 MiB): to give them back and take them again
# would cost more than they are worth.
_FREE_PAGES = 1000


@value_class
class Purged:
    messages: int
    spools: tuple[str, ...]


def purge_dead(connection: Connection, keep: Retention, now: float, render: Render) -> Outcome:
    """The dead letters whose time is up, or the oldest as long as there is no room for them."""
    rows = connection.execute(SQL["oldest_dead"], (_DEAD_AT_ONCE,)).fetchall()
    facts = list(_expendable(connection, keep, now, (orjson.loads(text) for (text,) in rows)))
    if not facts:
        return Outcome(Purged(0, ()))
    messages = [message_from(fact) for fact in facts]
    connection.execute(SQL["finish"], (json_text([fact[0] for fact in facts]),))
    events = [
        email_purged(message, [r for r in message.recipients if r.state in DEAD_STATES])
        for message in messages
    ]
    spools = tuple(message.content.spool for message in messages if message.content.spool)
    return Outcome(Purged(len(facts), spools), [(event, render(event)) for event in events])


def _expendable(
    connection: Connection, keep: Retention, now: float, oldest: Iterable[list[Any]]
) -> Iterable[list[Any]]:
    kept_from = micros(now - keep.dead_s)
    dead_bytes = read_ledger(connection).dead_bytes
    for fact in oldest:
        if fact[DEAD_SINCE] >= kept_from and dead_bytes <= keep.dead_bytes:
            return
        dead_bytes -= message_from(fact).content.size
        yield fact


def forget_events(connection: Connection, keep: Retention, now: float) -> Outcome:
    """How many events went: those whose time is up, or the oldest of a trail that is too long.
    The sums go with them."""
    too_long = read_ledger(connection).audit_bytes > keep.audit_bytes
    before = first_at(now if too_long else now - keep.audit_s)
    count, last, octets = connection.execute(
        SQL["oldest_events"], {"before": before, "most": _EVENTS_AT_ONCE}
    ).fetchone()
    if count:
        connection.execute(SQL["forget_events"], (last,))
        charge_ledger(connection, -int(octets))
        tallying.forget(connection, now)
    return Outcome(count)


def expire_suppressions(connection: Connection, now: float, render: Render) -> Outcome:
    """How many went."""
    expired = suppressing.expire(connection, now, _SUPPRESSIONS_AT_ONCE)
    events = [suppression_removed(entry, "relay", "expired") for entry in expired]
    return Outcome(len(expired), [(event, render(event)) for event in events])


def forget_strikes(connection: Connection, now: float) -> Outcome:
    """How many went."""
    before = now - _STRIKES_KEPT_S
    return Outcome(suppressing.forget_old_strikes(connection, before, _STRIKES_AT_ONCE))


def give_back_space(connection: Connection) -> Outcome:
    """Free pages at the end of the file go back to the disk; how many went."""
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    most = min(_PAGES_AT_ONCE, free - _FREE_PAGES)
    if most <= 0:
        return Outcome(0)
    connection.execute(f"PRAGMA incremental_vacuum({most})").fetchall()
    return Outcome(most)
