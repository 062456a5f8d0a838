"""``relay status``: what waits, what is dead, what is held back, who is off, and how the last day
went.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.tenant.switch import Switch, switches
from relay.cli.upstream import pauses

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.figures import Figures, Tally
    from relay.model.pause import Pause
    from relay.queue.sqlite.admin import Administration
    from relay.queue.sqlite.counting import Counts

app = typer.Typer()

_DAY_S = 86400.0
_WATCHED_EVERY_S = 2.0
# The cursor goes to the corner, and what was there before goes.
_ANEW = "\x1b[H\x1b[2J"
_FIGURES = ("SENT", "DEFERRED", "FAILED", "EXPIRED", "MEAN TIME", "P95")
# The routes of a tenant with a pilot that are seen side by side.
_COMPARED = ("tenant", "pilot")
_PAUSE_TITLES = ("WHAT", "SINCE", "NEXT TRY", "WHY")
_SWITCH_TITLES = ("TENANT", "STATE", "UNTIL", "WHY")
_PILOT_TITLES = ("TENANT", "ROUTE", *_FIGURES, "FAILED SHARE")


@app.command(
    epilog=options.examples(
        "relay status",
        "relay status --watch",
        "relay status --watch 10s",
        "relay status --json | jq 'select(.about == \"upstream\")'",
    )
)
def status(
    context: typer.Context,
    every: Annotated[
        str | None,
        typer.Argument(metavar="INTERVAL", help="With --watch: 5s, 1m. Default: 2s."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again and again until Ctrl-C.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """What waits, what is held back, and how the last 24 hours went.

    Recipients sent, deferred (once for each attempt), failed and expired, and the time from the
    application's 250 to the upstream's (the mean, and that within which 95 of 100 were sent), by
    tenant and by upstream; a pilot beside the tenant's own way. The relay's own mail is not
    counted. The counts begin with the half hour that was under way 24 hours ago.
    """
    if every and not watch:
        raise typer.BadParameter("say --watch, too", param_hint="INTERVAL")
    interval_s = options.length_s(every, "INTERVAL") if every else _WATCHED_EVERY_S
    config = access.configuration(context)
    with access.store(config) as store:
        if watch:
            _watch(lambda: _show(config, store, as_json), interval_s, as_json)
        else:
            _show(config, store, as_json)


def _watch(show: Callable[[], None], interval_s: float, as_json: bool) -> None:
    """Drawn anew on a terminal; in a pipe one follows the other."""
    first = True
    with suppress(KeyboardInterrupt):
        while True:
            if _is_drawn() and not as_json:
                print(_ANEW, end="")
            elif not first and not as_json:
                print()
            show()
            output.flush()
            first = False
            time.sleep(interval_s)


def _is_drawn() -> bool:
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and os.environ.get("TERM") != "dumb"


def _show(config: "Config", store: "Administration", as_json: bool) -> None:
    standing = _standing(config, store)
    if as_json:
        output.json_lines(standing.rows())
    else:
        standing.show()


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is told, as of ``at``; the figures are those from ``since`` on (Unix seconds).
    ``tenants`` has "" for mail of none; a pilot's key is tenant and route."""

    at: float
    since: float
    counts: "Counts"
    pauses: "Sequence[Pause]"
    switches: Sequence[Switch]
    total: "Figures"
    tenants: "Mapping[str, Figures]"
    upstreams: "Mapping[str, Figures]"
    pilots: "Mapping[tuple[str, str], Figures]"

    def rows(self) -> Iterator[dict[str, Any]]:
        """``about`` says what a row is of: queue, pause, toggle, total, tenant, upstream or
        pilot."""
        from relay.record.audit import rfc3339

        counts = self.counts
        yield {
            "about": "queue",
            "at": rfc3339(self.at),
            "queued": counts.pending + counts.claimed,
            "under_way": counts.claimed,
            "dead_letters": counts.dead,
            "oldest_at": None if counts.oldest_at is None else rfc3339(counts.oldest_at),
        }
        for pause in self.pauses:
            yield {"about": "pause"} | pauses.row(pause.held, pause)
        for switch in self.switches:
            yield {"about": "toggle"} | switch.row
        yield {"about": "total", "since": rfc3339(self.since)} | _row(self.total)
        for name, figures in self.tenants.items():
            waiting = counts.pending_of.get(name, 0)
            yield {"about": "tenant", "tenant": name or None, "waiting": waiting} | _row(figures)
        for name, figures in self.upstreams.items():
            yield {"about": "upstream", "upstream": name} | _row(figures)
        for (tenant, route), figures in self.pilots.items():
            share = {"failed_share": figures.failed_share}
            yield {"about": "pilot", "tenant": tenant, "route": route} | _row(figures) | share

    def show(self) -> None:
        output.facts(
            {
                "queued": self._queued(),
                "dead letters": str(self.counts.dead),
                "sent (24 h)": self._sent(),
                "failed (24 h)": f"{self.total.failed}, expired {self.total.expired}",
            }
        )
        _section("held back", _PAUSE_TITLES, list(map(_pause_cells, self.pauses)))
        _section(
            "off, or not as the file says", _SWITCH_TITLES, list(map(_switch_cells, self.switches))
        )
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

    def _sent(self) -> str:
        total = self.total
        if not total.sent:
            return "0"
        return f"{total.sent}, mean time {_time(total.mean_ms)}, 95% within {_time(total.p95_ms)}"


def _standing(config: "Config", store: "Administration") -> Standing:
    from relay.model.figures import Figures, summed, total

    now = time.time()
    counts, tallies = store.counts(), store.tallies(now - _DAY_S)
    tenants = summed(tallies.by_way, lambda tally: tally.tenant)
    for name in counts.pending_of:
        tenants.setdefault(name, Figures())
    return Standing(
        now,
        tallies.since,
        counts,
        [pause for pause in store.pauses() if not pauses.is_over(pause, now)],
        [switch for switch in switches(config, store.toggles()) if switch.is_news],
        total(tenants.values()),
        _sorted(tenants),
        _sorted(summed(tallies.by_way, lambda tally: tally.upstream or None)),
        _pilots(config, tallies.by_way),
    )


def _pilots(config: "Config", by_way: "Sequence[Tally]") -> "Mapping[tuple[str, str], Figures]":
    """Who has a pilot is compared, also before it has had any mail."""
    from relay.model.figures import Figures, summed

    piloting = {tenant.name for tenant in config.tenants.values() if tenant.pilot}
    pilots = {(name, route): Figures() for name in sorted(piloting) for route in _COMPARED}

    def compared(tally: "Tally") -> tuple[str, str] | None:
        key = tally.tenant, tally.route
        return key if key in pilots else None

    return pilots | summed(by_way, compared)


def _sorted(figures: "Mapping[str, Figures]") -> "dict[str, Figures]":
    return dict(sorted(figures.items()))


def _section(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Nothing where there is nothing to tell."""
    if rows:
        print(f"\n{title}")
        output.table(titles, rows)


def _pause_cells(pause: "Pause") -> tuple[str, ...]:
    return (
        pauses.subject(pause.held),
        output.since(pause.since),
        pauses.end(pause),
        pauses.why(pause),
    )


def _switch_cells(switch: Switch) -> tuple[str, ...]:
    return switch.tenant, switch.state, switch.ends, switch.why


def _row(figures: "Figures") -> dict[str, Any]:
    return {
        "sent": figures.sent,
        "deferred": figures.deferred,
        "failed": figures.failed,
        "expired": figures.expired,
        "mean_ms": _rounded(figures.mean_ms),
        "p95_ms": _rounded(figures.p95_ms),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _cells(figures: "Figures") -> tuple[str, ...]:
    counts = (figures.sent, figures.deferred, figures.failed, figures.expired)
    return (*map(str, counts), _time(figures.mean_ms), _time(figures.p95_ms))


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
