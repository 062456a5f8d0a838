"""One message in full: envelope, recipients, header section, trail; its content to take away."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from relay.cli import access, output
from relay.cli.access import Trouble
from relay.cli.messages import listing
from relay.cli.upstream import pauses

if TYPE_CHECKING:
    from relay.cli.upstream.ways import Ways
    from relay.config.schema import Config
    from relay.model.message import Message, Recipient
    from relay.model.pause import Pause
    from relay.queue.sqlite.admin import Administration
    from relay.queue.sqlite.listing import Listed


_POSSIBLE_DUPLICATE = (
    "possible: an attempt ended without a reply to the message, which may have been taken"
)


def show(config: "Config", store: "Administration", queue_id: str, *, as_json: bool) -> None:
    """A message, or of one that is done, its trail. Raises Trouble where there is neither."""
    from relay.cli.upstream.ways import Ways

    ways = Ways(config, access.orders_in(store))
    listed = store.message(queue_id)
    trail = list(store.events(queue_id=queue_id))
    if listed is None and not trail:
        raise Trouble(f"no message {queue_id}, neither in the queue nor in the trail")
    if as_json and listed is None:
        raise Trouble(f"{queue_id} is gone; relay audit --json --queue-id {queue_id} has its trail")
    if as_json and listed:
        output.json_lines([_whole(listed, ways)])
        return
    if listed:
        _show_message(listed, ways)
        _show_header(store, listed.message)
    else:
        print(f"{queue_id} is no longer in the queue; its trail tells what became of it.")
    _show_trail(trail)


def _whole(listed: "Listed", ways: "Ways") -> dict[str, Any]:
    """For programs: the row, with each recipient by itself."""
    message = listed.message
    origin = message.origin
    dead = listed.dead_since is not None
    row = listing.row(listed) if dead else listing.queue_row(listed, ways)
    return row | {
        "header_from": message.header_from,
        "client": origin.address,
        "helo": origin.helo,
        "user": origin.user,
        "recipients": [_recipient(recipient) for recipient in message.recipients],
    }


def unstuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Wire form without its dots (RFC 5321 section 4.5.2)."""
    begun = False
    rest = b"\r\n"  # before the first line, so that every line has its line end before it
    for chunk in chunks:
        rest += chunk
        last_line = rest.rfind(b"\r\n")
        lines, rest = rest[:last_line], rest[last_line:]
        if lines:
            yield lines.replace(b"\r\n.", b"\r\n")[0 if begun else 2 :]
            begun = True
    yield rest.replace(b"\r\n.", b"\r\n")[0 if begun else 2 :]


def _recipient(recipient: "Recipient") -> dict[str, Any]:
    return {
        "address": recipient.address,
        "state": recipient.state,
        "attempts": recipient.attempts,
        "upstream": recipient.upstream,
        "possible_duplicate": recipient.unknown,
        **listing.trouble(recipient),
    }


def _show_message(listed: "Listed", ways: "Ways") -> None:
    message = listed.message
    pause = listing.waits_for(listed, ways)
    named = {
        "queue id": message.queue_id,
        "tenant": message.tenant or "none",
        "kind": "" if message.kind == "mail" else f"{message.kind}, of the relay's own",
        "class": message.message_class,
        "priority": listing.priority(message),
        "state": _state(listed, pause),
        "waits for": pauses.sentence(pause) if pause else "",
        "arrived": _arrived(message),
        "reverse-path": message.reverse_path or "<>",
        "message-id": message.message_id,
        "size": output.size(message.content.size),
    }
    output.facts({name: value for name, value in named.items() if value})
    for recipient in message.recipients:
        print()
        output.facts(_recipient_facts(recipient))


def _arrived(message: "Message") -> str:
    origin = message.origin
    user = f", logged in as {origin.user}" if origin.user else ""
    moment = output.moment(message.arrived_at)
    return f"{moment} from {origin.address} (HELO {origin.helo}{user})"


def _state(listed: "Listed", pause: "Pause | None") -> str:
    if listed.dead_since is not None:
        return f"dead letter since {output.moment(listed.dead_since)}"
    attempts = f"attempt {listed.message.attempt}"
    if listed.claimed:
        return f"under way, {attempts}"
    return f"waits after {attempts}, next {listing.next_try(listed, pause)}"


def _recipient_facts(recipient: "Recipient") -> dict[str, str]:
    told = listing.trouble(recipient)
    last = told["last_cause"]
    named = {
        "recipient": recipient.address,
        "state": recipient.state,
        "upstream": recipient.upstream,
        "cause": told["cause"],
        "reply": recipient.reply and str(recipient.reply),
        "remedy": told["remedy"],
        "duplicate": _POSSIBLE_DUPLICATE if recipient.unknown else None,
        "last cause": last and f"{last}: {recipient.remedy}",
    }
    return {name: value for name, value in named.items() if value}


def _show_header(store: "Administration", message: "Message") -> None:
    print("\nheader section")
    octets = b""
    for piece in unstuffed(store.content(message.queue_id)):
        octets += piece
        if len(octets) >= message.content.header_size:
            break
    # A line that begins with a dot is stuffed in header_size, and a little of the body would show.
    section = octets[: message.content.header_size].partition(b"\r\n\r\n")[0]
    for line in section.decode("utf-8", "replace").split("\r\n"):
        print(f"  {output.plain(line.expandtabs(4))}")


def _show_trail(trail: list[bytes]) -> None:
    from relay.record.reading import Prettifier

    prettify = Prettifier(colors=output.colours())
    print("\ntrail")
    for line in trail:
        print(prettify(line))
