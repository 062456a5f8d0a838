"""How the relay stands: what waits, what is dead, what is held back, who is off, and how the last
day went. Read from the store, with the relay up or down.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

from relay.config.schema import Config
from relay.config.switches import switches
from relay.model.figures import Figures, Tally, summed, total
from relay.model.pause import Pause
from relay.model.toggle import Switch
from relay.model.value import value_class
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.counting import Counts
from relay.record.audit import rfc3339
from relay.record.rows import Row, figures_row, pause_row, switch_row

_DAY_S = 86400.0
# The routes of a tenant with a pilot that are seen side by side.
_COMPARED = ("tenant", "pilot")


@value_class
class Standing:
    """As of ``at``; the figures are those from ``since`` on (Unix seconds). ``tenants`` has "" for
    mail of none; a pilot's key is tenant and route."""

    at: float
    since: float
    counts: Counts
    pauses: Sequence[Pause]
    switches: Sequence[Switch]
    total: Figures
    tenants: Mapping[str, Figures]
    upstreams: Mapping[str, Figures]
    pilots: Mapping[tuple[str, str], Figures]

    def as_json(self) -> dict[str, Row | list[Row]]:
        """By what it is about."""
        return {
            "queue": self._queue_row(),
            "pauses": [pause_row(pause.held, pause, self.at) for pause in self.pauses],
            "toggles": list(map(switch_row, self.switches)),
            "total": {"since": rfc3339(self.since)} | figures_row(self.total),
            "tenants": list(self._tenant_rows()),
            "upstreams": [
                {"upstream": name} | figures_row(figures)
                for name, figures in self.upstreams.items()
            ],
            "pilots": list(self._pilot_rows()),
        }

    def _queue_row(self) -> Row:
        counts = self.counts
        return {
            "at": rfc3339(self.at),
            "queued": counts.pending + counts.claimed,
            "under_way": counts.claimed,
            "dead_letters": counts.dead,
            "oldest_at": None if counts.oldest_at is None else rfc3339(counts.oldest_at),
        }

    def _tenant_rows(self) -> Iterator[Row]:
        for name, figures in self.tenants.items():
            waiting = self.counts.pending_of.get(name, 0)
            yield {"tenant": name or None, "waiting": waiting} | figures_row(figures)

    def _pilot_rows(self) -> Iterator[Row]:
        for (tenant, route), figures in self.pilots.items():
            share = {"failed_share": figures.failed_share}
            yield {"tenant": tenant, "route": route} | figures_row(figures) | share


def standing(config: Config, store: Administration) -> Standing:
    """Raises StoreError."""
    now = time.time()
    counts, tallies = store.counts(), store.tallies(now - _DAY_S)
    tenants = summed(tallies.by_way, lambda tally: tally.tenant)
    for name in counts.pending_of:
        tenants.setdefault(name, Figures())
    return Standing(
        now,
        tallies.since,
        counts,
        [pause for pause in store.pauses() if not pause.is_over(now)],
        [switch for switch in switches(config, store.toggles()) if switch.is_news],
        total(tenants.values()),
        dict(sorted(tenants.items())),
        dict(sorted(summed(tallies.by_way, lambda tally: tally.upstream or None).items())),
        _pilots(config, tallies.by_way),
    )


def _pilots(config: Config, by_way: Sequence[Tally]) -> Mapping[tuple[str, str], Figures]:
    """Who has a pilot is compared, also before it has had any mail."""
    piloting = {tenant.name for tenant in config.tenants.values() if tenant.pilot}
    pilots = {(name, route): Figures() for name in sorted(piloting) for route in _COMPARED}

    def compared(tally: Tally) -> tuple[str, str] | None:
        key = tally.tenant, tally.route
        return key if key in pilots else None

    return pilots | summed(by_way, compared)
