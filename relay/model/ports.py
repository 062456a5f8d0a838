"""The protocols by which the rooms meet, each written by its consumer's need."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.model.events import Event
from relay.model.message import Content, Message, Settlement
from relay.model.reply import Reply
from relay.model.toggle import Toggle

# The tenants that a client is bound to; None where it may send for any.
Bound = tuple[str, ...] | None


class StoreError(Exception):
    """The store could not do it now (full disk, locked, gone). Nothing was changed."""


class SpoolFile(Protocol):
    """Where large content goes while it arrives, in order of the calls."""

    name: str

    async def write(self, octets: bytes) -> None: ...

    async def sync(self) -> None:
        """Returns when the file and its name in the directory would survive power loss."""

    def discard(self) -> None:
        """Remove it: no message will name it. Harmless when repeated."""


class Keeper(Protocol):
    """What accept needs in order to promise anything."""

    def refusal(self, size: int) -> Reply | None:
        """Why a message of about ``size`` octets can't be taken just now; None if it can."""

    def new_spool_file(self) -> SpoolFile:
        """May raise StoreError."""

    async def keep(self, message: Message, event: Event) -> None:
        """Returns when the message would survive power loss. Raises StoreError."""


class Tenancy(Protocol):
    """What accept needs to know of tenants: whose a message is, and whether it may be."""

    def sender_refusal(self, reverse_path: str, bound: Bound) -> Reply | None:
        """Why MAIL is refused at once: the reverse-path is that of a tenant out of bounds."""

    def admit(self, reverse_path: str, header_from: str, bound: Bound) -> str | Reply:
        """The tenant's name ("" for one who lives on the default), or why it is refused."""


class AuditLog(Protocol):
    """Where events go that change no state of a message."""

    def tell(self, event: Event) -> None:
        """Never blocks, never raises."""


@dataclass(frozen=True, slots=True)
class Due:
    """``tenants`` have something to claim now; ``next_at`` (Unix seconds) is when the next will."""

    tenants: tuple[str, ...]
    next_at: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the queue holds, dead letters apart; ``content_bytes`` of both."""

    messages: int = 0
    content_bytes: int = 0
    dead_messages: int = 0
    dead_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """``keep_dead`` and ``audit.keep`` in seconds, the sizes in bytes."""

    dead_s: float
    dead_bytes: int
    audit_s: float
    audit_bytes: int


class Queue(Protocol):
    """What dispatch needs of the store. Every method may raise StoreError, having done nothing."""

    async def add(self, message: Message, *, claimed: bool, events: Sequence[Event]) -> None:
        """Commit a new message: as claimed, or due at once."""

    async def due(self, now: float) -> Due:
        """Which tenants have messages to claim, and when the next one will be due."""

    async def claim(self, tenant: str, limit: int, now: float) -> list[Message]:
        """Claim up to ``limit`` due messages of one tenant: by priority, then the longest due.

        Each claim counts as an attempt, stored before the attempt is made.
        """

    async def settle(self, settlements: Sequence[Settlement], events: Sequence[Event]) -> None:
        """Store what attempts came to, with their events, in one transaction. Ends the claims."""

    async def release(self, queue_ids: Sequence[str]) -> None:
        """Return claims that were not used; they count as no attempt and are due at once."""

    def read(self, queue_id: str, content: Content) -> AsyncIterator[bytes]:
        """The octets of the content, in pieces of at most 1 MiB."""

    def toggles(self) -> dict[str, Toggle] | None:
        """The toggles in force if an administrator has changed anything since the last call,
        else None. Cheap enough to ask before every attempt."""


class Store(Queue, AuditLog, Protocol):
    """The whole store of a serving relay, as the composition root and its watchmen see it."""

    @property
    def usage(self) -> Usage:
        """Kept in memory: free to ask."""

    def new_spool_file(self) -> SpoolFile:
        """May raise StoreError."""

    async def purge(self, keep: Retention, now: float) -> None:
        """End what is older or larger than the retention allows, with its events."""

    async def close(self) -> None:
        """Commit what was given, and let go of the files."""
