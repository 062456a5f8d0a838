"""The one thread that writes: whatever has gathered becomes one transaction (group commit).

A commit waits for the disk once, however many messages it holds. What was submitted is carried
out, whether somebody still waits for it or not.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from sqlite3 import Connection
from threading import Thread
from typing import Any

import structlog

from relay.model.ports import StoreError
from relay.queue.sqlite.changes import Change, Stored, Unforeseen, store
from relay.queue.sqlite.connecting import begin
from relay.queue.sqlite.failure import error_name
from relay.queue.sqlite.ledger import Ledger
from relay.queue.sqlite.rows import Line

diagnostics = structlog.get_logger("relay.queue")

# Bounds of one transaction: some milliseconds of work, and memory for a few large messages.
_MOST_CHANGES = 256
_MOST_BYTES = 4 * 1024 * 1024
# Events that nobody waits for, while the store can't take them or can't keep up: some 5 MB.
_MOST_TOLD = 10_000

_FAULTS = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY", "SQLITE_CANTOPEN")

Committed = Callable[[Sequence[Line]], None]
# Told on the event loop after a commit, before those who wait for it.
Published = Callable[[Ledger], None]


@dataclass(slots=True)
class _Job:
    """A change, and who waits for it; nobody waits for what was told."""

    change: Change
    future: asyncio.Future[Any] | None


class Writer:
    """``connect`` makes the writing connection, anew after the disk has failed under one.
    ``check_place`` raises StoreError where what it is connected to is no longer the store."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        check_place: Callable[[], None],
        committed: Committed,
        published: Published,
    ) -> None:
        self._connect = connect
        self._check_place = check_place
        self._committed = committed
        self._published = published
        self._loop = asyncio.get_running_loop()
        # What this turn of the event loop has submitted, and what the thread is to take.
        self._submitted: list[_Job] = []
        self._handing_over = False
        self._inbox: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._connection: Connection | None = None
        # A daemon, so that a relay which fails elsewhere can end: close() is what drains.
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._closed = False
        # Told events, which go with the next transaction, or with a later one if that fails.
        self._told: deque[Line] = deque()
        self.lost_events = 0

    def start(self) -> None:
        self._thread.start()

    def submit(self, change: Change) -> asyncio.Future[Any]:
        """From here on it is carried out. The future has the value of the change's work."""
        if self._closed:
            raise StoreError("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._submitted.append(_Job(change, future))
        self._hand_over_soon()
        return future

    def tell(self, line: Line) -> None:
        """Nobody waits for it; beyond a bound it is lost and counted."""
        if self._closed or len(self._told) >= _MOST_TOLD:
            self.lost_events += 1
        else:
            self._told.append(line)
            self._hand_over_soon()

    def close(self) -> None:
        """Takes nothing more; on the event loop, like the above."""
        self._closed = True
        self._hand_over()
        self._inbox.put(None)

    def join(self) -> None:
        """Blocks until everything submitted has been carried out."""
        self._thread.join()

    def _hand_over_soon(self) -> None:
        """At the end of the loop's turn: woken by the first of twenty, the thread would fight the
        loop for the interpreter and commit that one alone."""
        if not self._handing_over:
            self._handing_over = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._handing_over = False
        self._inbox.put(self._submitted)
        self._submitted = []

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs, ended = self._gather()
            for some in _bounded([*self._told_job(), *jobs]):
                self._carry_out(some)
        self.lost_events += len(self._told)
        if self._connection:
            self._connection.close()

    def _gather(self) -> tuple[list[_Job], bool]:
        """What has gathered, once there is something; whether it was the last."""
        jobs: list[_Job] = []
        more = self._inbox.get()
        while more is not None:
            jobs += more
            try:
                more = self._inbox.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _told_job(self) -> Iterator[_Job]:
        lines = [self._told.popleft() for _ in range(len(self._told))]
        if lines:
            yield _Job(Change(lines=lines), None)

    def _carry_out(self, jobs: list[_Job]) -> None:
        """Together; if that fails each alone, so that only the guilty one fails."""
        try:
            stored = self._transact([job.change for job in jobs])
        except Exception as error:
            if len(jobs) == 1 or error_name(error).startswith("SQLITE_BUSY"):
                self._fail(jobs, error)
                return
            for job in jobs:
                self._carry_out([job])
            return
        self._resolve(jobs, stored.values, stored.ledger)
        if stored.lines:
            self._mirror(stored.lines)

    def _transact(self, changes: list[Change]) -> Stored:
        connection = self._connected()
        try:
            self._check_place()
            stored = _stored(connection, changes)
            connection.execute("COMMIT")
        except BaseException as error:
            self._disconnect_after(error)
            raise
        return stored

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _disconnect_after(self, error: BaseException) -> None:
        """Roll back; a connection under which the disk has failed is not used again."""
        connection = self._connection
        if connection is None:
            return
        sound = not error_name(error).startswith(_FAULTS)
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            sound = False
        if not sound:
            self._connection = None
            connection.close()

    def _resolve(self, jobs: list[_Job], values: Sequence[Any], ledger: Ledger) -> None:
        def on_loop() -> None:
            self._published(ledger)
            for job, value in zip(jobs, values, strict=True):
                if job.change.stored:
                    job.change.stored()
                if job.future and not job.future.done():
                    job.future.set_result(value)

        self._on_loop(on_loop)

    def _fail(self, jobs: list[_Job], error: Exception) -> None:
        def on_loop() -> None:
            for job in jobs:
                if job.future and not job.future.done():
                    job.future.set_exception(error)

        for job in jobs:
            if job.future is None:
                self._hold(job.change.lines, error)
        self._on_loop(on_loop)

    def _hold(self, lines: Sequence[Line], error: Exception) -> None:
        """Told events wait while the store is in trouble; those at fault themselves are lost."""
        if isinstance(error, sqlite3.OperationalError):
            self._told.extendleft(reversed(lines))
        elif len(lines) > 1:
            for line in lines:
                self._carry_out([_Job(Change(lines=[line]), None)])
        else:
            self.lost_events += 1
            diagnostics.error("event lost", audit_event=lines[0][0].name, error=repr(error))

    def _on_loop(self, callback: Callable[[], None]) -> None:
        """One wake-up of the loop for a whole transaction. A loop that has ended waits no more."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _mirror(self, lines: Sequence[Line]) -> None:
        try:
            self._committed(lines)
        except Exception as error:
            # What the mirror can't show is in the store.
            diagnostics.error("mirror failed", error=repr(error))


def _stored(connection: Connection, changes: list[Change]) -> Stored:
    """In a transaction that is left open."""
    begin(connection)
    try:
        return store(connection, changes)
    except Unforeseen:
        connection.execute("ROLLBACK")
    begin(connection)
    return store(connection, changes, careful=True)


def _bounded(jobs: list[_Job]) -> Iterator[list[_Job]]:
    """In transactions of some milliseconds."""
    some: list[_Job] = []
    weight = 0
    for job in jobs:
        some.append(job)
        weight += job.change.weight
        if len(some) >= _MOST_CHANGES or weight >= _MOST_BYTES:
            yield some
            some, weight = [], 0
    if some:
        yield some
