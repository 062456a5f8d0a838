"""The connections to one named upstream, never shared with another: not between credentials.

It opens a connection for whoever finds none idle; how many are in use at once is its caller's to
bound. A connection that went stale while idle is replaced without anybody noticing.
"""

import asyncio
import ssl
import time
from collections.abc import Collection, Mapping
from functools import lru_cache

from relay.config.schema import Timeouts, Upstream
from relay.deliver import connection as connections
from relay.deliver.connection import PLAIN_KIT, ConnectError, Connection, Kit
from relay.deliver.transaction import Handover, Transaction
from relay.model.result import Attempt


class Pool:
    def __init__(
        self, upstream: Upstream, hostname: str, timeouts: Timeouts, kit: Kit = PLAIN_KIT
    ) -> None:
        self._upstream = upstream
        self._kit = kit
        self._hostname = hostname
        self._timeouts = timeouts
        self._rules = upstream.preset.replies if upstream.preset else ()
        self._context: ssl.SSLContext | None = None
        self._context_made = False
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._handovers = 0
        self._not_after: str | None = None
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def upstream(self) -> Upstream:
        return self._upstream

    @property
    def in_use(self) -> bool:
        return self._handovers > 0

    @property
    def connections(self) -> int:
        """In use or idle."""
        return len(self._in_use) + len(self._idle)

    @property
    def certificate_ends_at(self) -> float | None:
        """Of the one that the server showed last, in Unix seconds."""
        return _unix_s(self._not_after) if self._not_after else None

    async def hand_over(self, handover: Handover) -> Attempt:
        """One attempt. Raises nothing but cancellation."""
        self._handovers += 1
        try:
            return await self._hand_over(handover)
        finally:
            self._handovers -= 1

    async def _hand_over(self, handover: Handover) -> Attempt:
        started = time.monotonic()
        while True:
            try:
                connection = self._take_idle() or await self._connect()
            except ConnectError as error:
                troubles = (error.trouble,) * len(handover.recipients)
                return Attempt(troubles, None, None, time.monotonic() - started)
            fresh = connection.fresh
            transaction = Transaction(connection, handover, self._timeouts, self._rules)
            self._in_use.add(connection)
            try:
                results = await transaction.run()
            finally:
                self._in_use.discard(connection)
            usable = self._give_back(connection)
            if usable or fresh or transaction.began:
                duration_s = time.monotonic() - started
                unchanged = handover.body_8bit and not connection.offers.eight_bit_mime
                return Attempt(
                    results, connection.remote_mta, connection.tls, duration_s, unchanged
                )
            # It was closed while it lay idle, before it answered anything: no attempt at all.

    def close(self) -> None:
        """Ends idle connections now, and those in use when they come back."""
        self._closed = True
        if self._reaper:
            self._reaper.cancel()
        for connection in self._idle:
            connection.wire.close()
        self._idle = []

    def abort(self) -> None:
        """Cuts what is under way: every transaction then has its results, known or unknown."""
        for connection in list(self._in_use):
            connection.wire.abort()

    async def _connect(self) -> Connection:
        if not self._context_made:
            self._context = await connections.loaded_tls_context(self._upstream)
            self._context_made = True
        connection = await connections.connect(
            self._upstream, self._hostname, self._timeouts, self._context, self._rules, self._kit
        )
        self._not_after = connection.not_after
        return connection

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.wire.usable:
                return connection
            connection.wire.close()
        return None

    def _give_back(self, connection: Connection) -> bool:
        """True where the connection is still sound."""
        if not connection.wire.usable:
            connection.wire.close()
            return False
        limit = self._upstream.limits.messages_per_connection
        if self._closed or connection.transactions >= limit:
            connection.wire.close()
            return True
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        self._watch()
        return True

    def _watch(self) -> None:
        if self._reaper is None and self._idle:
            age = time.monotonic() - self._idle[0].idle_since
            wait = max(0.0, self._upstream.limits.idle - age)
            self._reaper = asyncio.get_running_loop().call_later(wait, self._reap)

    def _reap(self) -> None:
        """Ends what has been idle for too long; the longest idle are in front."""
        self._reaper = None
        oldest_allowed = time.monotonic() - self._upstream.limits.idle
        while self._idle and self._idle[0].idle_since <= oldest_allowed:
            self._idle.pop(0).wire.close()
        self._watch()


@lru_cache(maxsize=1024)
def _unix_s(not_after: str) -> float:
    """Asked at every scrape, of every upstream: 8 us each without the cache."""
    return float(ssl.cert_time_to_seconds(not_after))


class Deliverer:
    """The deliver room as a whole: a pool for each named upstream."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], hostname: str, timeouts: Timeouts
    ) -> None:
        self._setting = (hostname, timeouts)
        self._pools = {name: Pool(one, hostname, timeouts) for name, one in upstreams.items()}
        # Of former configurations, with what is still under way there.
        self._retired: list[Pool] = []

    def __getitem__(self, upstream: str) -> Pool:
        """The pool of now; who has it may use it, whatever the configuration becomes."""
        return self._pools[upstream]

    @property
    def pools(self) -> Mapping[str, Pool]:
        """Those of the present configuration, by upstream."""
        return self._pools

    def configure(
        self,
        upstreams: Mapping[str, Upstream],
        hostname: str,
        timeouts: Timeouts,
        *,
        renewed: Collection[str],
    ) -> None:
        """What is under way ends as it began. Upstreams that are the same keep their connections,
        but for the ``renewed``, whose credentials or certificates are others."""
        kept: dict[str, Pool] = {}
        if self._setting == (hostname, timeouts):
            kept = {
                name: pool
                for name, pool in self._pools.items()
                if name not in renewed and upstreams.get(name) == pool.upstream
            }
        for name, pool in self._pools.items():
            if name not in kept:
                pool.close()
                self._retired.append(pool)
        self._retired = [pool for pool in self._retired if pool.in_use]
        self._setting = (hostname, timeouts)
        self._pools = {
            name: kept.get(name) or Pool(one, hostname, timeouts) for name, one in upstreams.items()
        }

    def abort(self) -> None:
        """Cuts every transaction that is under way."""
        for pool in (*self._pools.values(), *self._retired):
            pool.abort()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
