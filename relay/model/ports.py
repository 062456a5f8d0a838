"""The protocols by which the rooms meet, each written by its consumer's need."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import field
from enum import IntEnum
from typing import Protocol

from relay.model.causes import Cause
from relay.model.events import Event
from relay.model.message import Content, Message, Settlement
from relay.model.pause import Held, Pause
from relay.model.reply import Reply
from relay.model.suppression import Strike, Suppression
from relay.model.toggle import Toggle
from relay.model.value import value_class

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


class Client(Protocol):
    """An application that waits for the reply to its message."""

    def refuse(self, reply: Reply) -> bool:
        """Give it this reply instead of a 250; False where it is not there any more."""


class Keeper(Protocol):
    """What accept needs in order to promise anything."""

    def refusal(self, size: int) -> Reply | None:
        """Why a message of about ``size`` octets can't be taken just now; None if it can."""

    def new_spool_file(self) -> SpoolFile:
        """May raise StoreError."""

    async def keep(
        self, message: Message, header: bytes, client: Client
    ) -> Reply | Awaitable[Reply | None]:
        """Returns when the message would survive power loss, with the reply that says so, or that
        says why it is not taken. Raises StoreError. Where the application wants to know what the
        upstream says, the reply is still to be awaited; None: ``client`` has had it. ``header`` is
        the header section."""


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


@value_class
class Due:
    """``tenants`` have something to claim now; ``next_at`` (Unix seconds) is when the next will."""

    tenants: tuple[str, ...]
    next_at: float | None


@value_class
class Usage:
    """What the queue holds, dead letters apart; ``content_bytes`` of both."""

    messages: int = 0
    content_bytes: int = 0
    dead_messages: int = 0
    dead_bytes: int = 0


@value_class
class Retention:
    """``keep_dead`` and ``audit.keep`` in seconds, the sizes in bytes."""

    dead_s: float
    dead_bytes: int
    audit_s: float
    audit_bytes: int


@value_class
class Spent:
    """What has been handed over of a quota: ``count`` within the ``slot`` of time (a number of
    six-minute slots since 1970), charged to ``subject`` (an upstream's name, or "default/TENANT").
    """

    subject: str
    slot: int
    count: int


@value_class
class Treatment:
    """Of a class of mail."""

    priority: int
    give_up_after_s: float


class Stage(IntEnum):
    """What the owner of a dead letter has been told of it."""

    NOTHING = 0
    DEAD = 1
    PURGE_SOON = 2


@value_class
class Told:
    """The owners of these tenants' dead letters that died by ``until`` now know this much."""

    tenants: Sequence[str]
    until: float
    stage: Stage


@value_class
class Untold:
    """Dead letters whose owner has yet to hear of them: how many, the first of them, its cause
    and own remedy. ``stage`` is what they are to be told."""

    tenant: str
    stage: Stage
    messages: int
    queue_id: str
    cause: Cause | None
    own_remedy: str | None = None


@value_class
class Also:
    """What is stored in the same transaction as a settlement, beside it."""

    messages: Sequence[Message] = ()
    spent: Sequence[Spent] = ()
    strikes: Sequence[Strike] = ()
    told: Sequence[Told] = ()


NOTHING_MORE = Also()


@value_class
class Orders:
    """What administrators have said, as far as it is in force: toggles by tenant, and every pause
    that is stored, by hand or automatic.

    ``generation`` grows whenever one of them has changed anything. ``reload_asked`` counts the
    requests to read the configuration anew; ``reload_actor`` made the last of them, and those up to
    ``reload_answered`` have had their verdict.
    """

    toggles: Mapping[str, Toggle]
    pauses: Mapping[Held, Pause]
    # When, not what: orders that say the same are equal.
    generation: int = field(default=0, compare=False)
    reload_asked: int = 0
    reload_actor: str = ""
    reload_answered: int = 0


@value_class
class Share:
    """What one tenant holds of the queue, dead letters apart."""

    messages: int = 0
    content_bytes: int = 0


class Queue(Protocol):
    """What dispatch needs of the store. Every method may raise StoreError, having done nothing."""

    async def add(self, message: Message, *, claimed: bool, events: Sequence[Event]) -> None:
        """Commit a new message: as claimed, or due at once."""

    async def due(self, now: float) -> Due:
        """Which tenants have messages to claim, and when the next one will be due."""

    async def claim(
        self, tenant: str, limit: int, now: float, message_class: str = ""
    ) -> list[Message]:
        """Claim up to ``limit`` due messages of one tenant, or of one class of its mail: by
        priority, then the longest due.

        Each claim counts as an attempt, stored before the attempt is made.
        """

    async def claim_expired(self, limit: int, now: float) -> list[Message]:
        """Claim up to ``limit`` messages that are too old, whatever their way."""

    async def hasten(self, now: float, latest: float) -> int:
        """What is not parked and due later than ``latest`` is due ``now``; how many messages."""

    async def apply_classes(self, by_class: Mapping[str, Treatment], others: Treatment) -> None:
        """What the present configuration makes of queued mail, by class, and of the mail of no
        class or of one that is not there any more. The relay's own messages stay as they are."""

    async def readmit(self, tenancy: str, tenant_of: Callable[[str, str, Bound], str]) -> int:
        """Give all mail, dead letters too, to the tenants that ``tenant_of`` (reverse-path, header
        From, bound) names now; how many messages that changed. Nothing is done where it was done
        before by the same ``tenancy``, which identifies it. The relay's own mail stays as it is."""

    async def reclassify(self, message: Message) -> None:
        """Store a claimed message's class, found anew, with what follows from it."""

    async def settle(
        self, settlements: Sequence[Settlement], events: Sequence[Event], also: Also = NOTHING_MORE
    ) -> None:
        """Store what attempts came to, with their events, in one transaction. Ends the claims.

        ``also.messages`` are due at once. A strike that makes ``after`` different days adds a
        suppression, with its event.
        """

    async def release(self, queue_ids: Sequence[str], due: float | None = None) -> None:
        """Return claims that were not used; they count as no attempt. They are due at ``due``
        (Unix seconds), or as they were before; until then they are parked."""

    async def unpark(self, now: float) -> int:
        """What was released with a ``due`` that has not come is due now; how many."""

    async def pause(
        self, pauses: Sequence[Pause], ended: Sequence[Held], events: Sequence[Event]
    ) -> None:
        """Store pauses, new or changed, and forget those that have ended, with the events."""

    async def spent(self, since_slot: int) -> list[Spent]:
        """What was spent from that slot on; what is older is forgotten."""

    async def untold(self, purge_soon: float) -> list[Untold]:
        """Dead letters to tell of: all that nobody was told of, and those that died by
        ``purge_soon`` and whose coming end nobody was told of."""

    async def shares(self) -> Mapping[str, Share]:
        """What each tenant holds of the queue."""

    def suppressed(self, tenant: str, addresses: Sequence[str]) -> Mapping[str, Suppression]:
        """Those of the addresses that are suppressed for the tenant, or for all. As of the last
        ``orders``. Asked on the event loop before every attempt: free while nothing is suppressed,
        else some microseconds."""

    def read(self, queue_id: str, content: Content) -> AsyncIterator[bytes]:
        """The octets of the content, in pieces of at most 1 MiB."""

    async def reached(self, generation: int) -> None:
        """Every attempt that is under way now began at this generation of the orders or later."""

    async def answered(self, request: int) -> None:
        """The requests to reload up to this one have had their verdict."""

    async def end_toggles(self, now: float) -> int:
        """Forget the toggles whose time is over, with their events; how many there were. Where
        there is none, nothing is written."""

    def orders(self) -> Orders | None:
        """What is in force if an administrator has changed anything since the last call, else
        None. Cheap enough to ask before every attempt."""


class Store(Queue, AuditLog, Protocol):
    """The whole store of a serving relay, as the composition root and its watchmen see it."""

    @property
    def usage(self) -> Usage:
        """Kept in memory: free to ask."""

    def new_spool_file(self) -> SpoolFile:
        """May raise StoreError."""

    async def told(self, names: Collection[str], since: float, most: int) -> list[bytes]:
        """Lines of the trail from ``since`` (Unix seconds) on, at most so many."""

    async def purge(self, keep: Retention, now: float) -> None:
        """End what is older or larger than the retention allows, with its events."""

    async def close(self) -> None:
        """Commit what was given, and let go of the files."""
