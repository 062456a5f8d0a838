"""The one thread that writes: whatever has gathered becomes one transaction (group commit).

A commit waits for the disk once, however many messages it holds. What was submitted is carried
out, whether somebody still waits for it or not.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from sqlite3 import Connection
from threading import Thread
from typing import Any

import structlog

from relay.model.ports import StoreError
from relay.queue.sqlite.changes import Change, Stored, store
from relay.queue.sqlite.failure import error_name
from relay.queue.sqlite.ledger import Ledger, read_ledger
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
    """``aside`` is done apart from the transactions of others, since it has its own."""

    change: Change
    future: asyncio.Future[Any] | None
    aside: Callable[[Connection], Any] | None = None


class Writer:
    """``connect`` makes the writing connection, anew after the disk has failed under one."""

    def __init__(
        self, connect: Callable[[], Connection], committed: Committed, published: Published
    ) -> None:
        self._connect = connect
        self._committed = committed
        self._published = published
        self._loop = asyncio.get_running_loop()
        # What this turn of the event loop has submitted, and what the thread is to take.
        self._submitted: list[_Job] = []
        self._inbox: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._connection: Connection | None = None
        # A daemon, so that a relay which fails elsewhere can end: close() is what drains.
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._closed = False
        # Told events that failed for the store's sake; they go with the next transaction.
        self._held: deque[Line] = deque(maxlen=_MOST_TOLD)
        self.lost_events = 0

    def start(self) -> None:
        self._thread.start()

    def submit(self, change: Change) -> asyncio.Future[Any]:
        """From here on it is carried out. The future has the value of the change's work."""
        return self._awaited(change, None)

    def submit_aside(self, work: Callable[[Connection], Any]) -> asyncio.Future[Any]:
        """``work`` between two transactions, in autocommit."""
        return self._awaited(Change(), work)

    def tell(self, line: Line) -> None:
        """Nobody waits for it; beyond a bound it is lost and counted."""
        if self._closed or self._inbox.qsize() + len(self._submitted) >= _MOST_TOLD:
            self.lost_events += 1
        else:
            self._put(_Job(Change(lines=(line,)), None))

    def close(self) -> None:
        """Returns when everything submitted has been carried out. Blocks."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._inbox.put(None)
            self._thread.join()

    def _awaited(
        self, change: Change, aside: Callable[[Connection], Any] | None
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreError("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._put(_Job(change, future, aside))
        return future

    def _put(self, job: _Job) -> None:
        """Handed to the thread at the end of the loop's turn: woken by the first of twenty, it
        would fight the loop for the interpreter and commit that one alone."""
        if not self._submitted:
            self._loop.call_soon(self._hand_over)
        self._submitted.append(job)

    def _hand_over(self) -> None:
        if self._submitted:
            self._inbox.put(self._submitted)
            self._submitted = []

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs, ended = self._gather()
            together = [job for job in jobs if not job.aside]
            if together or (ended and self._held):
                self._carry_out(self._with_held(together))
            for job in jobs:
                if job.aside:
                    self._carry_out_aside(job, job.aside)
        if self._connection:
            self._connection.close()

    def _gather(self) -> tuple[list[_Job], bool]:
        """At least one job, and what else has gathered; whether it was the last."""
        jobs: list[_Job] = []
        weight = 0
        more = self._inbox.get()
        while more is not None:
            jobs += more
            weight += sum(job.change.weight for job in more)
            if len(jobs) >= _MOST_CHANGES or weight >= _MOST_BYTES:
                return jobs, False
            try:
                more = self._inbox.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _with_held(self, jobs: list[_Job]) -> list[_Job]:
        if not self._held:
            return jobs
        held = tuple(self._held)
        self._held.clear()
        return [_Job(Change(lines=held), None), *jobs]

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

    def _carry_out_aside(self, job: _Job, work: Callable[[Connection], Any]) -> None:
        try:
            connection = self._connected()
            value = work(connection)
            ledger = read_ledger(connection)
        except Exception as error:
            self._disconnect_after(error)
            self._fail([job], error)
        else:
            self._resolve([job], [value], ledger)

    def _transact(self, changes: list[Change]) -> Stored:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            stored = store(connection, changes)
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
        if isinstance(error, sqlite3.OperationalError | StoreError):
            self.lost_events += max(0, len(self._held) + len(lines) - _MOST_TOLD)
            self._held.extend(lines)
        else:
            self.lost_events += len(lines)
            diagnostics.error("events lost", error=repr(error), count=len(lines))

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
