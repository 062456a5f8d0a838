"""What the verbs of the command line do to the store, with the relay up or down.

Synchronous and short-lived. Each change and the events that tell of it are one transaction, which
also moves the generation, so that a running relay looks before its next attempt.
"""

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType

from relay.model.events import (
    Event,
    suppression_added,
    suppression_removed,
    tenant_reset,
    tenant_toggled,
    upstream_paused,
    upstream_resumed,
)
from relay.model.figures import Tallies
from relay.model.identifiers import decode
from relay.model.pause import Held, Pause
from relay.model.suppression import Suppression
from relay.model.toggle import Toggle
from relay.model.value import value_class
from relay.queue.lock import is_served, lock_path
from relay.queue.spooled import pieces, spool_path
from relay.queue.sqlite import editing, listing, pausing, suppressing, tallying, trail
from relay.queue.sqlite.access import forbidden, open_existing
from relay.queue.sqlite.changes import add_events
from relay.queue.sqlite.connecting import begin
from relay.queue.sqlite.counting import Counts, counts
from relay.queue.sqlite.editing import no_such_message
from relay.queue.sqlite.failure import explained
from relay.queue.sqlite.listing import Listed, Selection
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.retention import Render
from relay.queue.sqlite.rows import (
    micros,
    pause_row,
    seconds,
    storable,
    toggle_from,
    toggle_row,
)
from relay.queue.sqlite.trail import Wanted

# Changed in one transaction, so that the relay's writer never waits for long.
_RETRIED_AT_ONCE = 200
_SUPPRESSED_AT_ONCE = 500


class Administration:
    """``with Administration(path, render) as administration:``; raises StoreMissing, StoreForbidden
    or StoreUnusable at once, StoreError later. ``render`` makes the line of an event."""

    def __init__(self, path: Path, render: Render) -> None:
        self._path = path
        self._render = render
        self._connection = open_existing(path)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Administration":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- toggles

    def set_toggle(self, toggle: Toggle) -> int:
        """The generation from which on attempts go by it."""
        with self._change() as change:
            change.connection.execute(SQL["set_toggle"], toggle_row(toggle))
            change.events.append(tenant_toggled(toggle))
        return change.generation

    def reset_toggle(self, tenant: str, actor: str, reason: str) -> int:
        """From here on the configuration's word counts for the tenant; the generation from which on
        attempts go by it."""
        with self._change() as change:
            change.connection.execute(SQL["reset_toggle"], (tenant,))
            change.events.append(tenant_reset(tenant, actor, reason))
        return change.generation

    def reached(self) -> int:
        """Every attempt that is under way began at this generation, or later."""
        with self._explained():
            generation: int = self._connection.execute(SQL["reached"]).fetchone()[0]
        return generation

    def ask_reload(self, actor: str) -> int:
        """Have a running relay read its configuration anew; the number of the request."""
        with self._change() as change:
            row = change.connection.execute(SQL["ask_reload"], (storable(actor),)).fetchone()
        number: int = row[0]
        return number

    def toggles(self) -> dict[str, Toggle]:
        with self._explained():
            rows = self._connection.execute(SQL["toggles"], {"now": micros(time.time())})
            return {toggle.tenant: toggle for toggle in map(toggle_from, rows.fetchall())}

    # -- pauses

    def pauses(self) -> list[Pause]:
        with self._explained():
            return list(pausing.stored(self._connection).values())

    def pause_upstream(self, upstream: str, actor: str, reason: str, until: float | None) -> None:
        """Hold back all that would go through it, until then (Unix seconds) or until resumed."""
        pause = Pause(
            Held(upstream), since=time.time(), until=until, failures=0, actor=actor, reason=reason
        )
        with self._change() as change:
            change.connection.execute(SQL["set_pause"], pause_row(pause))
            change.events.append(upstream_paused(pause))

    def resume_upstream(self, upstream: str, actor: str, reason: str) -> int:
        """Every pause on it ends, by hand or not: of the whole, of tenants' ways, of senders."""
        with self._change() as change:
            ended = pausing.end_all(change.connection, upstream)
            now = time.time()
            change.events.extend(upstream_resumed(pause, actor, reason, now) for pause in ended)
        return len(ended)

    # -- suppressions

    def suppressions(
        self, tenant: str | None = None, address: str | None = None
    ) -> Iterator[Suppression]:
        """Those in force, by tenant and address; ``tenant`` "" are those for all tenants."""
        with self._explained():
            pages = suppressing.pages(self._connection, tenant, address, time.time())
            yield from chain.from_iterable(pages)

    def suppress(self, entries: Iterable[Suppression]) -> int:
        """How many of them were new or changed."""
        remaining, changed = iter(entries), 0
        while some := list(islice(remaining, _SUPPRESSED_AT_ONCE)):
            with self._change() as change:
                added = suppressing.add(change.connection, some)
                change.events.extend(map(suppression_added, added))
            changed += len(added)
        return changed

    def unsuppress(self, tenant: str, address: str, actor: str, reason: str) -> bool:
        """Whether the tenant, or with "" the list for all, had such an entry."""
        with self._change() as change:
            entry = suppressing.remove(change.connection, tenant, address)
            if entry:
                change.events.append(suppression_removed(entry, actor, reason))
        return entry is not None

    # -- messages

    def messages(
        self, dead: bool, tenant: str | None = None, limit: int | None = None
    ) -> Iterator[Listed]:
        """What is queued in order of arrival, or the dead letters in order of death."""
        with self._explained():
            pages = listing.pages(self._connection, Selection(dead, tenant))
            yield from islice(chain.from_iterable(pages), limit)

    def message(self, queue_id: str) -> Listed | None:
        with self._explained():
            return listing.one(self._connection, queue_id)

    def content(self, queue_id: str) -> Iterator[bytes]:
        """The octets in wire form. Raises NoSuchMessage."""
        listed = self.message(queue_id)
        if listed is None:
            raise no_such_message(queue_id)
        content = listed.message.content
        with self._explained():
            if content.spool is not None:
                yield from pieces(spool_path(self._path), content.spool, content.size)
                return
            row = self._connection.execute(SQL["octets"], (decode(queue_id),)).fetchone()
            if row is None:
                raise no_such_message(queue_id)
            yield row[0]

    def retry(self, which: Iterable[str] | Selection, actor: str) -> list[str]:
        """The queue_ids of those that are tried again: not the unknown, nor those that a running
        relay is trying already. Of dead letters, only the recipients that failed or expired."""
        retried: list[str] = []
        with self._explained():
            for numbers in self._batches(which):
                retried += self._retry(numbers, actor)
        return retried

    def drop(self, queue_id: str, actor: str) -> None:
        """Raises NoSuchMessage, and UnderWay where a running relay is handing it over."""
        with self._change() as change:
            event, spool = editing.drop(
                change.connection, queue_id, actor, served_by=self.served_by()
            )
            change.events.append(event)
        if spool:
            with suppress(OSError):
                (spool_path(self._path) / spool).unlink()

    def counts(self) -> Counts:
        with self._explained():
            return counts(self._connection)

    def tallies(self, since: float) -> Tallies:
        """What applications' mail came to since then (Unix seconds), or half an hour before."""
        with self._explained():
            return tallying.since(self._connection, since)

    def last_sent(self) -> dict[str, float]:
        """When a tenant's mail ("": of none) was last handed over, in Unix seconds; those alone
        who have sent any."""
        with self._explained():
            rows = self._connection.execute(SQL["last_sent"]).fetchall()
            return {tenant: seconds(at) for tenant, at in rows}

    # -- the trail

    def latest(self, names: Collection[str], tenant: str | None = None) -> bytes | None:
        """The last line of these events, of a tenant or of whomever; however long the trail is.
        ValueError for email.accepted, email.sent and email.deferred."""
        with self._explained():
            return trail.latest(self._connection, names, tenant)

    def tell(self, *events: Event) -> None:
        """Put on record what changes nothing in the queue: a test, a check, a drill."""
        with self._transaction():
            self._add(events)

    def events(
        self,
        since: float | None = None,
        until: float | None = None,
        names: Collection[str] = (),
        tenant: str | None = None,
        queue_id: str | None = None,
        after_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[bytes]:
        """Lines as they were stored, in order of their time: from ``since`` on (Unix seconds) and
        before ``until``; behind ``after_id`` (an event_id), the first ``limit`` of them."""
        wanted = Wanted(since, until, names, tenant, queue_id, after_id, limit)
        with self._explained():
            yield from trail.events(self._connection, wanted)

    # -- within

    @contextmanager
    def _change(self) -> Iterator["_Change"]:
        """One transaction: what is done to ``connection``, the ``events`` of it, and the generation
        that begins with it."""
        with self._transaction():
            moved = self._connection.execute(SQL["move_generation"]).fetchone()
            change = _Change(self._connection, moved[0], [])
            yield change
            self._add(change.events)

    def _add(self, events: Sequence[Event]) -> None:
        add_events(self._connection, [(event, self._render(event)) for event in events])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            begin(self._connection)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explained(self._path, error) from error

    def _retry(self, numbers: Sequence[int], actor: str) -> list[str]:
        with self._change() as change:
            change.events.extend(
                editing.retry(
                    change.connection, numbers, actor, now=time.time(), served_by=self.served_by()
                )
            )
        return [event.queue_id for event in change.events if event.queue_id]

    def served_by(self) -> int | None:
        """The process of the relay that serves the store, if one does. Raises StoreForbidden."""
        try:
            return is_served(self._path)
        except PermissionError as error:
            raise forbidden(lock_path(self._path)) from error

    def _batches(self, which: Iterable[str] | Selection) -> Iterator[list[int]]:
        if isinstance(which, Selection):
            for page in listing.pages(self._connection, which):
                yield _numbers(listed.message.queue_id for listed in page)
            return
        numbers = iter(_numbers(which))
        while some := list(islice(numbers, _RETRIED_AT_ONCE)):
            yield some


@value_class
class _Change:
    connection: Connection
    generation: int
    events: list[Event]


def _numbers(queue_ids: Iterable[str]) -> list[int]:
    """Those that can be queue_ids at all; no message has any other."""
    numbers = []
    for queue_id in queue_ids:
        with suppress(ValueError):
            numbers.append(decode(queue_id))
    return numbers
