"""What accept hands its messages to: the queue's limits, the spool, the commit.

Accept stops first, with 452, at ``queue.max_messages``, ``max_bytes`` and ``min_free_disk``, so
that what is queued can still be settled.
"""

import os
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path

import structlog

from relay.config.schema import Config, QueueLimits
from relay.dispatch.acknowledgement import Acknowledgement
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.lane import HIGH_PRIORITY
from relay.dispatch.situation import Watchman
from relay.model import events
from relay.model.message import Message
from relay.model.notice import Incident, IncidentKind
from relay.model.ports import AuditLog, Client, Share, SpoolFile, Store, StoreError, Usage
from relay.model.reply import Reply

diagnostics = structlog.get_logger("relay.dispatch")

QUEUE_FULL = Reply(452, "4.3.1", "the queue is full, try again later")
TENANT_FULL = Reply(452, "4.3.1", "this tenant's mail fills half of the queue, try again later")
# The disk is asked at most this often; min_free_disk is far more than can arrive in between.
_DISK_CHECK_S = 1.0
_TELL_AGAIN_S = 60.0
# Counting what each tenant holds reads the whole queue.
_SHARES_AGE_S = 1.0
_FOR_ONE, _FOR_ALL = 0.5, 0.9


class Capacity:
    def __init__(
        self, limits: QueueLimits, directory: Path, log: AuditLog, watchman: Watchman
    ) -> None:
        self._limits = limits
        self._directory = directory
        self._log = log
        self._watchman = watchman
        self._free_bytes = 0
        self._checked_at = float("-inf")
        self._told_at = float("-inf")
        self._told_failure_at = float("-inf")
        self._shares_at = float("-inf")
        self._known_shares: Mapping[str, Share] = {}

    def configure(self, limits: QueueLimits) -> None:
        self._limits = limits

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

    async def share_refusal(self, store: Store, message: Message, size: int) -> Reply | None:
        """As ``refusal``, for a message of which tenant and priority are known: a tenth of the
        queue is kept for priority high; once more than half is taken, no tenant may hold more
        than half of it."""
        usage, limits = store.usage, self._limits
        refusal = self.refusal(usage, size)
        if refusal or message.priority == HIGH_PRIORITY:
            return refusal
        used = max(usage.messages / limits.max_messages, usage.content_bytes / limits.max_bytes)
        if used > _FOR_ALL:
            self._tell("queue.max_messages", usage.messages, int(limits.max_messages * _FOR_ALL))
            return QUEUE_FULL
        if used <= _FOR_ONE:
            return None
        share = (await self._shares(store)).get(message.tenant, Share())
        if (
            max(share.messages / limits.max_messages, share.content_bytes / limits.max_bytes)
            > _FOR_ONE
        ):
            self._tell("queue.max_messages", share.messages, int(limits.max_messages * _FOR_ONE))
            return TENANT_FULL
        return None

    async def _shares(self, store: Store) -> Mapping[str, Share]:
        now = time.monotonic()
        if now - self._shares_at >= _SHARES_AGE_S:
            self._known_shares = await store.shares()
            self._shares_at = now
        return self._known_shares

    def tell_failure(self, operation: str, error: StoreError) -> None:
        """The trail may be what fails; then this is lost, and the diagnostics have it."""
        diagnostics.error("the store failed", operation=operation, error=str(error))
        now = time.monotonic()
        if now - self._told_failure_at >= _TELL_AGAIN_S:
            self._told_failure_at = now
            self._log.tell(events.store_failed(operation, str(error)))
            self._watchman.note(Incident(IncidentKind.STORE_FAILED, detail=str(error)))

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
            detail = f"{limit}: {value} of {allowed}"
            self._watchman.note(Incident(IncidentKind.QUEUE_FULL, detail=detail))


class Keeper:
    """Implements model.ports.Keeper."""

    def __init__(
        self, config: Config, store: Store, dispatcher: Dispatcher, capacity: Capacity
    ) -> None:
        self._tenants = config.tenants
        self._store = store
        self._dispatcher = dispatcher
        self._capacity = capacity
        self._adding_bytes = 0

    def configure(self, config: Config) -> None:
        self._tenants = config.tenants
        self._capacity.configure(config.queue)

    def refusal(self, size: int) -> Reply | None:
        return self._capacity.refusal(self._store.usage, size)

    def new_spool_file(self) -> SpoolFile:
        return self._store.new_spool_file()

    async def keep(
        self, message: Message, header: bytes, client: Client
    ) -> Reply | Awaitable[Reply | None]:
        message = self._dispatcher.situation.classified(message, header)
        # The last look, with what others are about to commit: many can come at once.
        size = self._adding_bytes + message.content.size
        refusal = await self._capacity.share_refusal(self._store, message, size)
        if refusal:
            return refusal
        tenant = self._tenants.get(message.tenant)
        acknowledgement = None
        if tenant and tenant.acknowledge.mode == "relayed":
            acknowledgement = Acknowledgement(client)
        self._adding_bytes += message.content.size
        try:
            event = events.email_accepted(message)
            await self._dispatcher.admit(message, event, acknowledgement)
        except StoreError as error:
            self._capacity.tell_failure("accept", error)
            raise
        finally:
            self._adding_bytes -= message.content.size
        queued = Reply(250, "2.0.0", f"Ok: queued as {message.queue_id}")
        if tenant is None or acknowledgement is None:
            return queued
        return acknowledgement.wait(tenant.acknowledge.within, otherwise=queued)
