"""Which messages may be tried, taking them, and their octets."""

from collections.abc import Mapping
from sqlite3 import Connection, Cursor
from typing import Any

import orjson

from relay.model.message import Message
from relay.model.ports import Due, StoreError, Treatment
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import json_text, message_from, micros, number_of, seconds

_UNPARKED_AT_ONCE = 1000


def due(connection: Connection, now: float) -> Due:
    found = orjson.loads(connection.execute(SQL["due"]).fetchone()[0])
    moment = micros(now)
    later = [due for _, due in found if due > moment]
    return Due(
        tuple(tenant for tenant, due in found if due <= moment),
        seconds(min(later)) if later else None,
    )


def claim(
    connection: Connection, tenant: str, message_class: str, limit: int, now: float
) -> Outcome:
    """Claims as a list of messages, the first to be tried first. No class: of any."""
    parameters = {"tenant": tenant, "now": micros(now), "most": limit}
    if message_class:
        parameters["class"] = message_class
        return _claimed(connection, connection.execute(SQL["claimable_of_class"], parameters))
    return _claimed(connection, connection.execute(SQL["claimable"], parameters))


def claim_expired(connection: Connection, limit: int, now: float) -> Outcome:
    """Claims of what is too old, whatever its way."""
    parameters = {"now": micros(now), "most": limit}
    return _claimed(connection, connection.execute(SQL["claimable_expired"], parameters))


def is_any_expired(connection: Connection, now: float) -> bool:
    parameters = {"now": micros(now), "most": 1}
    return connection.execute(SQL["claimable_expired"], parameters).fetchone()[0] is not None


def _claimed(connection: Connection, chosen: Cursor) -> Outcome:
    facts = orjson.loads(chosen.fetchone()[0] or "[]")
    if facts:
        connection.execute(SQL["claim"], (json_text([fact[0] for fact in facts]),))
    messages: list[Message] = [message_from(fact, claims=1) for fact in facts]
    return Outcome(messages)


def apply_classes(
    connection: Connection, by_class: Mapping[str, Treatment], others: Treatment
) -> Outcome:
    for name, treatment in by_class.items():
        connection.execute(SQL["apply_class"], {"class": name} | _parameters(treatment))
    names = {"classes": json_text(list(by_class))}
    connection.execute(SQL["apply_to_others"], names | _parameters(others))
    return Outcome(None)


def _parameters(treatment: Treatment) -> dict[str, Any]:
    give_up_after = micros(treatment.give_up_after_s)
    return {"priority": treatment.priority, "give_up_after": give_up_after}


def reclassify(connection: Connection, message: Message) -> Outcome:
    row = (
        message.message_class,
        message.classes_key,
        message.priority,
        micros(message.expires_at),
        number_of(message.queue_id),
    )
    connection.execute(SQL["reclassify"], row)
    return Outcome(None)


def parked_until(connection: Connection, after: int) -> int | None:
    """The last of the next that are parked, in bites of some 10 ms of the writer; None: no more."""
    parameters = {"after": after, "most": _UNPARKED_AT_ONCE}
    last: int | None = connection.execute(SQL["parked_until"], parameters).fetchone()[0]
    return last


def unpark(connection: Connection, after: int, last: int, now: float) -> Outcome:
    """How many are due now."""
    parameters = {"after": after, "last": last, "now": micros(now)}
    return Outcome(connection.execute(SQL["unpark"], parameters).rowcount)


def is_any_late(connection: Connection, latest: float) -> bool:
    found = connection.execute(SQL["any_late"], {"latest": micros(latest)}).fetchone()
    return bool(found[0])


def hasten(connection: Connection, now: float, latest: float) -> Outcome:
    """How many are due now."""
    parameters = {"now": micros(now), "latest": micros(latest)}
    return Outcome(connection.execute(SQL["hasten"], parameters).rowcount)


def octets(connection: Connection, queue_id: str) -> bytes:
    row = connection.execute(SQL["octets"], (number_of(queue_id),)).fetchone()
    if row is None:
        raise StoreError(f"message {queue_id} has no content: it was dropped or is done")
    content: bytes = row[0]
    return content
