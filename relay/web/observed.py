"""What the HTTP side needs to know of a running relay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from relay.config.schema import Config


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the relay knows of itself without asking the store: by upstream whether it is up, how
    many connections there are and until when the certificate that it last showed holds (Unix
    seconds, where one is known); by tenant whether it is enabled; how many audit lines are lost.
    """

    upstreams_up: Mapping[str, bool]
    connections: Mapping[str, int]
    certificate_ends: Mapping[str, float]
    tenants_enabled: Mapping[str, bool]
    lines_dropped: int


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Messages that wait for their time, that are under way, that are dead; when the oldest of the
    first two arrived, in Unix seconds."""

    waiting: int = 0
    under_way: int = 0
    dead: int = 0
    oldest_at: float | None = None


class Observed(Protocol):
    """On the event loop, but for ``counts`` and ``status``, which read the store and block."""

    @property
    def config(self) -> Config:
        """The one in force."""

    def vitals(self) -> Vitals: ...

    def refusal(self) -> str | None:
        """Why no mail is taken just now; None where it is."""

    async def try_store(self) -> None:
        """Returns when the store has written something to its disk. Raises StoreError."""

    def counts(self) -> QueueCounts:
        """Raises StoreError. One call at a time."""

    def status(self) -> dict[str, Any]:
        """What ``relay status --json`` tells, by what it is about. Raises StoreError."""

    def close(self) -> None:
        """Let go of what was opened to look at."""
