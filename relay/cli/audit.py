"""``relay audit``: the trail, as it is stored or as a person reads it; also while it grows."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any

import typer

from relay.cli import access, options, output

app = typer.Typer()

_LOOK_EVERY_S = 0.5
# An event is on record some time after it was made, which is what it is sorted by: so far back
# a follower looks again.
_LATE_S = 5.0
_USUALLY = "24h"

# The events between two moments, in Unix seconds; None is the end.
Read = Callable[[float, float | None], Iterable[bytes]]


@app.command(
    epilog=options.examples(
        "relay audit --since 2h",
        "relay audit --event email.send_failed --event email.dead_lettered --tenant acme",
        "relay audit --queue-id 0C5Q2J7XKM3ZA",
        "relay audit --follow --json | jq -r .cause",
    )
)
def audit(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="24h",
            help="How far back: a duration like 30m, 24h, 7d. Default: 24h; all of it for one "
            "message.",
        ),
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only these events; may be repeated.")
    ] = None,
    tenant: options.OneTenant = None,
    queue_id: options.OneQueueId = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: options.Json = False,
) -> None:
    """The trail: what happened, in its order.

    Every message's way, every attempt, every change by an administrator. Times are UTC.
    """
    names = _known_events(event or [])
    chosen: dict[str, Any] = {"names": names, "tenant": tenant, "queue_id": queue_id}
    begin = _beginning(since, everything=queue_id is not None)
    show = _shower(as_json)
    with access.store(access.configuration(context)) as store:
        if follow:
            follow_trail(partial(store.events, **chosen), begin, show)
        else:
            for line in store.events(begin, **chosen):
                show(line)


def follow_trail(read: Read, begin: float, show: Callable[[bytes], None]) -> None:
    """What there is, then what comes, until Ctrl-C."""
    import orjson

    recent = max(begin, time.time() - _LATE_S)
    for line in read(begin, recent):
        show(line)
    seen: set[str] = set()
    while True:
        events = {orjson.loads(line)["event_id"]: line for line in read(recent, None)}
        for event_id, line in events.items():
            if event_id not in seen:
                show(line)
        output.flush()
        seen = set(events)
        time.sleep(_LOOK_EVERY_S)
        recent = max(recent, time.time() - _LATE_S)


def _shower(as_json: bool) -> Callable[[bytes], None]:
    if as_json:
        return output.raw_line
    from relay.record.audit import Prettifier

    prettify = Prettifier(colors=output.colours())
    return lambda line: print(prettify(line))


def _beginning(since: str | None, *, everything: bool) -> float:
    """In Unix seconds."""
    from relay.config.quantities import duration_s

    if since is None and everything:
        return 0.0
    try:
        return time.time() - duration_s(since or _USUALLY)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _known_events(names: list[str]) -> list[str]:
    from relay.config.problem import did_you_mean
    from relay.model.events import EVENT_NAMES

    for name in names:
        if name not in EVENT_NAMES:
            advice = did_you_mean(name, EVENT_NAMES)
            raise typer.BadParameter(f'no event "{name}"{advice}', param_hint="--event")
    return names
