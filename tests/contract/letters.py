"""Messages as the contract's tests need them, and the store's events as dictionaries."""

import json
from collections.abc import Sequence
from typing import Any

from relay.model.identifiers import new_identifier
from relay.model.message import Content, Ending, Kind, Message, Origin, Recipient, Settlement
from relay.model.ports import Orders
from relay.model.toggle import Toggle

# A whole second, so that it comes back exactly however the store keeps moments.
NOW = 1_800_000_000.0


def message(
    *,
    tenant: str = "acme",
    priority: int = 1,
    arrived_at: float = NOW,
    recipients: Sequence[Recipient] = (Recipient(0, "someone@customer.example"),),
    chunks: tuple[bytes, ...] = (b"Subject: hello\r\n\r\n", b"good day\r\n"),
    spool: str | None = None,
    spooled_bytes: int = 0,
    kind: Kind = Kind.MAIL,
) -> Message:
    if spool:
        content = Content(spooled_bytes, 18, spool=spool)
    else:
        content = Content(sum(map(len, chunks)), 18, chunks)
    return Message(
        queue_id=new_identifier(),
        arrived_at=arrived_at,
        expires_from=arrived_at,
        tenant=tenant,
        priority=priority,
        reverse_path="billing@acme.example",
        header_from="billing@acme.example",
        message_id="<4711@acme.example>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web01.example"),
        recipients=tuple(recipients),
        content=content,
        kind=kind,
    )


def settlement(
    settled: Message,
    ending: Ending,
    *,
    due: float = NOW,
    recipients: Sequence[Recipient] = (),
) -> Settlement:
    return Settlement(settled.queue_id, tuple(recipients), ending, due)


def orders(**toggles: Toggle) -> Orders:
    """Toggles by tenant, and nothing is paused."""
    return Orders(toggles, {})


def parsed(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]
