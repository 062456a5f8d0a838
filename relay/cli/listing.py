"""Messages as rows: what waits and what is dead, for people and for programs.

A row tells of the recipients that it is about: the pending ones, or those that gave up.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from relay.cli import output

if TYPE_CHECKING:
    from relay.model.causes import Cause
    from relay.model.message import Message, Recipient
    from relay.model.reply import Reply
    from relay.queue.sqlite.listing import Listed

QUEUE_TITLES = ("QUEUE ID", "TENANT", "AGE", "TRIES", "NEXT", "FROM", "TO", "CAUSE")
DEAD_TITLES = ("QUEUE ID", "TENANT", "DEAD FOR", "FROM", "TO", "CAUSE", "REPLY")


def queue_cells(listed: "Listed") -> tuple[str, ...]:
    message = listed.message
    first = concerned(message)[0]
    return (
        message.queue_id,
        message.tenant or "-",
        output.since(message.arrived_at),
        str(message.attempt),
        "under way" if listed.claimed else output.until(listed.due),
        message.reverse_path or "<>",
        _addresses(message),
        cause_of(first) or "-",
    )


def dead_cells(listed: "Listed") -> tuple[str, ...]:
    message = listed.message
    first = concerned(message)[0]
    return (
        message.queue_id,
        message.tenant or "-",
        output.since(listed.dead_since or message.arrived_at),
        message.reverse_path or "<>",
        _addresses(message),
        cause_of(first) or "-",
        str(first.reply or "-"),
    )


def row(listed: "Listed") -> dict[str, Any]:
    """``due``, ``claimed`` and ``attempt`` are of what waits, ``dead_since`` of what is dead."""
    from relay.record.audit import rfc3339

    message = listed.message
    first = concerned(message)[0]
    facts = {
        "queue_id": message.queue_id,
        "tenant": message.tenant or None,
        "reverse_path": message.reverse_path,
        "recipients": [recipient.address for recipient in concerned(message)],
        **trouble(first),
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
    from relay.model.causes import REMEDIES

    cause = cause_of(recipient)
    return {
        "cause": cause,
        "last_cause": recipient.cause if cause != recipient.cause else None,
        "reply": _reply(recipient.reply),
        "remedy": REMEDIES[cause] if cause else None,
    }


def cause_of(recipient: "Recipient") -> "Cause | None":
    """As the trail names it: ``expired`` where it waited too long, whatever it waited for."""
    from relay.model.causes import Cause
    from relay.model.message import State

    return Cause.EXPIRED if recipient.state is State.EXPIRED else recipient.cause


def concerned(message: "Message") -> "Sequence[Recipient]":
    """The recipients that a row is about: those that gave up, else those that are pending."""
    from relay.model.message import DEAD_STATES

    dead = [one for one in message.recipients if one.state in DEAD_STATES]
    return message.pending or dead or message.recipients


def _addresses(message: "Message") -> str:
    return output.shortened([recipient.address for recipient in concerned(message)])


def _reply(reply: "Reply | None") -> dict[str, Any] | None:
    if reply is None:
        return None
    return {"code": reply.code, "enhanced_status": reply.enhanced_status, "text": reply.text}
