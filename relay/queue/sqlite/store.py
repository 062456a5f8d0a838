"""The queue's face to the running relay: model.ports.Queue and AuditLog over one SQLite file.

Changes go to the writer thread, reading to a few others; on the event loop itself only the watch
for changes is asked.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Any, TypeVar

import structlog

from relay.model.events import Event
from relay.model.message import Content, Message, Settlement
from relay.model.pause import Held, Pause
from relay.model.ports import (
    NOTHING_MORE,
    Also,
    Due,
    Orders,
    Retention,
    Share,
    Spent,
    StoreError,
    Treatment,
    Untold,
    Usage,
)
from relay.model.suppression import Suppression
from relay.model.value import value_class
from relay.queue.spool import File, SpoolDirectory, Spooled
from relay.queue.spooled import spool_path
from relay.queue.sqlite import (
    claiming,
    connecting,
    counting,
    opening,
    pausing,
    readmitting,
    toggling,
    trail,
)
from relay.queue.sqlite.changes import Change, Outcome, Work, new_message
from relay.queue.sqlite.counting import Counts
from relay.queue.sqlite.failure import explained
from relay.queue.sqlite.ledger import usage_of
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.retention import (
    Purged,
    Render,
    expire_suppressions,
    forget_events,
    forget_strikes,
    give_back_space,
    purge_dead,
)
from relay.queue.sqlite.rows import Line, Row, micros, number_of
from relay.queue.sqlite.settling import settled
from relay.queue.sqlite.trail import Wanted
from relay.queue.sqlite.watch import Watch
from relay.queue.sqlite.writer import Committed, Writer

T = TypeVar("T")

_THREADS = 4
_PIECE_BYTES = 1024 * 1024
# The event loop can't wait longer than this for the watch.
_LOOP_PATIENCE_S = 0.1

diagnostics = structlog.get_logger("relay.queue")


@value_class
class _Parts:
    """What an open store consists of."""

    writer: Writer
    watch: Watch
    reader: Connection


class SqliteStore:
    """``render`` makes the line of an event; ``committed`` gets events with their lines after the
    commit, in its order, on the writer's thread. ``begun`` is opening.open_store where another has
    begun with it. The caller holds queue.lock.ServeLock."""

    def __init__(
        self,
        path: Path,
        *,
        render: Render,
        committed: Committed,
        begun: Future[tuple[int, set[str]]] | None = None,
    ) -> None:
        self._path = path
        self._render = render
        self._committed = committed
        self._begun = begun
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._spool = SpoolDirectory(spool_path(path), self._pool)
        self._spooled = Spooled(self._spool)
        # What the relay has said of pauses and the store has not taken yet; whether orders were
        # given meanwhile.
        self._unstored: list[tuple[Sequence[Pause], Sequence[Held]]] = []
        self._ordered_meanwhile = False
        self._opened: _Parts | None = None
        self._reading = Lock()
        self._lost_events = 0

    async def open(self) -> int:
        """The number of messages that were under way when a former life ended; they are due.

        Raises StoreUnusable where the file is damaged or not ours, with what to do.
        """
        recovered, reader, watching = await self._off_loop(self._prepare)
        watch = Watch(watching)
        connect = partial(connecting.connect, self._path, patience_s=0)
        place = connecting.Place(self._path)
        writer = Writer(connect, place.check, self._committed, watch.note)
        self._opened = _Parts(writer, watch, reader)
        writer.start()
        return recovered

    async def close(self) -> None:
        """Returns when everything submitted is stored. The last connection to close, ours or a
        verb's, brings the write-ahead log into the file."""
        parts, self._opened = self._opened, None
        if parts:
            parts.writer.close()
        await asyncio.to_thread(self._shut, parts)

    # -- model.ports.Queue

    async def add(self, message: Message, *, claimed: bool, events: Sequence[Event]) -> None:
        """A spool file that the content names has been synced before. The chunks of content
        without one are stored; more than a MiB of them is the caller's mistake, not refused."""
        change = new_message(message, claimed=claimed, lines=self._lines(events))
        spool = message.content.spool
        if spool is not None:
            self._spooled.check_synced(spool)
            change.stored = partial(self._spooled.named, message.queue_id, spool, claimed)
        await self._carried_out(change)

    async def due(self, now: float) -> Due:
        return await self._read(lambda connection: claiming.due(connection, now))

    async def claim(
        self, tenant: str, limit: int, now: float, message_class: str = ""
    ) -> list[Message]:
        claim = partial(claiming.claim, tenant=tenant, message_class=message_class)
        return await self._claimed(partial(claim, limit=limit, now=now))

    async def claim_expired(self, limit: int, now: float) -> list[Message]:
        # Asked every second: an idle relay wakes no thread for it.
        if not self.usage.messages:
            return []
        # And hardly ever is there one: no transaction for that.
        if not await self._read(lambda connection: claiming.is_any_expired(connection, now)):
            return []
        return await self._claimed(partial(claiming.claim_expired, limit=limit, now=now))

    async def _claimed(self, work: Work) -> list[Message]:
        claims = asyncio.ensure_future(self._carried_out(Change(work=work)))
        try:
            messages: list[Message] = await asyncio.shield(claims)
        except asyncio.CancelledError:
            # Claims that nobody knows of would lie claimed until the next start.
            claims.add_done_callback(self._return)
            raise
        self._spooled.claimed(messages)
        return messages

    async def hasten(self, now: float, latest: float) -> int:
        # Asked at every start, and hardly ever is there one: no transaction for that.
        if not await self._read(partial(claiming.is_any_late, latest=latest)):
            return 0
        work = partial(claiming.hasten, now=now, latest=latest)
        hastened: int = await self._carried_out(Change(work=work))
        return hastened

    async def apply_classes(self, by_class: Mapping[str, Treatment], others: Treatment) -> None:
        work = partial(claiming.apply_classes, by_class=by_class, others=others)
        await self._carried_out(Change(work=work))

    async def readmit(self, tenancy: str, tenant_of: readmitting.TenantOf) -> int:
        """Bite by bite, so that mail gets in between. What was submitted before is stored first, so
        that nothing of the former tenancy comes behind."""
        await self._carried_out(Change())
        if await self._read(readmitting.sorted_by) == tenancy:
            return 0
        moved, after = 0, -1
        while True:
            look = partial(readmitting.page, after=after, tenant_of=tenant_of)
            page = await self._read(look)
            if page.last is None:
                break
            if page.moves:
                moved += await self._carried_out(Change(work=_moving(page.moves)))
            after = page.last
        await self._carried_out(Change(work=partial(readmitting.done, tenancy=tenancy)))
        return moved

    async def reclassify(self, message: Message) -> None:
        await self._carried_out(Change(work=partial(claiming.reclassify, message=message)))

    async def settle(
        self, settlements: Sequence[Settlement], events: Sequence[Event], also: Also = NOTHING_MORE
    ) -> None:
        """Harmless when repeated, as long as there are events."""
        now, lines = time.time(), self._lines(events)
        change = settled(settlements, lines, also, now=now, render=self._render)
        if self._spooled or also.strikes:
            change.stored = partial(self._settled, self._parts.watch, settlements, also)
        await self._carried_out(change)

    async def release(self, queue_ids: Sequence[str], due: float | None = None) -> None:
        parked_until = None if due is None else micros(due)
        await self._carried_out(Change(released=_unused(queue_ids, parked_until)))

    async def unpark(self, now: float) -> int:
        """Bite by bite: a provider's outage may have parked all there is."""
        unparked, after = 0, -1
        while (last := await self._read(partial(claiming.parked_until, after=after))) is not None:
            work = partial(claiming.unpark, after=after, last=last, now=now)
            unparked += await self._carried_out(Change(work=work))
            after = last
        return unparked

    async def pause(
        self, pauses: Sequence[Pause], ended: Sequence[Held], events: Sequence[Event]
    ) -> None:
        """What an administrator has paused stays as he left it, until its time is up."""
        watch = self._parts.watch
        work = partial(pausing.keep, pauses=pauses, ended=ended, now=time.time())
        said = (pauses, ended)
        self._unstored.append(said)
        try:
            await self._carried_out(Change(work=work, lines=self._lines(events)))
        finally:
            self._unstored.remove(said)
            if self._ordered_meanwhile:
                # An administrator may have been at work just after the commit.
                self._ordered_meanwhile = False
                watch.tell_again()

    async def spent(self, since_slot: int) -> list[Spent]:
        work = partial(counting.spent, since_slot=since_slot)
        spent: list[Spent] = await self._carried_out(Change(work=work))
        return spent

    async def untold(self, purge_soon: float) -> list[Untold]:
        return await self._read(partial(counting.untold, purge_soon=purge_soon))

    async def shares(self) -> Mapping[str, Share]:
        """Over a connection of its own: to look at every message takes a while, for which no
        content should wait."""
        return await self._off_loop(self._shares)

    def suppressed(self, tenant: str, addresses: Sequence[str]) -> Mapping[str, Suppression]:
        """Changes of other processes are known as of the last ``orders``."""
        try:
            return self._parts.watch.suppressed(tenant, addresses)
        except sqlite3.Error as error:
            raise explained(self._path, error) from error

    async def read(self, queue_id: str, content: Content) -> AsyncIterator[bytes]:
        """Raises StoreError in the middle, too: then what was read is not the message."""
        if content.chunks is not None:
            for chunk in content.chunks:
                yield chunk
        elif content.spool is not None:
            async for piece in self._spool.read(content.spool, content.size):
                yield piece
        else:
            octets = await self._read(partial(claiming.octets, queue_id=queue_id))
            for start in range(0, len(octets), _PIECE_BYTES):
                yield octets[start : start + _PIECE_BYTES]

    def orders(self) -> Orders | None:
        """Also says anew what is in force when a toggle's ``until`` has passed."""
        try:
            orders = self._parts.watch.orders()
        except sqlite3.Error as error:
            raise explained(self._path, error) from error
        if orders is None or not self._unstored:
            return orders
        # Else a pause that the store is about to take would look as if somebody had ended it.
        self._ordered_meanwhile = True
        pauses = dict(orders.pauses)
        for said in self._unstored:
            pauses = pausing.overlaid(pauses, *said)
        return replace(orders, pauses=pauses)

    async def reached(self, generation: int) -> None:
        await self._carried_out(Change(work=partial(toggling.reach, generation=generation)))

    async def answered(self, request: int) -> None:
        await self._carried_out(Change(work=partial(toggling.answer, request=request)))

    async def end_toggles(self, now: float) -> int:
        # Asked often, and hardly ever is there one: no transaction for that.
        if not await self._read(partial(toggling.any_over, now=now)):
            return 0
        work = partial(toggling.end_over, now=now, render=self._render)
        ended: int = await self._carried_out(Change(work=work))
        return ended

    # -- model.ports.AuditLog, Keeper

    def tell(self, event: Event) -> None:
        try:
            self._parts.writer.tell((event, self._render(event)))
        except Exception as error:
            self._lost_events += 1
            diagnostics.error("event lost", audit_event=event.name, error=repr(error))

    @property
    def lost_events(self) -> int:
        """Told events that could not be stored."""
        return self._lost_events + (self._opened.writer.lost_events if self._opened else 0)

    @property
    def usage(self) -> Usage:
        """At most a tenth of a second old, as far as other processes change it."""
        return usage_of(self._parts.watch.ledger())

    def new_spool_file(self) -> File:
        return self._spool.new_file()

    # -- what time asks for

    async def counts(self) -> Counts:
        return await self._read(counting.counts)

    async def write_something(self) -> None:
        """Returns when the disk has taken a page that says nothing new. Raises StoreError."""
        await self._carried_out(Change(work=_something))

    async def told(self, names: Collection[str], since: float, most: int) -> list[bytes]:
        wanted = Wanted(since=since, names=names, limit=most)
        return await self._read(lambda connection: list(trail.events(connection, wanted)))

    async def purge(self, keep: Retention, now: float) -> None:
        """Ends what has been kept long enough, bite by bite, so that mail gets in between."""
        while await self._purge_dead(keep, now):
            pass
        while await self._carried_out(Change(work=partial(forget_events, keep=keep, now=now))):
            pass
        await self._expire_suppressions(now)
        while await self._carried_out(Change(work=partial(forget_strikes, now=now))):
            pass
        while await self._carried_out(Change(work=give_back_space)):
            pass

    # -- within

    @property
    def _parts(self) -> _Parts:
        if self._opened is None:
            raise StoreError(f"{self._path} is not open")
        return self._opened

    def _lines(self, events: Sequence[Event]) -> list[Line]:
        return [(event, self._render(event)) for event in events]

    async def _carried_out(self, change: Change) -> Any:
        try:
            return await self._parts.writer.submit(change)
        except Exception as error:
            raise explained(self._path, error) from error

    def _return(self, claims: asyncio.Future[Any]) -> None:
        if not claims.exception() and self._opened:
            unused = _unused([message.queue_id for message in claims.result()])
            self._opened.writer.submit(Change(released=unused))

    async def _purge_dead(self, keep: Retention, now: float) -> int:
        work = partial(purge_dead, keep=keep, now=now, render=self._render)
        purged: Purged = await self._carried_out(Change(work=work))
        self._spool.remove(purged.spools)
        return purged.messages

    async def _expire_suppressions(self, now: float) -> None:
        work = partial(expire_suppressions, now=now, render=self._render)
        while await self._carried_out(Change(work=work)):
            self._parts.watch.look_for_suppressions()

    def _shares(self) -> dict[str, Share]:
        with closing(connecting.connect_to_read(self._path)) as connection:
            return counting.shares(connection)

    def _settled(self, watch: Watch, settlements: Sequence[Settlement], also: Also) -> None:
        """A strike may have put the first address on the list."""
        if also.strikes:
            watch.look_for_suppressions()
        self._spooled.settled(settlements)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        reader = self._parts.reader

        def run() -> T:
            with self._reading:
                return query(reader)

        return await self._off_loop(run)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except (sqlite3.Error, OSError) as error:
            raise explained(self._path, error) from error

    def _prepare(self) -> tuple[int, Connection, Connection]:
        begun = self._begun
        recovered, spooled = begun.result() if begun else opening.open_store(self._path)
        self._spool.create()
        self._spool.sweep(spooled)
        reader = connecting.connect_to_read(self._path)
        watching = connecting.connect_to_read(self._path, patience_s=_LOOP_PATIENCE_S)
        return recovered, reader, watching

    def _shut(self, parts: _Parts | None) -> None:
        if parts:
            parts.writer.join()
            self._lost_events += parts.writer.lost_events
            with self._reading:
                parts.reader.close()
            parts.watch.close()
        self._pool.shutdown()


def _something(connection: Connection) -> Outcome:
    connection.execute(SQL["write_something"])
    return Outcome(None)


def _moving(moves: list[tuple[int, str]]) -> Work:
    return partial(readmitting.move, moves=moves)


def _unused(queue_ids: Sequence[str], parked_until: int | None = None) -> list[Row]:
    return [(number_of(queue_id), parked_until) for queue_id in queue_ids]
