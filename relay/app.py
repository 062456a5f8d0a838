"""The composition root: builds the parts in the order in which a message meets them, starts them,
and stops them in an order that loses nothing.

accept -> (keeper) -> queue -> route -> deliver -> record, with dispatch between them.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

import structlog

from relay import __version__
from relay.accept.descriptors import raise_limit
from relay.accept.listener import Acceptance
from relay.config.schema import Config
from relay.deliver.pool import Deliverer
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.herald import Herald
from relay.dispatch.keeper import Capacity, Keeper
from relay.loading import load_the_rest
from relay.model import events
from relay.model.budget import Budget
from relay.model.events import Event
from relay.model.ports import Retention, Store, StoreError
from relay.queue.sqlite.store import SqliteStore
from relay.record import journal
from relay.record.audit import json_line
from relay.record.mirror import Mirror
from relay.reload import Parts, Reloader
from relay.route.plan import Snapshot
from relay.route.tenancy import Tenancy
from relay.service.manager import Manager
from relay.service.pulse import Pulse, Sent, status_line
from relay.service.sockets import inherited

if TYPE_CHECKING:
    from relay.record.reading import Prettifier
    from relay.web.counters import Counters
    from relay.web.server import Server

diagnostics = structlog.get_logger("relay")

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PURGE_EVERY_S = 600.0
_COLLECT_AFTER = 10_000
# The writer thread asks for the interpreter lock at every SQL step; at the default of 5 ms it
# would wait for the loop each time. Beside a busy loop, 20 producers (bench/store.py --busy): 8 to
# 449 pairs a second at 5 ms, 611 to 617 at 0.5 ms, 811 to 1168 at 0.1 ms.
_SWITCH_INTERVAL_S = 0.0001
_NO_SOCKET = (
    "relay.socket, which is to bind it for the service, has handed over no such socket: "
    "`systemctl status relay.socket` says why, `ss -ltnp` who has the port"
)


class App:
    """One relay: ``run`` until SIGTERM or SIGINT; a second one hurries. ``manager`` is told how it
    is, ``sockets`` are those that it handed over."""

    def __init__(
        self,
        config: Config,
        store_path: Path,
        store_opened: Future[tuple[int, set[str]]] | None = None,
        reload_asked: Sequence[int] = (),
        manager: Manager | None = None,
        sockets: Sequence[socket] = (),
    ) -> None:
        self._config = config
        self._store_opened = store_opened
        self._manager = manager or Manager()
        self._sockets = sockets
        self._reload_asked = reload_asked
        self._store_path = store_path
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._hurry: Callable[[], None] = lambda: None
        self._hurried = False
        self._accepting = False

    async def run(self) -> None:
        """Raises StoreError or OSError where it can't start; it has told nobody 250 then."""
        relay = await self._built()
        try:
            await self._start(relay)
            await self._stop.wait()
            relay.store.tell(events.relay_stopping(self._stop_reason))
        finally:
            await self._drain(relay)
            await self._close(relay)

    async def _built(self) -> "_Relay":
        config = self._config
        mirror = Mirror(sys.stdout.fileno(), _prettifier())
        # keep it
        sent, counters = Sent(), _counters(config)
        committed = _mirrored(mirror, sent, counters)
        store = SqliteStore(
            self._store_path, render=json_line, committed=committed, begun=self._store_opened
        )
        recovered = await store.open()
        # choose
        tenancy = Tenancy(config.tenants.values(), has_default=config.default is not None)
        snapshot = Snapshot(config, tenancy)
        # hand over
        deliverer = Deliverer(config.upstreams, config.hostname, config.timeouts)
        # tell whom it concerns
        herald = Herald(config, store)
        # tie them
        budget = Budget(config.limits.memory)
        dispatcher = Dispatcher(config, snapshot, store, deliverer, budget, herald)
        capacity = Capacity(config.queue, self._store_path.parent, store, herald)
        # take responsibility
        keeper = Keeper(config, store, dispatcher, capacity)
        acceptance = Acceptance(config, keeper, tenancy, store, budget, self._sockets)
        # take another configuration
        parts = Parts(store, deliverer, herald, dispatcher, keeper, acceptance, budget)
        return _Relay(store, mirror, sent, counters, parts, Reloader(config, parts), recovered)

    async def _start(self, relay: "_Relay") -> None:
        parts, reloader = relay.parts, relay.reloader
        relay.goes_on_with(self._keep_house(relay.store, reloader))
        relay.goes_on_with(parts.herald.run())
        relay.goes_on_with(self._pulse(relay.store, parts.dispatcher, relay.sent).run())
        parts.herald.wake = parts.dispatcher.wake
        parts.dispatcher.situation.reload_asked = reloader.ask
        # Before anybody is told that we are there, who may tell us to go.
        self._heed_signals(reloader)
        if self._reload_asked:
            reloader.ask(None, "config")
        await parts.dispatcher.start()
        if relay.counters:
            relay.http = await self._show(relay, relay.counters)
        listeners = await self._listen(parts.acceptance)
        self._accepting = True
        reloader.reloading = self._manager.reloading
        relay.goes_on_with(reloader.run())
        self._tell_started(relay.store, listeners, relay.recovered)
        relay.goes_on_with(self._load_the_rest())

    async def _listen(self, acceptance: Acceptance) -> Sequence[str]:
        try:
            return await acceptance.start()
        except PermissionError as error:
            if not self._manager.listens:
                raise
            # The manager is to bind such a port; that it did not is told of in its log alone.
            raise PermissionError(f"{error}. {_NO_SOCKET}") from error

    async def _load_the_rest(self) -> None:
        """Once we are ready, for which there is half a second."""
        try:
            await asyncio.to_thread(load_the_rest, self._config)
        except ImportError as error:
            diagnostics.error("a part of the relay can't be loaded", error=str(error))

    async def _drain(self, relay: "_Relay") -> None:
        """What is under way may end; nothing new begins."""
        self._manager.tell_stopping()
        parts, drain_s = relay.parts, relay.reloader.config.timeouts.drain
        self._hurry = partial(_hurry, parts.acceptance, parts.dispatcher)
        await parts.acceptance.stop(0 if self._hurried else drain_s)
        await parts.dispatcher.stop(0 if self._hurried else drain_s)
        parts.deliverer.close()

    async def _close(self, relay: "_Relay") -> None:
        for task in relay.besides:
            task.cancel()
        if relay.http:
            await relay.http.stop()
        relay.store.tell(events.relay_stopped(relay.store.usage.messages))
        await relay.store.close()
        relay.mirror.close()
        for number in (*_STOP_SIGNALS, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def _show(self, relay: "_Relay", counters: "Counters") -> "Server | None":
        """How it is, over HTTP. Raises OSError where it can't listen."""
        http = self._config.http
        if http is None:
            return None
        from relay.observation import Observation
        from relay.web.server import Server

        def config_now() -> Config:
            return relay.reloader.config

        counters.config_now = config_now
        parts = relay.parts
        observed = Observation(
            config_now, self._why_closed, self._store_path, relay.store, relay.mirror,
            parts.deliverer, parts.dispatcher, parts.keeper,
        )  # fmt: skip
        server = Server(http, observed, counters)
        await server.start()
        return server

    def _why_closed(self) -> str | None:
        """Why no mail is taken, by our own doing; None where it is."""
        if self._stop.is_set():
            return "the relay is stopping"
        return None if self._accepting else "the relay is starting"

    def _tell_started(self, store: Store, listeners: Sequence[str], recovered: int) -> None:
        config = self._config
        path = str(config.source) if config.source else None
        store.tell(events.config_loaded(path, len(config.tenants), len(config.upstreams)))
        store.tell(events.relay_started(__version__, listeners, recovered, os.getpid()))
        self._manager.tell_ready()
        # What is alive now lives on: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # At the default of 700, a collection for every dozen messages, none of which leaves
        # anything behind for it: 2 % of their CPU.
        gc.set_threshold(_COLLECT_AFTER)
        gc.enable()

    def _heed_signals(self, reloader: Reloader) -> None:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, reloader.ask, None, "config")

    def stop(self, reason: str) -> None:
        """Ask it to stop; ``run`` returns when it has. Asked again, it waits for nobody."""
        if self._stop.is_set():
            self._hurried = True
            self._hurry()
            return
        self._stop_reason = reason
        self._stop.set()

    def _pulse(self, store: Store, dispatcher: Dispatcher, sent: Sent) -> Pulse:
        async def turn() -> None:
            with contextlib.suppress(StoreError):
                await store.release(())  # of nothing: a transaction like any other

        def status() -> str:
            usage, pauses = store.usage, dispatcher.situation.pauses
            return status_line(sent.recipients, usage.messages, usage.dead_messages, pauses)

        return Pulse(self._manager, turn, status)

    async def _keep_house(self, store: Store, reloader: Reloader) -> None:
        while True:
            queue, audit = reloader.config.queue, reloader.config.audit
            retention = Retention(
                queue.keep_dead, queue.max_dead_bytes, audit.keep, audit.max_bytes
            )
            try:
                await store.purge(retention, time.time())
            except StoreError as error:
                diagnostics.warning("can't purge, trying again later", error=str(error))
            # What is kept for a minute is not kept for eleven.
            await asyncio.sleep(min(_PURGE_EVERY_S, retention.dead_s, retention.audit_s))


@dataclass(slots=True)
class _Relay:
    """A relay that is built; ``besides`` goes on beside the mail, ``http`` shows how it is."""

    store: SqliteStore
    mirror: Mirror
    sent: Sent
    counters: "Counters | None"
    parts: Parts
    reloader: Reloader
    recovered: int
    besides: list[asyncio.Task[None]] = field(default_factory=list)
    http: "Server | None" = None

    def goes_on_with(self, work: Coroutine[Any, Any, None]) -> None:
        self.besides.append(asyncio.create_task(work))


def serve(
    config: Config,
    store_path: Path,
    store_opened: Future[tuple[int, set[str]]],
    reload_asked: Sequence[int] = (),
) -> None:
    """Run in the foreground until told to stop. The store at ``store_path`` is being opened;
    ``reload_asked`` is filled by a SIGHUP that comes before the relay can take it."""
    import uvloop

    manager, sockets = Manager.of(os.environ), inherited(os.environ)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    raise_limit()
    with contextlib.suppress(KeyboardInterrupt):
        app = App(config, store_path, store_opened, reload_asked, manager, sockets)
        uvloop.run(app.run())


def _hurry(acceptance: Acceptance, dispatcher: Dispatcher) -> None:
    acceptance.hurry()
    dispatcher.hurry()


def _prettifier() -> "Prettifier | None":
    """Only where a person watches: a service needs none."""
    if not sys.stdout.isatty():
        return None
    from relay.record.reading import Prettifier, wants_colours

    return Prettifier(colors=wants_colours(sys.stdout))


def _counters(config: Config) -> "Counters | None":
    """Only where they are shown: aiohttp and prometheus-client weigh 11 MiB."""
    if config.http is None:
        return None
    from relay.web.counters import Counters

    return Counters(config)


def _mirrored(
    mirror: Mirror, sent: Sent, counters: "Counters | None"
) -> Callable[[Sequence[tuple[Event, bytes]]], None]:
    to_journal = journal.reads(sys.stdout)

    def committed(told: Sequence[tuple[Event, bytes]]) -> None:
        sent.note(told)
        if counters:
            counters.note(told)
        if to_journal:
            mirror.write([journal.prioritised(event.name, line) for event, line in told])
        else:
            mirror.write([line for _, line in told])

    return committed
