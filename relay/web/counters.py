"""What is counted from the events of the trail, once they are committed.

``note`` runs on the store's writer, so that no session and no attempt waits for it, and takes about
a microsecond for an event; whoever reads has copies. Names that the configuration does not have are
counted as "": nobody's mail can make the metrics grow.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from time import time

from relay.config.schema import Config
from relay.model.events import Event

# Seconds. A commit takes milliseconds, on a slow disk tenths of a second.
_ACCEPT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# From a provider next door to one that was away for the weekend.
_SEND_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0,
                86400.0)  # fmt: skip

_RESULTS = {
    "email.sent": "relayed",
    "email.deferred": "deferred",
    "email.send_failed": "failed",
    "email.expired": "expired",
    "email.suppressed": "suppressed",
}

Labels = tuple[str, ...]

_MOST_KNOWN = 4096


class Histogram:
    """``counts`` has one more than there are bounds: what took longer than the last."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def note(self, seconds: float, times: int = 1) -> None:
        if seconds < 0:
            seconds = 0.0  # the clock was set back
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum_s += seconds * times


class Counters:
    """``config_now`` is asked after every reload."""

    def __init__(self, config: Config) -> None:
        self.config_now: Callable[[], Config] = lambda: config
        self.accepted = 0
        self.accept_s = Histogram(_ACCEPT_BOUNDS)
        self.send_s = Histogram(_SEND_BOUNDS)
        # The only item of each is the count: found once for an event, by one look.
        self._recipients: dict[Labels, list[int]] = {}
        self._failures: dict[Labels, int] = {}
        self._config = config
        # The counts by what events name, as they were found before.
        self._known: dict[tuple[str | None, str | None, str | None, str], list[int]] = {}

    def recipients(self) -> Mapping[Labels, int]:
        """By tenant, upstream, route and result."""
        return {labels: count[0] for labels, count in self._recipients.copy().items()}

    def failures(self) -> Mapping[Labels, int]:
        """By cause and scope."""
        return self._failures.copy()

    def note(self, told: Sequence[tuple[Event, bytes]]) -> None:
        """Events with their lines, just committed."""
        now = time()
        for event, _ in told:
            name = event.name
            if name == "email.accepted":
                self.accepted += 1
                self.accept_s.note(now - event.ts)
            elif name in _RESULTS:
                self._note_result(event, _RESULTS[name])
            elif name == "config.reloaded":
                self._configure(self.config_now())

    def _note_result(self, event: Event, result: str) -> None:
        fields = event.fields
        if result != "relayed":
            failure = (fields["cause"], fields["scope"])
            self._failures[failure] = self._failures.get(failure, 0) + 1
        if "kind" in fields:
            return  # the relay's own mail
        named = (event.tenant, fields.get("upstream"), fields.get("route"), result)
        count = self._known.get(named) or self._count_of(*named)
        recipients = len(fields["recipients"])
        count[0] += recipients
        if result == "relayed":
            self.send_s.note(fields["queued_ms"] / 1000, recipients)

    def _count_of(
        self, tenant: str | None, upstream: str | None, route: str | None, result: str
    ) -> list[int]:
        config = self._config
        labels = (
            tenant if tenant and tenant in config.tenants else "",
            upstream if upstream and upstream in config.upstreams else "",
            route or "",
            result,
        )
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        count = self._recipients.setdefault(labels, [0])
        self._known[tenant, upstream, route, result] = count
        return count

    def _configure(self, config: Config) -> None:
        """What was counted under names that are gone is gone, too."""
        self._config = config
        self._known.clear()
        self._recipients = {
            labels: count
            for labels, count in self._recipients.items()
            if (not labels[0] or labels[0] in config.tenants)
            and (not labels[1] or labels[1] in config.upstreams)
        }
