"""``relay audit``: the trail, as it is stored or as a person reads it; also while it grows."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output

if TYPE_CHECKING:
    from relay.queue.sqlite.admin import Administration

app = typer.Typer()

_LOOK_EVERY_S = 0.5
# An event is on record some time after it was made, which is what it is sorted by: so far back
# a follower looks again.
_LATE_S = 5.0
_USUALLY = "24h"
# Where an event names addresses: one, or a list of them.
_ADDRESSES = ("recipients", "reverse_path", "header_from", "address", "sender")

# The events between two moments, in Unix seconds; None is the end.
Read = Callable[[float, float | None], Iterable[bytes]]


@app.command(
    epilog=options.examples(
        "relay audit --since 2h",
        "relay audit --event email.send_failed --event email.dead_lettered --tenant acme",
        "relay audit --queue-id 0C5Q2J7XKM3ZA",
        "relay audit --since 7d --address ann@customer.example",
        "relay audit --since 2025-11-21T22:00 --until 2025-11-22T06:00 --cause rate_limited",
        "relay audit --follow --json | jq -r .cause",
    )
)
def audit(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="24h",
            help="From when: so long ago (30m, 24h, 7d), or a moment in UTC like "
            "2025-11-21T10:00. Default: 24h; all of it for one message.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="1h", help="To when, said likewise. Default: now.")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only these events; may be repeated.")
    ] = None,
    tenant: options.OneTenant = None,
    queue_id: options.OneQueueId = None,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="NAME", help="Only by this upstream.")
    ] = None,
    cause: options.OneCause = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Only what names this address, as sender or recipient; @domain is all of one.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: options.Json = False,
) -> None:
    """The trail: what happened, in its order.

    Every message's way, every attempt, every change by an administrator. Times are UTC.
    """
    if follow and until:
        raise typer.BadParameter("it has no end while it is followed", param_hint="--until")
    options.check_cause(cause)
    chosen: dict[str, Any] = {
        "names": _known_events(event or []),
        "tenant": tenant,
        "queue_id": queue_id,
    }
    begin = _moment(since or ("" if queue_id else _USUALLY), "--since")
    end = _moment(until, "--until") if until else None
    wanted = Wanted(cause, upstream, address)
    show = _shower(as_json)
    config = access.configuration(context)
    with access.store(config) as store:
        read = partial(_read, store, chosen, wanted)
        # What has left the configuration still has its trail; what neither knows was misspelt, and
        # would look as if nothing had happened.
        if tenant:
            access.check_tenant(config, tenant, any(store.events(tenant=tenant, limit=1)))
        if upstream and upstream not in config.upstreams and not any(read(begin, end)):
            access.named("upstream", upstream, config.upstreams)
        if follow:
            follow_trail(read, begin, show)
        else:
            for line in read(begin, end):
                show(line)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the store has no index of: it is looked for in every event that is read."""

    cause: str | None = None
    upstream: str | None = None
    address: str | None = None

    def filter(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        words = [word for word in (self.cause, self.upstream, self.address) if word]
        return self._having(words, lines) if words else lines

    def _having(self, words: Sequence[str], lines: Iterable[bytes]) -> Iterator[bytes]:
        import orjson

        # Most lines don't have the words anywhere, and to parse them all takes its time.
        needles = [orjson.dumps(word)[1:-1].lower() for word in words]
        for line in lines:
            text = line.lower()
            if all(needle in text for needle in needles) and self._has(orjson.loads(line)):
                yield line

    def _has(self, entry: dict[str, Any]) -> bool:
        return (
            self.cause in (None, entry.get("cause"), entry.get("last_cause"))
            and self.upstream in (None, entry.get("upstream"))
            and (self.address is None or any(map(self._is_meant, _addresses(entry))))
        )

    def _is_meant(self, address: str) -> bool:
        meant, given = (self.address or "").lower(), address.lower()
        return given.endswith(meant) if meant.startswith("@") else given == meant


def _addresses(entry: dict[str, Any]) -> Iterator[str]:
    for key in _ADDRESSES:
        value = entry.get(key)
        yield from value if isinstance(value, list) else [value] if isinstance(value, str) else ()


def _read(
    store: "Administration",
    chosen: dict[str, Any],
    wanted: Wanted,
    since: float,
    until: float | None,
) -> Iterable[bytes]:
    return wanted.filter(store.events(since, until, **chosen))


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
    from relay.record.reading import Prettifier

    prettify = Prettifier(colors=output.colours())
    return lambda line: print(prettify(line))


def _moment(text: str, option: str) -> float:
    """In Unix seconds: so long ago, or a date with or without a time, which is UTC unless it says
    otherwise; "" is the beginning of all."""
    from relay.config.quantities import duration_s

    if not text:
        return 0.0
    with suppress(ValueError):
        return _written_moment(text)
    try:
        return time.time() - duration_s(text)
    except ValueError as error:
        advice = "; or say a moment, like 2025-11-21T10:00"
        raise typer.BadParameter(f"{error}{advice}", param_hint=option) from None


def _written_moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _known_events(names: list[str]) -> list[str]:
    from relay.config.problem import did_you_mean
    from relay.model.events import EVENT_NAMES

    for name in names:
        if name not in EVENT_NAMES:
            advice = did_you_mean(name, EVENT_NAMES)
            raise typer.BadParameter(f'no event "{name}"{advice}', param_hint="--event")
    return names
