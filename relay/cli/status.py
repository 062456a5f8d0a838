"""``relay status``: what waits, what is dead, what is held back, who is off, and how the last day
went.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.tenant import switch
from relay.cli.upstream import pauses

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.figures import Figures
    from relay.model.pause import Pause
    from relay.model.toggle import Switch
    from relay.queue.sqlite.admin import Administration
    from relay.queue.sqlite.counting import Counts
    from relay.standing import Standing

app = typer.Typer()

_WATCHED_EVERY_S = 2.0
# The cursor goes to the corner, and what was there before goes.
_ANEW = "\x1b[H\x1b[2J"
_FIGURES = ("SENT", "DEFERRED", "FAILED", "EXPIRED", "MEAN TIME", "P95")
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
    from relay.standing import standing

    now = standing(config, store)
    if as_json:
        output.json_lines(_rows(now))
    else:
        _show_to_people(now)


def _rows(standing: "Standing") -> Iterator[dict[str, Any]]:
    """``about`` says what a row is of: queue, pause, toggle, total, tenant, upstream or pilot."""
    for about, of in standing.as_json().items():
        for row in of if isinstance(of, list) else [of]:
            yield {"about": about.removesuffix("s")} | row


def _show_to_people(standing: "Standing") -> None:
    output.facts(
        {
            "queued": _queued(standing.counts),
            "dead letters": str(standing.counts.dead),
            "sent (24 h)": _sent(standing.total),
            "failed (24 h)": f"{standing.total.failed}, expired {standing.total.expired}",
        }
    )
    _section("held back", _PAUSE_TITLES, list(map(_pause_cells, standing.pauses)))
    _section(
        "off, or not as the file says", _SWITCH_TITLES, list(map(_switch_cells, standing.switches))
    )
    waiting = standing.counts.pending_of
    tenants = [
        (name or "none", str(waiting.get(name, 0)), *_cells(figures))
        for name, figures in standing.tenants.items()
    ]
    _section("24 hours, by tenant", ("TENANT", "WAITING", *_FIGURES), tenants)
    upstreams = [(name, *_cells(figures)) for name, figures in standing.upstreams.items()]
    _section("24 hours, by upstream", ("UPSTREAM", *_FIGURES), upstreams)
    pilots = [
        (*key, *_cells(figures), _percent(figures.failed_share))
        for key, figures in standing.pilots.items()
    ]
    _section("24 hours, pilots", _PILOT_TITLES, pilots)


def _queued(counts: "Counts") -> str:
    text = str(counts.pending + counts.claimed)
    if counts.claimed:
        text += f", {counts.claimed} of them under way"
    if counts.oldest_at:
        text += f", the oldest for {output.since(counts.oldest_at)}"
    return text


def _sent(total: "Figures") -> str:
    if not total.sent:
        return "0"
    return f"{total.sent}, mean time {_time(total.mean_ms)}, 95% within {_time(total.p95_ms)}"


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


def _switch_cells(one: "Switch") -> tuple[str, ...]:
    return one.tenant, switch.state(one), switch.ends(one), switch.why(one)


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
