"""A message: one accepted envelope with its content, and one record for each recipient."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from relay.model.causes import REMEDIES, Cause
from relay.model.reply import Reply
from relay.model.value import value_class


class State(StrEnum):
    """The state of a recipient. "relayed", not "delivered": we hand over to a next hop."""

    PENDING = "pending"
    RELAYED = "relayed"
    FAILED = "failed"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    DROPPED = "dropped"


class Kind(StrEnum):
    """``mail`` is an application's; the others are the relay's own, which cause neither a DSN nor
    an alert nor a suppression."""

    MAIL = "mail"
    DSN = "dsn"
    ALERT = "alert"


DEAD_STATES = frozenset({State.FAILED, State.EXPIRED})
# As the configuration writes them; a message's is a number, the lower the sooner.
PRIORITIES = ("high", "normal", "low")


@value_class
class Recipient:
    """``notify`` is False where the client said NOTIFY=NEVER: no DSN may tell of this recipient.

    ``attempts`` counts the failures of the recipient's or the message's own. ``cause``, ``reply``,
    ``upstream`` and ``own_remedy`` (as in model.result) are those of the latest attempt.
    ``unknown``: an attempt ended without a reply behind the final dot, or with the relay's own
    life, so it may arrive twice.
    """

    position: int
    address: str
    notify: bool = True
    state: State = State.PENDING
    attempts: int = 0
    cause: Cause | None = None
    reply: Reply | None = None
    upstream: str | None = None
    unknown: bool = False
    own_remedy: str | None = None

    @property
    def remedy(self) -> str | None:
        """Of ``cause``; None where it has none."""
        return self.own_remedy or (REMEDIES[self.cause] if self.cause else None)


@value_class
class Content:
    """Header section and body in wire form: CRLF line ends, dot-stuffed, without the final dot.

    ``header_size`` counts the header section with its blank line. ``chunks`` is None where the
    octets lie in the store alone; ``spool`` names the file that holds them, if one does.
    """

    size: int
    header_size: int
    chunks: tuple[bytes, ...] | None = None
    spool: str | None = None


@value_class
class Origin:
    """Whence a message came. ``bound`` names the tenants the client may send for; None: any."""

    address: str
    helo: str
    user: str | None = None
    bound: tuple[str, ...] | None = None


@value_class
class Message:
    """``reverse_path`` is "" where it is null; ``header_from`` is the one mailbox of From, or "".

    ``arrived_at`` is in Unix seconds, and so is ``expires_from``, whence its age counts: the same,
    until an administrator gives a dead letter a new life. ``attempt`` counts the claims, the
    present one included. ``tenant`` is as derived when it was accepted or last tried; "" is none.
    ``expires_at`` is when it is too old, by its class. ``message_class`` is the class it is in, ""
    for none, by the classes of ``classes_key``: where the configuration's have another key, it is
    derived anew.
    """

    queue_id: str
    arrived_at: float
    expires_from: float
    tenant: str
    priority: int
    reverse_path: str
    header_from: str
    message_id: str
    smtputf8: bool
    body_8bit: bool
    origin: Origin
    recipients: tuple[Recipient, ...]
    content: Content
    attempt: int = 0
    kind: Kind = Kind.MAIL
    message_class: str = ""
    classes_key: str = ""
    expires_at: float = 0.0

    @property
    def pending(self) -> tuple[Recipient, ...]:
        return tuple([r for r in self.recipients if r.state is State.PENDING])

    def without_chunks(self) -> "Message":
        """The same message with its content left to the store, to give the memory back."""
        return replace(self, content=replace(self.content, chunks=None))


class Ending(StrEnum):
    """What becomes of a message when a handover has been settled; ``goes_on``: its attempt is not
    at its end, and the claim stays."""

    GOES_ON = "goes_on"
    WAITS = "waits"
    DONE = "done"
    DEAD = "dead"


@value_class
class Settlement:
    """What an attempt changed: the recipients that have news, and when to try the others again.

    ``due`` is in Unix seconds and only meaningful where the message waits. ``parked``: it waits for
    its way alone, and is due at once when that opens.
    """

    queue_id: str
    recipients: tuple[Recipient, ...]
    ending: Ending
    due: float
    parked: bool = False


def ending(recipients: Sequence[Recipient]) -> Ending:
    """Pending ones wait; failed or expired ones make a dead letter; otherwise it is done."""
    states = {recipient.state for recipient in recipients}
    if State.PENDING in states:
        return Ending.WAITS
    return Ending.DEAD if states & DEAD_STATES else Ending.DONE
