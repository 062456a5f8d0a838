"""Makes of a message and a route what deliver hands over, the envelope, and the content with its
header section under the route's identity; and has it handed over.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Protocol

from relay.config.schema import Upstream
from relay.deliver.connection import Turn
from relay.deliver.pool import Pool
from relay.deliver.transaction import Handover
from relay.model import header as headers
from relay.model.budget import Budget
from relay.model.message import Content, Message, Recipient
from relay.model.result import Attempt
from relay.route.identity import changes_header, header_under, reverse_path_under
from relay.route.plan import Route

_PIECE_BYTES = 256 << 10


class Contents(Protocol):
    """Where the octets of a message are read; a ``Queue`` is one."""

    def read(self, queue_id: str, content: Content) -> AsyncIterator[bytes]: ...


class Pools(Protocol):
    """The way to each upstream, by its name; a ``Deliverer`` is one."""

    def __getitem__(self, upstream: str, /) -> Pool: ...


class Packer:
    def __init__(self, queue: Contents, deliverer: Pools, budget: Budget) -> None:
        self._deliverer = deliverer
        self._queue = queue
        self._budget = budget

    async def hand_over(
        self,
        message: Message,
        route: Route,
        recipients: tuple[Recipient, ...],
        turn: Turn | None = None,
    ) -> Attempt | None:
        """Content that lies in the store is read before the upstream is asked for anything. None
        where nothing was tried (Pool.hand_over). Raises StoreError where it can't be read."""
        assert route.upstream is not None
        # Before anything is waited for: a reload meanwhile may take the upstream away.
        pool = self._deliverer[route.upstream]
        content = message.content
        if content.chunks is not None or content.spool is not None:
            return await self._deliver(message, route, recipients, pool, turn)
        await self._budget.take(content.size)
        try:
            chunks = [piece async for piece in self._queue.read(message.queue_id, content)]
            message = replace(message, content=replace(content, chunks=tuple(chunks)))
            return await self._deliver(message, route, recipients, pool, turn)
        finally:
            self._budget.give(content.size)

    async def header_of(self, message: Message) -> bytes:
        """The header section, as it is stored."""
        head = b""
        async for piece in self._queue.read(message.queue_id, message.content):
            head += piece
            if len(head) >= message.content.header_size:
                break
        return head[: message.content.header_size]

    async def _deliver(
        self,
        message: Message,
        route: Route,
        recipients: tuple[Recipient, ...],
        pool: Pool,
        turn: Turn | None,
    ) -> Attempt | None:
        upstream = pool.upstream
        sender = reverse_path_under(route.identity, message.reverse_path)
        edits = _edits(upstream, message, recipients, null=not sender)
        if not sender and upstream.null_sender != "keep":
            sender = upstream.null_sender
        handover = Handover(
            reverse_path=sender,
            recipients=tuple([recipient.address for recipient in recipients]),
            size=message.content.size + len(edits),
            body_8bit=message.body_8bit,
            smtputf8=message.smtputf8,
            content=partial(self._octets, message, route, edits),
        )
        return await pool.hand_over(handover, turn)

    async def _octets(self, message: Message, route: Route, edits: bytes) -> AsyncIterator[bytes]:
        """The content in wire form, its header section as it leaves."""
        content = message.content
        # Of a spool file one piece is in memory at a time.
        held = _PIECE_BYTES if content.chunks is None else 0
        await self._budget.take(held)
        try:
            pieces = self._queue.read(message.queue_id, content)
            if edits or changes_header(route.identity, message.header_from):
                pieces = _edited(route, edits, content.header_size, pieces)
            async for piece in pieces:
                yield piece
        finally:
            self._budget.give(held)


def _edits(
    upstream: Upstream, message: Message, recipients: tuple[Recipient, ...], *, null: bool
) -> bytes:
    """Fields that go in on top of the header section, for this upstream alone."""
    if not null and upstream.provider is None:
        return b""
    added = b""
    if null and upstream.null_sender != "keep":
        # Without its null reverse-path nothing else would keep robots from answering it.
        added += b"Auto-Submitted: auto-generated\r\n"
    name = upstream.preset.idempotency_header if upstream.provider and upstream.preset else None
    if name:
        added += f"{name}: {_idempotency_key(message, recipients)}\r\n".encode()
    return added


def _idempotency_key(message: Message, recipients: tuple[Recipient, ...]) -> str:
    """The queue_id; with the positions where it is but a part of the recipients, since another
    part is another message to the provider."""
    if len(recipients) == len(message.recipients):
        return message.queue_id
    return "-".join([message.queue_id, *(str(r.position) for r in recipients)])[:250]


async def _edited(
    route: Route, added: bytes, header_size: int, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Gathers the header section, edits it, and lets the body pass."""
    head = b""
    async for piece in pieces:
        head += piece
        if len(head) >= header_size:
            header = head[:header_size]
            if route.identity:
                header = header_under(route.identity, header)
            yield _with_fields(added, header) + head[header_size:]
            break
    async for piece in pieces:
        yield piece


def _with_fields(added: bytes, header: bytes) -> bytes:
    """A field that is there already stays as it is."""
    there = {field.name for field in headers.fields(header)}
    lines = [line for line in added.splitlines(keepends=True)
             if line.partition(b":")[0].lower() not in there]  # fmt: skip
    return b"".join(lines) + header
