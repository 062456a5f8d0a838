"""Something held back: an upstream, a tenant's way through it, or a sender address on it."""

from typing import Literal

from relay.model.causes import REMEDIES, Cause
from relay.model.value import value_class


@value_class
class Held:
    """What is held back. ``tenant`` and ``sender`` are "" where it is the whole upstream; with a
    tenant it is that tenant's way through it; with a sender, that address's mail on it."""

    upstream: str
    tenant: str = ""
    sender: str = ""

    @property
    def reach(self) -> Literal["upstream", "tenant", "sender"]:
        return "sender" if self.sender else "tenant" if self.tenant else "upstream"


@value_class
class Pause:
    """``since`` and ``until`` are in Unix seconds. ``until`` is when it is probed next, or when a
    pause by hand ends; None: when somebody resumes it. ``failures`` counts the failed attempts
    that met it, probes included. ``own_remedy`` is that of the latest of them, where it had a
    better one than the cause's. ``actor`` is set where a person has paused it, with the reason.
    """

    held: Held
    since: float
    until: float | None
    cause: Cause | None = None
    detail: str = ""
    failures: int = 1
    actor: str | None = None
    reason: str = ""
    own_remedy: str | None = None

    @property
    def remedy(self) -> str | None:
        """None: of a pause by hand there is nothing to mend."""
        return self.own_remedy or (REMEDIES[self.cause] if self.cause else None)

    @property
    def by_hand(self) -> bool:
        return self.actor is not None

    def is_over(self, now: float) -> bool:
        """One by hand, with an end, that no relay was running to sweep away."""
        return self.by_hand and self.until is not None and self.until <= now

    def state(self, now: float) -> Literal["paused", "probe due"]:
        """The next message is the probe, when it is due; without one to send, nobody finds out."""
        return "paused" if self.until is None or self.until > now else "probe due"
