"""Which messages a verb is to change: named one by one, or by what they have in common."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from relay.cli import access, options, output, progress
from relay.cli.access import Trouble
from relay.cli.messages import listing

if TYPE_CHECKING:
    from relay.queue.sqlite.admin import Administration
    from relay.queue.sqlite.listing import Listed


@dataclass(frozen=True, slots=True)
class Picked:
    """``queue_ids``, or all those with this tenant and cause. Anything else is wrong usage."""

    queue_ids: Sequence[str]
    tenant: str | None
    cause: str | None
    everything: bool

    def __post_init__(self) -> None:
        filtered = bool(self.tenant or self.cause)
        if sum((bool(self.queue_ids), filtered, self.everything)) != 1:
            raise typer.BadParameter("name queue ids, or --tenant and --cause, or --all")


def retry(store: "Administration", picked: Picked, *, dead: bool, as_json: bool) -> None:
    """Tells how many are tried again, or of each whether it is; Trouble where one that was named is
    under way already."""
    if picked.queue_ids:
        queue_ids = named(store, picked.queue_ids, dead=dead)
    else:
        queue_ids = _matching(store, picked, dead=dead)
    retried = store.retry(progress.told(queue_ids, "messages"), access.actor())
    under_way = set(queue_ids).difference(retried)
    if as_json:
        output.json_lines({"queue_id": one, "retried": one not in under_way} for one in queue_ids)
    else:
        print(f"{len(retried)} {'message' if len(retried) == 1 else 'messages'} will be tried now")
    if under_way and picked.queue_ids:
        raise Trouble(f"being handed over just now: {', '.join(sorted(under_way))}")


def drop(store: "Administration", queue_ids: Sequence[str], *, dead: bool, as_json: bool) -> None:
    for queue_id in progress.told(named(store, queue_ids, dead=dead), "messages"):
        store.drop(queue_id, access.actor())
        if as_json:
            output.json_lines([{"queue_id": queue_id, "dropped": True}])
        else:
            print(f"{queue_id} is dropped")


def named(store: "Administration", queue_ids: Sequence[str], *, dead: bool) -> list[str]:
    """The queue ids as they are stored. Trouble, before anything is changed, where one is not
    there, or is dead where it should wait, or waits where it should be dead."""
    return [_named(store, queue_id, dead=dead).message.queue_id for queue_id in queue_ids]


def having(cause: str | None, messages: "Iterable[Listed]") -> "Iterator[Listed]":
    """Those with the cause, or all. ``expired``, and what one waited for until then, both hold."""
    options.check_cause(cause or None)
    return (listed for listed in messages if cause is None or _has(cause, listed))


def _named(store: "Administration", queue_id: str, *, dead: bool) -> "Listed":
    listed = store.message(queue_id)
    if listed is None:
        raise Trouble(f"no message {queue_id}; relay audit --queue-id {queue_id} has its trail")
    if dead and listed.dead_since is None:
        raise Trouble(f"{queue_id} is no dead letter, it waits: relay queue show {queue_id}")
    if listed.dead_since is not None and not dead:
        raise Trouble(f"{queue_id} is a dead letter: relay dead show {queue_id}")
    return listed


def _matching(store: "Administration", picked: Picked, *, dead: bool) -> list[str]:
    messages = having(picked.cause, store.messages(dead=dead, tenant=picked.tenant))
    return [listed.message.queue_id for listed in progress.told(messages, "messages read")]


def _has(cause: str, listed: "Listed") -> bool:
    concerned = listing.concerned(listed.message)
    return any(cause in (listing.cause_of(one), one.cause) for one in concerned)
