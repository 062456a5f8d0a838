"""What the trail says of a time: recipients sent, deferred, failed and expired, by tenant, upstream
and route, in one pass. It reads events, and knows neither store nor configuration.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

# The events that it reads; the others say nothing to it.
COUNTED = ("email.sent", "email.deferred", "email.send_failed", "email.expired")

_KeyT = TypeVar("_KeyT")


@dataclass(frozen=True, slots=True)
class Way:
    """None: no tenant; no upstream, where nothing was tried."""

    tenant: str | None
    upstream: str | None
    route: str | None


@dataclass(slots=True)
class Figures:
    """Recipients; ``deferred`` counts one once for each attempt. ``queued_ms`` is the sum over the
    recipients sent, from the 250 to the upstream's own."""

    sent: int = 0
    deferred: int = 0
    failed: int = 0
    expired: int = 0
    queued_ms: float = 0.0

    @property
    def mean_ms(self) -> float | None:
        return self.queued_ms / self.sent if self.sent else None

    @property
    def failed_share(self) -> float | None:
        """Of those that came to an end, how many failed or expired."""
        ended = self.sent + self.failed + self.expired
        return (self.failed + self.expired) / ended if ended else None

    @property
    def row(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "deferred": self.deferred,
            "failed": self.failed,
            "expired": self.expired,
            "mean_ms": None if self.mean_ms is None else round(self.mean_ms, 1),
        }

    def add(self, event: Mapping[str, Any]) -> None:
        recipients = len(event["recipients"])
        match event["event"]:
            case "email.sent":
                self.sent += recipients
                self.queued_ms += recipients * event["queued_ms"]
            case "email.deferred":
                self.deferred += recipients
            case "email.send_failed":
                self.failed += recipients
            case "email.expired":
                self.expired += recipients

    def add_all(self, others: "Figures") -> None:
        self.sent += others.sent
        self.deferred += others.deferred
        self.failed += others.failed
        self.expired += others.expired
        self.queued_ms += others.queued_ms


def count(lines: Iterable[bytes]) -> dict[Way, Figures]:
    """Of the applications' mail, by way; the relay's own (DSNs, alerts) is left out."""
    found: dict[Way, Figures] = {}
    for line in lines:
        event = orjson.loads(line)
        if "kind" in event:
            continue
        way = Way(event["tenant"], event["upstream"], event["route"])
        found.setdefault(way, Figures()).add(event)
    return found


def summed(
    counted: Mapping[Way, Figures], key: Callable[[Way], _KeyT | None]
) -> dict[_KeyT, Figures]:
    """Those with the same key together; those whose key is None are left out."""
    found: dict[_KeyT, Figures] = {}
    for way, figures in counted.items():
        if (of := key(way)) is not None:
            found.setdefault(of, Figures()).add_all(figures)
    return found
