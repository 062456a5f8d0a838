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

import structlog

from relay.config.schema import Timeouts, Upstream
from relay.deliver import connection as connections
from relay.deliver.connection import ConnectError, Connection, Kit, Turn
from relay.deliver.dialling import Dialler, DiallingClient
from relay.deliver.transaction import Handover, Transaction
from relay.model.result import Attempt, Result

diagnostics = structlog.get_logger("relay.deliver")

# A larger message takes a while until it has gone, and whoever follows waits for that.
_MOST_AHEAD_BYTES = 256 << 10


class Pool:
    def __init__(
        self, upstream: Upstream, hostname: str, timeouts: Timeouts, kit: Kit | None = None
    ) -> None:
        self._upstream = upstream
        dialler = Dialler(upstream.host, upstream.port)
        self._kit = kit or Kit(client=partial(DiallingClient, dialler))
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
        self._lets_follow = True
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

    async def hand_over(self, handover: Handover, turn: Turn | None = None) -> Attempt | None:
        """One attempt. Raises nothing but cancellation. ``turn`` is passed on as soon as another
        message may follow on the same connection. None where nothing was tried: the message ahead
        stalled or broke the connection, or all was cut; the way is to be asked for anew."""
        self._handovers += 1
        try:
            return await self._hand_over(handover, turn)
        finally:
            self._handovers -= 1

    async def _hand_over(self, handover: Handover, turn: Turn | None) -> Attempt | None:
        started = time.monotonic()
        while not self._cut:
            try:
                connection = self._take_idle() or self._take_followable() or await self._opened()
            except ConnectError as error:
                troubles = (error.trouble,) * len(handover.recipients)
                return Attempt(troubles, None, None, time.monotonic() - started)
            fresh, follows = connection.fresh, connection.users > 0
            transaction, results = await self._transacted(connection, handover, turn)
            sound = connection.wire.intact and not connection.spoiled
            if sound or fresh or transaction.began:
                waited_s = transaction.began_at - started if follows else 0.0
                return Attempt(
                    results,
                    connection.remote_mta,
                    connection.tls,
                    time.monotonic() - started - waited_s,
                    handover.body_8bit and not connection.offers.eight_bit_mime,
                )
            if follows:
                return None
            # It was closed while it lay idle, before it answered anything: no attempt at all.
        return None

    async def _transacted(
        self, connection: Connection, handover: Handover, turn: Turn | None
    ) -> tuple[Transaction, tuple[Result, ...]]:
        sending_end = partial(self._let_follow, connection, handover, turn)
        transaction = Transaction(connection, handover, self._timeouts, self._rules, sending_end)
        connection.users += 1
        self._in_use.add(connection)
        try:
            results = await transaction.run()
        finally:
            if connection.spoiled and turn and connection.users > 1:
                # It is still in use, by one that has passed its turn on.
                connection.turn = turn.kept()
            self._leave(connection)
        if transaction.misled:
            self._let_nobody_follow()
        return transaction, results

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

    def _take_followable(self) -> Connection | None:
        """About to be free; where no more may be opened."""
        if len(self._in_use) + self._opening < self._upstream.limits.connections:
            return None
        connection = next(iter(self._followable), None)
        if connection:
            del self._followable[connection]
        return connection

    def _let_follow(
        self, connection: Connection, handover: Handover, turn: Turn | None
    ) -> asyncio.Future[bool] | None:
        """Its final dot leaves now. Another may follow where the server takes commands ahead and
        answers quickly, and the connection will be kept; not behind what takes a while to go."""
        limit = self._upstream.limits.messages_per_connection
        if turn is None or not self._lets_follow or not connection.offers.pipelining:
            return None
        if not connection.quick or handover.size > _MOST_AHEAD_BYTES:
            return None
        if self._closed or connection.transactions >= limit:
            return None
        connection.ahead = asyncio.get_running_loop().create_future()
        self._followable[connection] = None
        turn.pass_on()
        return connection.ahead

    def _let_nobody_follow(self) -> None:
        """The server offers PIPELINING, and does not hear what comes behind a final dot."""
        if self._lets_follow:
            self._lets_follow = False
            self._followable.clear()
            diagnostics.warning(
                "it does not hear commands behind a final dot, and gets none there any more",
                upstream=f"{self._upstream.host}:{self._upstream.port}",
            )

    def _leave(self, connection: Connection) -> None:
        self._followable.pop(connection, None)
        connection.users -= 1
        if not connection.users:
            self._in_use.discard(connection)
            self._give_back(connection)
            if connection.turn:
                connection.turn.pass_on()

    async def _opened(self) -> Connection:
        self._opening += 1
        try:
            connection = await self._connect()
        finally:
            self._opening -= 1
        if self._cut:
            connection.wire.abort()
        return connection

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
