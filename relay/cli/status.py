"""``relay status``: what waits, what is dead, what is held back, and how the last day went."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from relay.cli import access, options, output, pausing

if TYPE_CHECKING:
    from relay.cli.figures import Figures, Way
    from relay.cli.ways import Ways
    from relay.config.schema import Config
    from relay.model.pause import Pause
    from relay.queue.sqlite.admin import Administration
    from relay.queue.sqlite.counting import Counts

app = typer.Typer()

_DAY_S = 86400.0
_FIGURES = ("SENT", "DEFERRED", "FAILED", "EXPIRED", "MEAN TIME")
# The routes of a tenant with a pilot that are seen side by side.
_COMPARED = ("tenant", "pilot")
_PAUSE_TITLES = ("WHAT", "SINCE", "NEXT TRY", "WHY")
_PILOT_TITLES = ("TENANT", "ROUTE", *_FIGURES, "FAILED SHARE")


@app.command(
    epilog=options.examples(
        "relay status", "relay status --json | jq 'select(.about == \"upstream\")'"
    )
)
def status(context: typer.Context, as_json: options.Json = False) -> None:
    """What waits, what is held back, and how the last 24 hours went.

    Recipients sent, deferred (once for each attempt), failed and expired, and the mean time from
    the application's 250 to the upstream's, by tenant and by upstream; a pilot beside the tenant's
    own way. The relay's own mail is not counted.
    """
    from relay.cli.ways import Ways

    config = access.configuration(context)
    with access.store(config) as store:
        ways = Ways(config, access.orders_in(store))
        standing = _standing(config, store, ways)
    if as_json:
        output.json_lines(standing.rows())
    else:
        standing.show()


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is told; the figures are of 24 hours. ``tenants`` has "" for mail of none; a
    pilot's key is tenant and route."""

    counts: "Counts"
    ways: "Ways"
    tenants: "Mapping[str, Figures]"
    upstreams: "Mapping[str, Figures]"
    pilots: "Mapping[tuple[str, str], Figures]"

    def rows(self) -> Iterator[dict[str, Any]]:
        """``about`` says what a row is of: queue, pause, tenant, upstream or pilot."""
        from relay.record.audit import rfc3339

        counts = self.counts
        yield {
            "about": "queue",
            "queued": counts.pending + counts.claimed,
            "under_way": counts.claimed,
            "dead_letters": counts.dead,
            "oldest_at": None if counts.oldest_at is None else rfc3339(counts.oldest_at),
        }
        for held, pause in self.ways.pauses.items():
            yield {"about": "pause"} | pausing.row(held, pause)
        for name, figures in self.tenants.items():
            waiting = counts.pending_of.get(name, 0)
            yield {"about": "tenant", "tenant": name or None, "waiting": waiting} | figures.row
        for name, figures in self.upstreams.items():
            yield {"about": "upstream", "upstream": name} | figures.row
        for (tenant, route), figures in self.pilots.items():
            share = {"failed_share": figures.failed_share}
            yield {"about": "pilot", "tenant": tenant, "route": route} | figures.row | share

    def show(self) -> None:
        output.facts({"queued": self._queued(), "dead letters": str(self.counts.dead)})
        pauses = map(_pause_cells, self.ways.pauses.values())
        _section("held back", _PAUSE_TITLES, list(pauses))
        waiting = self.counts.pending_of
        tenants = [
            (name or "none", str(waiting.get(name, 0)), *_cells(figures))
            for name, figures in self.tenants.items()
        ]
        _section("24 hours, by tenant", ("TENANT", "WAITING", *_FIGURES), tenants)
        upstreams = [(name, *_cells(figures)) for name, figures in self.upstreams.items()]
        _section("24 hours, by upstream", ("UPSTREAM", *_FIGURES), upstreams)
        pilots = [
            (*key, *_cells(figures), _percent(figures.failed_share))
            for key, figures in self.pilots.items()
        ]
        _section("24 hours, pilots", _PILOT_TITLES, pilots)

    def _queued(self) -> str:
        counts = self.counts
        text = str(counts.pending + counts.claimed)
        if counts.claimed:
            text += f", {counts.claimed} of them under way"
        if counts.oldest_at:
            text += f", the oldest for {output.since(counts.oldest_at)}"
        return text


def _standing(config: "Config", store: "Administration", ways: "Ways") -> Standing:
    from relay.cli.figures import COUNTED, Figures, count, summed

    counted = count(store.events(time.time() - _DAY_S, names=COUNTED))
    counts = store.counts()
    tenants = summed(counted, lambda way: way.tenant or "")
    for name in counts.pending_of:
        tenants.setdefault(name, Figures())
    # Who has a pilot is compared, also before it has had any mail.
    piloting = {tenant.name for tenant in config.tenants.values() if tenant.pilot}
    pilots = {(name, route): Figures() for name in sorted(piloting) for route in _COMPARED}
    pilots |= summed(counted, partial(_compared, piloting=piloting))
    upstreams = summed(counted, lambda way: way.upstream)
    return Standing(counts, ways, _sorted(tenants), _sorted(upstreams), pilots)


def _compared(way: "Way", piloting: Collection[str]) -> tuple[str, str] | None:
    if way.tenant in piloting and way.route in _COMPARED:
        return way.tenant or "", way.route or ""
    return None


def _sorted(figures: "Mapping[str, Figures]") -> "dict[str, Figures]":
    return dict(sorted(figures.items()))


def _section(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Nothing where there is nothing to tell."""
    if rows:
        print(f"\n{title}")
        output.table(titles, rows)


def _pause_cells(pause: "Pause") -> tuple[str, ...]:
    return (
        pausing.subject(pause.held),
        output.since(pause.since),
        pausing.end(pause),
        pausing.why(pause),
    )


def _cells(figures: "Figures") -> tuple[str, ...]:
    counts = (figures.sent, figures.deferred, figures.failed, figures.expired)
    return (*map(str, counts), _time(figures.mean_ms))


def _time(milliseconds: float | None) -> str:
    """140ms, 1.2s, 5m."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f}ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f}s" if seconds < 60 else output.duration(seconds)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
