"""What an administrator may do to messages: try them again, or end them.

Each function works within an open transaction and returns the events that tell of it.
"""

from collections.abc import Sequence
from sqlite3 import Connection

from relay.model.events import Event, email_dropped, email_retried
from relay.model.identifiers import decode
from relay.model.message import DEAD_STATES, State
from relay.queue.errors import NoSuchMessage, UnderWay
from relay.queue.sqlite import listing
from relay.queue.sqlite.listing import Listed
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import json_text, micros


def retry(
    connection: Connection, numbers: Sequence[int], actor: str, *, now: float, served_by: int | None
) -> list[Event]:
    """The queued become due, the dead live again; what a running relay is trying is left out."""
    chosen = [
        listed
        for listed in listing.some(connection, numbers)
        if not listed.claimed or served_by is None
    ]
    dead = [listed for listed in chosen if listed.dead_since is not None]
    queued = [listed for listed in chosen if listed.dead_since is None]
    connection.execute(SQL["retry_queued"], {"ids": _ids(queued), "now": micros(now)})
    connection.execute(SQL["revive_recipients"], (_ids(dead),))
    connection.execute(SQL["revive"], {"ids": _ids(dead), "now": micros(now)})
    return [_told_retried(listed, actor) for listed in chosen]


def drop(
    connection: Connection, queue_id: str, actor: str, *, served_by: int | None
) -> tuple[Event, str | None]:
    """No recipient has anything to come any more, so the message is done and goes; the event, and
    the spool file to remove."""
    listed = listing.one(connection, queue_id)
    if listed is None:
        raise no_such_message(queue_id)
    if listed.claimed and served_by is not None:
        raise UnderWay(
            f"{queue_id} is being handed over by the relay (process {served_by}) just now: "
            "try again in a moment, or stop the relay"
        )
    message = listed.message
    ended = {State.PENDING, *DEAD_STATES}
    event = email_dropped(message, [r for r in message.recipients if r.state in ended], actor)
    connection.execute(SQL["finish"], (_ids([listed]),))
    return event, message.content.spool


def no_such_message(queue_id: str) -> NoSuchMessage:
    return NoSuchMessage(f"no message {queue_id} waits or lies in the dead letters")


def _ids(messages: Sequence[Listed]) -> str:
    return json_text([decode(listed.message.queue_id) for listed in messages])


def _told_retried(listed: Listed, actor: str) -> Event:
    message = listed.message
    if listed.dead_since is None:
        return email_retried(message, message.pending, actor)
    return email_retried(message, [r for r in message.recipients if r.state in DEAD_STATES], actor)
