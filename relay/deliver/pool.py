"""The connections to one named upstream, never shared with another: not between credentials.

Who finds none idle opens one, up to ``limits.connections``; from then on the next envelope goes
right behind the final dot of another message, on a connection that is about to be free. A
connection that went stale while idle is replaced without anybody noticing.
"""

import asyncio
import ssl
import time
from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from typing import Protocol

from relay.config.schema import Timeouts, Upstream
from relay.deliver import connection as connections
from relay.deliver.connection import PLAIN_KIT, ConnectError, Connection, Kit
from relay.deliver.transaction import Handover, Transaction
from relay.model.result import Attempt


class Turn(Protocol):
    """The right to one of an upstream's connections, given by whoever shares them out."""

    def pass_on(self) -> None:
        """Somebody else may have it now; harmless when repeated."""


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
        self._opening = 0
        # Whose final reply is awaited, and nobody follows yet; in the order of their final dots.
        self._followable: dict[Connection, None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._handovers = 0
        self._not_after: str | None = None
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False
        self._cut = False

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

    async def hand_over(self, handover: Handover, turn: Turn | None = None) -> Attempt:
        """One attempt. Raises nothing but cancellation. ``turn`` is passed on as soon as another
        message may follow on the same connection."""
        self._handovers += 1
        try:
            return await self._hand_over(handover, turn)
        finally:
            self._handovers -= 1

    async def _hand_over(self, handover: Handover, turn: Turn | None) -> Attempt:
        started = time.monotonic()
        while True:
            try:
                connection = await self._connection()
            except ConnectError as error:
                troubles = (error.trouble,) * len(handover.recipients)
                return Attempt(troubles, None, None, time.monotonic() - started)
            fresh = connection.fresh
            sending_end = partial(self._let_follow, connection, turn)
            transaction = Transaction(
                connection, handover, self._timeouts, self._rules, sending_end
            )
            connection.users += 1
            self._in_use.add(connection)
            try:
                results = await transaction.run()
            finally:
                sound = self._leave(connection)
            if sound or fresh or transaction.began or self._cut:
                duration_s = time.monotonic() - started
                unchanged = handover.body_8bit and not connection.offers.eight_bit_mime
                return Attempt(
                    results, connection.remote_mta, connection.tls, duration_s, unchanged
                )
            # It was closed while it lay idle, or the message ahead stalled or broke it, before it
            # answered anything: no attempt at all.

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
        self._cut = True
        for connection in list(self._in_use):
            connection.wire.abort()
        self._wake()

    async def _connection(self) -> Connection:
        """Idle, or new, or about to be free; waits where there is none of these. Raises
        ConnectError."""
        while True:
            connection = self._take_idle()
            if connection:
                return connection
            if len(self._in_use) + self._opening < self._upstream.limits.connections or self._cut:
                return await self._opened()
            for connection in self._followable:
                del self._followable[connection]
                return connection
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def _let_follow(self, connection: Connection, turn: Turn | None) -> asyncio.Future[bool] | None:
        """Its final dot leaves now. Another may follow where the server takes commands ahead and
        answers quickly, and the connection will be kept."""
        limit = self._upstream.limits.messages_per_connection
        if turn is None or not connection.quick or not connection.offers.pipelining:
            return None
        if self._closed or connection.transactions >= limit:
            return None
        connection.ahead = asyncio.get_running_loop().create_future()
        self._followable[connection] = None
        turn.pass_on()
        self._wake()
        return connection.ahead

    def _leave(self, connection: Connection) -> bool:
        """After a transaction: whether the connection is still sound."""
        sound = connection.wire.intact and not connection.spoiled
        self._followable.pop(connection, None)
        connection.users -= 1
        if not connection.users:
            self._in_use.discard(connection)
            self._give_back(connection)
        self._wake()
        return sound

    def _wake(self) -> None:
        """Something has changed for those who found no connection: rare."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _opened(self) -> Connection:
        self._opening += 1
        try:
            return await self._connect()
        finally:
            self._opening -= 1
            self._wake()

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

    def _give_back(self, connection: Connection) -> None:
        limit = self._upstream.limits.messages_per_connection
        worn = self._closed or connection.spoiled or connection.transactions >= limit
        if worn or not connection.wire.usable:
            connection.wire.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        self._watch()

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
