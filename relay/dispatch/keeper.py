"""What accept hands its messages to: the queue's limits, the spool, the commit.

Accept stops first, with 452, at ``queue.max_messages``, ``max_bytes`` and ``min_free_disk``, so
that what is queued can still be settled.
"""

import os
import time
from pathlib import Path

import structlog

from relay.config.schema import QueueLimits
from relay.dispatch.dispatcher import Dispatcher
from relay.model import events
from relay.model.events import Event
from relay.model.message import Message
from relay.model.ports import AuditLog, SpoolFile, Store, StoreError, Usage
from relay.model.reply import Reply

diagnostics = structlog.get_logger("relay.dispatch")

QUEUE_FULL = Reply(452, "4.3.1", "the queue is full, try again later")
# The disk is asked at most this often; min_free_disk is far more than can arrive in between.
_DISK_CHECK_S = 1.0
_TELL_AGAIN_S = 60.0


class Capacity:
    def __init__(self, limits: QueueLimits, directory: Path, log: AuditLog) -> None:
        self._limits = limits
        self._directory = directory
        self._log = log
        self._free_bytes = 0
        self._checked_at = float("-inf")
        self._told_at = float("-inf")
        self._told_failure_at = float("-inf")

    def refusal(self, usage: Usage, size: int) -> Reply | None:
        """Why a message of about ``size`` octets can't be taken now; told once a minute."""
        for limit, value, allowed in (
            ("queue.max_messages", usage.messages + 1, self._limits.max_messages),
            ("queue.max_bytes", usage.content_bytes + size, self._limits.max_bytes),
            ("queue.min_free_disk", self._limits.min_free_disk + size, self._free()),
        ):
            if value > allowed:
                self._tell(limit, value, allowed)
                return QUEUE_FULL
        return None

    def tell_failure(self, operation: str, error: StoreError) -> None:
        """The trail may be what fails; then this is lost, and the diagnostics have it."""
        diagnostics.error("the store failed", operation=operation, error=str(error))
        now = time.monotonic()
        if now - self._told_failure_at >= _TELL_AGAIN_S:
            self._told_failure_at = now
            self._log.tell(events.store_failed(operation, str(error)))

    def _free(self) -> int:
        now = time.monotonic()
        if now - self._checked_at >= _DISK_CHECK_S:
            self._checked_at = now
            disk = os.statvfs(self._directory)
            self._free_bytes = disk.f_bavail * disk.f_frsize
        return self._free_bytes

    def _tell(self, limit: str, value: int, allowed: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_AGAIN_S:
            self._told_at = now
            self._log.tell(events.queue_full(limit, value, allowed))


class Keeper:
    """Implements model.ports.Keeper."""

    def __init__(self, store: Store, dispatcher: Dispatcher, capacity: Capacity) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._capacity = capacity
        self._adding_bytes = 0

    def refusal(self, size: int) -> Reply | None:
        return self._capacity.refusal(self._store.usage, size)

    def new_spool_file(self) -> SpoolFile:
        return self._store.new_spool_file()

    async def keep(self, message: Message, event: Event) -> None:
        # The last look, with what others are about to commit: many can come at once.
        refusal = self.refusal(self._adding_bytes + message.content.size)
        if refusal:
            raise StoreError(str(refusal))
        self._adding_bytes += message.content.size
        try:
            await self._dispatcher.admit(message, event)
        except StoreError as error:
            self._capacity.tell_failure("accept", error)
            raise
        finally:
            self._adding_bytes -= message.content.size
