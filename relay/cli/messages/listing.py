"""Messages as rows: what waits and what is dead, for people and for programs.

A row tells of the recipients that it is about: the pending ones, or those that gave up.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from relay.cli import output

if TYPE_CHECKING:
    from relay.cli.upstream.ways import Ways
    from relay.model.causes import Cause
    from relay.model.message import Message, Recipient
    from relay.model.pause import Pause
    from relay.model.reply import Reply
    from relay.queue.sqlite.listing import Listed

QUEUE_TITLES = ("QUEUE ID", "TENANT", "AGE", "TRIES", "NEXT", "CLASS", "FROM", "TO", "CAUSE")
DEAD_TITLES = ("QUEUE ID", "TENANT", "DEAD FOR", "CLASS", "FROM", "TO", "CAUSE", "REPLY")


def queue_cells(listed: "Listed", ways: "Ways") -> tuple[str, ...]:
    message = listed.message
    pause = waits_for(listed, ways)
    return (
        message.queue_id,
        message.tenant or "-",
        output.since(message.arrived_at),
        str(message.attempt),
        next_try(listed, pause),
        _class_cell(message),
        message.reverse_path or "<>",
        _addresses(message),
        _cause_cell(message, pause),
    )


def next_try(listed: "Listed", pause: "Pause | None") -> str:
    """In a few words: not before what it waits for ends."""
    if listed.claimed:
        return "under way"
    if pause and pause.until is None:
        return "when resumed"
    end = pause.until if pause and pause.until is not None else listed.due
    return output.until(max(listed.due, end))


def dead_cells(listed: "Listed") -> tuple[str, ...]:
    message = listed.message
    return (
        message.queue_id,
        message.tenant or "-",
        output.since(listed.dead_since or message.arrived_at),
        _class_cell(message),
        message.reverse_path or "<>",
        _addresses(message),
        _cause_cell(message),
        str(concerned(message)[0].reply or "-"),
    )


def queue_row(listed: "Listed", ways: "Ways") -> dict[str, Any]:
    """``waits_for`` is the pause that holds it back, as ``relay upstream list`` has it."""
    from relay.cli.upstream import pauses

    pause = waits_for(listed, ways)
    return row(listed) | {"waits_for": pauses.row(pause.held, pause) if pause else None}


def row(listed: "Listed") -> dict[str, Any]:
    """``due``, ``claimed`` and ``attempt`` are of what waits, ``dead_since`` of what is dead."""
    from relay.record.audit import rfc3339

    message = listed.message
    first = concerned(message)[0]
    facts = {
        "queue_id": message.queue_id,
        "tenant": message.tenant or None,
        "kind": message.kind,
        "class": message.message_class or None,
        "priority": priority(message),
        "reverse_path": message.reverse_path,
        "recipients": [recipient.address for recipient in concerned(message)],
        **trouble(first),
        "possible_duplicate": may_arrive_twice(message),
        "upstream": first.upstream,
        "message_id": message.message_id,
        "size": message.content.size,
        "arrived_at": rfc3339(message.arrived_at),
        "attempt": message.attempt,
    }
    if listed.dead_since is not None:
        return facts | {"dead_since": rfc3339(listed.dead_since)}
    return facts | {"due": rfc3339(listed.due), "claimed": listed.claimed}


def trouble(recipient: "Recipient") -> dict[str, Any]:
    """Why a recipient waits or is given up, and what to do about it."""
    cause = cause_of(recipient)
    return {
        "cause": cause,
        "last_cause": recipient.cause if cause != recipient.cause else None,
        "reply": _reply(recipient.reply),
        "remedy": remedy_of(recipient),
    }


def waits_for(listed: "Listed", ways: "Ways") -> "Pause | None":
    """What holds it back while it is nobody's turn: no message under way, no dead letter."""
    if listed.claimed or listed.dead_since is not None:
        return None
    return ways.waits_for(listed.message)


def priority(message: "Message") -> str:
    from relay.model.message import PRIORITIES

    return PRIORITIES[message.priority]


def may_arrive_twice(message: "Message") -> bool:
    """An attempt ended without a reply behind the final dot, and there will be another."""
    return any(recipient.unknown for recipient in concerned(message))


def cause_of(recipient: "Recipient") -> "Cause | None":
    """As the trail names it: ``expired`` where it waited too long, whatever it waited for."""
    from relay.model.causes import Cause
    from relay.model.message import State

    return Cause.EXPIRED if recipient.state is State.EXPIRED else recipient.cause


def remedy_of(recipient: "Recipient") -> str | None:
    """That of the cause which ``cause_of`` names."""
    from relay.model.causes import REMEDIES

    cause = cause_of(recipient)
    return recipient.remedy if cause in (None, recipient.cause) else REMEDIES[cause]


def concerned(message: "Message") -> "Sequence[Recipient]":
    """The recipients that a row is about: those that gave up, else those that are pending."""
    from relay.model.message import DEAD_STATES

    dead = [one for one in message.recipients if one.state in DEAD_STATES]
    return message.pending or dead or message.recipients


def _class_cell(message: "Message") -> str:
    """What is out of the ordinary: a class, a priority, mail of the relay's own."""
    told = [message.message_class] if message.message_class else []
    if priority(message) != "normal":
        told.append(priority(message))
    if message.kind != "mail":
        told.append(message.kind)
    return " ".join(told) or "-"


def _cause_cell(message: "Message", pause: "Pause | None" = None) -> str:
    cause = cause_of(concerned(message)[0])
    told = [str(cause)] if cause else []
    if pause:
        told.append(f"{pause.held.upstream} is paused")
    if may_arrive_twice(message):
        told.append("possible duplicate")
    return ", ".join(told) or "-"


def _addresses(message: "Message") -> str:
    return output.shortened([recipient.address for recipient in concerned(message)])


def _reply(reply: "Reply | None") -> dict[str, Any] | None:
    if reply is None:
        return None
    return {"code": reply.code, "enhanced_status": reply.enhanced_status, "text": reply.text}
