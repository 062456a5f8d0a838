"""Values to rows and back. Rows go in as tuples of parameters and come out as JSON arrays, whose
order is that of the view ``message_facts``.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import orjson

from relay.model.address import canonical
from relay.model.causes import Cause
from relay.model.events import Event
from relay.model.identifiers import decode, encode
from relay.model.message import (
    Content,
    Ending,
    Kind,
    Message,
    Origin,
    Recipient,
    Settlement,
    State,
)
from relay.model.pause import Held, Pause
from relay.model.ports import Spent
from relay.model.reply import Reply
from relay.model.suppression import Source, Suppression
from relay.model.toggle import Toggle

Row = tuple[Any, ...]
# An event and its line as rendered.
Line = tuple[Event, bytes]
# Where these stand among a message's facts; the recipients come last.
DUE, CLAIMED, DEAD_SINCE = -4, -3, -2


# A queue_id comes four times in a message's life: 1.3 us each, remembered 0.1.
number_of = lru_cache(maxsize=4096)(decode)


def micros(unix_s: float) -> int:
    return round(unix_s * 1_000_000)


def seconds(unix_us: int) -> float:
    return unix_us / 1_000_000


def storable(text: str) -> str:
    """What came over the wire may hold octets that are no UTF-8, as lone surrogates, which SQLite
    refuses: they are shown as \\udcXX, since a settle must not fail for a provider's odd reply."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def json_text(value: object) -> str:
    return orjson.dumps(value).decode()


def message_row(number: int, message: Message, *, claimed: bool) -> Row:
    origin, content = message.origin, message.content
    arrived_at = micros(message.arrived_at)
    return (
        number,
        storable(message.tenant),
        message.priority,
        arrived_at,
        int(claimed),
        # A message that is committed as claimed is under way for the first time.
        max(message.attempt, 1) if claimed else message.attempt,
        arrived_at,
        micros(message.expires_from),
        storable(message.reverse_path),
        storable(message.header_from),
        storable(message.message_id),
        int(message.smtputf8),
        int(message.body_8bit),
        origin.address,
        storable(origin.helo),
        origin.user and storable(origin.user),
        None if origin.bound is None else json_text(origin.bound),
        content.size,
        content.header_size,
        content.spool,
        message.kind.value,
        storable(message.message_class),
        message.classes_key,
        micros(message.expires_at),
    )


def recipient_rows(number: int, recipients: Iterable[Recipient]) -> list[Row]:
    return [
        (number, r.position, storable(r.address), int(r.notify), *_state_columns(r))
        for r in recipients
    ]


def news_rows(number: int, recipients: Iterable[Recipient]) -> list[Row]:
    return [(number, r.position, *_state_columns(r)) for r in recipients]


def settled_row(number: int, settlement: Settlement, now: float) -> Row:
    dead_since = micros(now) if settlement.ending is Ending.DEAD else None
    due, parked = micros(settlement.due), int(settlement.parked)
    return number, due, dead_since, parked


def event_row(line: Line) -> Row:
    event, body = line
    message = None if event.queue_id is None else number_of(event.queue_id)
    tenant = event.tenant and storable(event.tenant)
    return decode(event.event_id), event.name, tenant, message, body.decode()


def spent_row(spent: Spent, lines: Sequence[Line]) -> Row:
    """With one of the events that are stored beside it, which tells whether it was counted."""
    event = number_of(lines[0][0].event_id) if lines else None
    return storable(spent.subject), spent.slot, spent.count, event


def toggle_row(toggle: Toggle) -> Row:
    return (
        toggle.tenant,
        toggle.enabled,
        storable(toggle.reason),
        storable(toggle.actor),
        micros(toggle.at),
        _micros_if(toggle.until),
    )


def toggle_from(row: Row) -> Toggle:
    tenant, enabled, reason, actor, at, until = row
    return Toggle(tenant, bool(enabled), reason, actor, seconds(at), _seconds_if(until))


def pause_row(pause: Pause) -> Row:
    return (
        pause.held.upstream,
        storable(pause.held.tenant),
        storable(pause.held.sender),
        micros(pause.since),
        _micros_if(pause.until),
        pause.cause and pause.cause.value,
        storable(pause.detail),
        pause.failures,
        pause.actor and storable(pause.actor),
        storable(pause.reason),
        pause.own_remedy,
    )


def pause_from(row: Row) -> Pause:
    upstream, tenant, sender, since, until, cause, detail, failures, actor, reason, remedy = row
    return Pause(
        held=Held(upstream, tenant, sender),
        since=seconds(since),
        until=_seconds_if(until),
        cause=cause and Cause(cause),
        detail=detail,
        failures=failures,
        actor=actor,
        reason=reason,
        own_remedy=remedy,
    )


def suppression_row(entry: Suppression) -> Row:
    return (
        storable(entry.tenant),
        storable(canonical(entry.address)),
        entry.source.value,
        storable(entry.reason),
        storable(entry.actor),
        micros(entry.at),
        _micros_if(entry.until),
    )


def suppression_from(row: Row) -> Suppression:
    tenant, address, source, reason, actor, at, until = row
    return Suppression(
        tenant, address, Source(source), reason, actor, seconds(at), _seconds_if(until)
    )


def message_from(facts: list[Any], *, claims: int = 0) -> Message:
    """``claims`` is added to the attempts, where the row was read before the claim was stored."""
    (
        number, arrived_at, expires_from, tenant, priority, reverse_path, header_from, message_id,
        smtputf8, body_8bit, client, helo, user, bound, size, header_size, spool, attempt,
        kind, message_class, classes_key, expires_at, *_, recipients,
    ) = facts  # fmt: skip
    return Message(
        queue_id=encode(number),
        arrived_at=seconds(arrived_at),
        expires_from=seconds(expires_from),
        tenant=tenant,
        priority=priority,
        reverse_path=reverse_path,
        header_from=header_from,
        message_id=message_id,
        smtputf8=bool(smtputf8),
        body_8bit=bool(body_8bit),
        origin=Origin(client, helo, user, None if bound is None else tuple(bound)),
        recipients=tuple(sorted(map(_recipient_from, recipients), key=lambda r: r.position)),
        content=Content(size, header_size, spool=spool),
        attempt=attempt + claims,
        kind=Kind(kind),
        message_class=message_class,
        classes_key=classes_key,
        expires_at=seconds(expires_at),
    )


def _state_columns(recipient: Recipient) -> Row:
    reply = recipient.reply
    state = recipient.state.value
    cause = recipient.cause and recipient.cause.value
    upstream = recipient.upstream and storable(recipient.upstream)
    unknown = int(recipient.unknown)
    remedy = recipient.own_remedy
    if reply is None:
        return state, recipient.attempts, cause, None, None, None, upstream, unknown, remedy
    return (
        state,
        recipient.attempts,
        cause,
        reply.code,
        reply.enhanced_status,
        storable(reply.text),
        upstream,
        unknown,
        remedy,
    )


def _recipient_from(facts: list[Any]) -> Recipient:
    (
        position, address, notify, state, attempts, cause, code, enhanced_status, text, upstream,
        unknown, remedy,
    ) = facts  # fmt: skip
    return Recipient(
        position=position,
        address=address,
        notify=bool(notify),
        state=State(state),
        attempts=attempts,
        cause=cause and Cause(cause),
        reply=None if code is None else Reply(code, enhanced_status, text),
        upstream=upstream,
        unknown=bool(unknown),
        own_remedy=remedy,
    )


def _micros_if(unix_s: float | None) -> int | None:
    return None if unix_s is None else micros(unix_s)


def _seconds_if(unix_us: int | None) -> float | None:
    return None if unix_us is None else seconds(unix_us)
