"""The queue's face to the running relay: model.ports.Queue and AuditLog over one SQLite file.

Changes go to the writer thread, reading to a few others; on the event loop itself only the watch
for changes is asked.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Any, TypeVar

import structlog

from relay.model.events import Event
from relay.model.message import Content, Ending, Message, Settlement
from relay.model.ports import Due, Retention, StoreError, Usage
from relay.model.toggle import Toggle
from relay.queue.spool import File, SpoolDirectory, spool_path
from relay.queue.sqlite import claiming, connecting, opening
from relay.queue.sqlite.changes import Change
from relay.queue.sqlite.counting import Counts, counts
from relay.queue.sqlite.failure import explained
from relay.queue.sqlite.ledger import usage_of
from relay.queue.sqlite.retention import (
    Purged,
    Render,
    forget_events,
    give_back_space,
    purge_dead,
)
from relay.queue.sqlite.rows import (
    Line,
    message_row,
    news_rows,
    number_of,
    recipient_rows,
    settled_row,
)
from relay.queue.sqlite.watch import Watch
from relay.queue.sqlite.writer import Committed, Writer

T = TypeVar("T")

_THREADS = 4
_PIECE_BYTES = 1024 * 1024
# The event loop can't wait longer than this for the watch.
_LOOP_PATIENCE_S = 0.1

diagnostics = structlog.get_logger("relay.queue")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open store consists of."""

    writer: Writer
    watch: Watch
    reader: Connection


class SqliteStore:
    """``render`` makes the line of an event; ``committed`` gets events with their lines after the
    commit, in its order, on the writer's thread. The caller holds queue.lock.ServeLock."""

    def __init__(self, path: Path, *, render: Render, committed: Committed) -> None:
        self._path = path
        self._render = render
        self._committed = committed
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._spool = SpoolDirectory(spool_path(path), self._pool)
        # The spool files of the messages under way: they go with the message.
        self._spooled: dict[str, str] = {}
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
        number = number_of(message.queue_id)
        content = message.content
        change = Change(
            messages=[message_row(number, message, claimed=claimed)],
            recipients=recipient_rows(number, message.recipients),
            lines=self._lines(events),
        )
        if content.spool is not None:
            self._check_synced(content.spool)
            change.stored = partial(self._named, message.queue_id, content.spool, claimed)
        elif content.chunks is not None:
            size = sum(map(len, content.chunks))
            change.contents = [(number, content.chunks, size)]
        else:
            raise ValueError("a new message has its octets in chunks or in a spool file")
        await self._carried_out(change)

    async def due(self, now: float) -> Due:
        return await self._read(lambda connection: claiming.due(connection, now))

    async def claim(self, tenant: str, limit: int, now: float) -> list[Message]:
        work = partial(claiming.claim, tenant=tenant, limit=limit, now=now)
        claims = asyncio.ensure_future(self._carried_out(Change(work=work)))
        try:
            messages: list[Message] = await asyncio.shield(claims)
        except asyncio.CancelledError:
            # Claims that nobody knows of would lie claimed until the next start.
            claims.add_done_callback(self._return)
            raise
        for message in messages:
            if message.content.spool:
                self._spooled[message.queue_id] = message.content.spool
        return messages

    async def settle(self, settlements: Sequence[Settlement], events: Sequence[Event]) -> None:
        now = time.time()
        change = Change(lines=self._lines(events))
        change.finished = [number_of(s.queue_id) for s in settlements if s.ending is Ending.DONE]
        lasting = [(number_of(s.queue_id), s) for s in settlements if s.ending is not Ending.DONE]
        if lasting:
            # An attempt that goes on keeps its claim: its message's row stays as it is.
            change.settled = [
                settled_row(number, s, now)
                for number, s in lasting
                if s.ending is not Ending.GOES_ON
            ]
            change.news = [row for number, s in lasting for row in news_rows(number, s.recipients)]
        if self._spooled:
            change.stored = partial(self._forget_spooled, settlements)
        await self._carried_out(change)

    async def release(self, queue_ids: Sequence[str]) -> None:
        await self._carried_out(Change(released=[number_of(queue_id) for queue_id in queue_ids]))

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

    def toggles(self) -> dict[str, Toggle] | None:
        """Also says anew what is in force when a toggle's ``until`` has passed."""
        try:
            return self._parts.watch.toggles()
        except sqlite3.Error as error:
            raise explained(self._path, error) from error

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
        return await self._read(counts)

    async def purge(self, keep: Retention, now: float) -> None:
        """Ends what has been kept long enough, bite by bite, so that mail gets in between."""
        while await self._purge_dead(keep, now):
            pass
        while await self._carried_out(Change(work=partial(forget_events, keep=keep, now=now))):
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
            numbers = [number_of(message.queue_id) for message in claims.result()]
            self._opened.writer.submit(Change(released=numbers))

    async def _purge_dead(self, keep: Retention, now: float) -> int:
        work = partial(purge_dead, keep=keep, now=now, render=self._render)
        purged: Purged = await self._carried_out(Change(work=work))
        self._spool.remove(purged.spools)
        return purged.messages

    def _check_synced(self, spool: str) -> None:
        if spool not in self._spool.synced:
            raise StoreError(f"{self._spool.path / spool} was not synced before a message names it")

    def _named(self, queue_id: str, spool: str, claimed: bool) -> None:
        self._spool.synced.discard(spool)
        if claimed:
            self._spooled[queue_id] = spool

    def _forget_spooled(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            if settlement.ending is Ending.GOES_ON:
                continue
            spool = self._spooled.pop(settlement.queue_id, None)
            if spool and settlement.ending is Ending.DONE:
                self._spool.remove([spool])

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
        opening.create_if_absent(self._path)
        opening.prepare(self._path)
        recovered, spooled = opening.end_former_life(self._path)
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
