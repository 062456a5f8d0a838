"""What the relay has to say by itself: troubles worth an alert, and the messages that tell of them.

A notice never causes another: no DSN, no alert, no suppression follows from one.
"""

from enum import StrEnum
from typing import Literal

from relay.model.causes import Cause
from relay.model.value import value_class

NoticeKind = Literal["dsn", "alert", "summary"]


@value_class
class Notice:
    """A message of the relay's own; its reverse-path is always null (RFC 5321 section 4.5.5).

    ``content`` is complete, in wire form without the final dot, and 7-bit but for a UTF-8 address
    in To. ``about`` names the message it tells of, if it tells of one.
    """

    kind: NoticeKind
    recipient: str
    content: bytes
    header_size: int
    header_from: str
    message_id: str
    about: str | None = None

    @property
    def smtputf8(self) -> bool:
        """Whether it needs SMTPUTF8 (RFC 6531) all the way."""
        return not (self.recipient.isascii() and self.content[: self.header_size].isascii())


class IncidentKind(StrEnum):
    """In the order of their gravity."""

    STORE_FAILED = "store_failed"
    QUEUE_FULL = "queue_full"
    NO_ROUTE = "no_route"
    UPSTREAM_PAUSED = "upstream_paused"
    TENANT_WAY_PAUSED = "tenant_way_paused"
    DEAD_LETTER = "dead_letter"
    SENDER_HELD = "sender_held"
    FAILURE_RATE = "failure_rate"
    PURGE_SOON = "purge_soon"
    UPSTREAM_RESUMED = "upstream_resumed"
    SUPPRESSED = "suppressed"


@value_class
class Incident:
    """One thing that went wrong, or (UPSTREAM_RESUMED) right again.

    ``tenant`` is None for what concerns an upstream or the relay as a whole, and for mail of no
    tenant. ``detail`` is the upstream's reply or the local reason, ``address`` the sender of
    SENDER_HELD and the recipient of SUPPRESSED. UPSTREAM_RESUMED ends the UPSTREAM_PAUSED
    of its upstream, or, with a tenant, the TENANT_WAY_PAUSED of that tenant there. ``count``: it
    stands for so many of its kind. ``own_remedy`` is said instead of the cause's.
    """

    kind: IncidentKind
    tenant: str | None = None
    upstream: str | None = None
    cause: Cause | None = None
    detail: str = ""
    address: str = ""
    queue_id: str | None = None
    recipients: int = 0
    count: int = 1
    own_remedy: str | None = None
