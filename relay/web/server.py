"""The server itself: where it listens, who may ask, and what is answered where.

It shares the event loop with the mail. What takes time is made off it, and kept for a while.
"""

import asyncio
import contextlib
import hmac
import os
from collections.abc import Awaitable, Callable
from functools import partial

import orjson
import structlog
from aiohttp import web

from relay.config.http import Http, UnixSocket
from relay.config.schema import SecretError
from relay.model.ports import StoreError
from relay.web.counters import Counters
from relay.web.health import Health
from relay.web.kept import Kept
from relay.web.metrics import CONTENT_TYPE, Metrics, moment_of
from relay.web.observed import Observed, QueueCounts, Vitals

diagnostics = structlog.get_logger("relay.web")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# At a stop: an answer that is under way.
_SHUTDOWN_S = 1.0
_SOCKET_MODE = 0o660
# The descriptors are for mail. More than a handful of monitors nobody has.
_MOST_CONNECTIONS = 50


class Server:
    """``start`` it before mail is taken, ``stop`` it last."""

    def __init__(self, http: Http, observed: Observed, counters: Counters) -> None:
        self._http = http
        self._observed = observed
        self._metrics = Metrics(counters)
        self._counts = QueueCounts()
        self._health = Health(observed)
        self._page = Kept(self._prepare_page)
        self._status = Kept(lambda: observed.status)
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Binds and listens. OSError where it can't, with what to do."""
        app = web.Application(middlewares=[self._admitted], client_max_size=0)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/api/v1/status", self._show_status)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await self._listen(runner)
        except OSError as error:
            await runner.cleanup()
            why = os.strerror(error.errno or 0)
            raise OSError(f"can't listen on http {self._http.listen}: {why}") from error
        self._runner = runner

    async def stop(self) -> None:
        if self._listening:
            self._listening.close()
        if self._runner:
            await self._runner.cleanup()
        self._observed.close()
        if isinstance(self._http.listen, UnixSocket):
            with contextlib.suppress(OSError):
                self._http.listen.path.unlink()

    async def _listen(self, runner: web.AppRunner) -> None:
        where, loop = self._http.listen, asyncio.get_running_loop()
        answers = runner.server
        assert answers is not None

        def admit() -> asyncio.BaseProtocol:
            return answers() if len(answers.connections) < _MOST_CONNECTIONS else _TooMany()

        if isinstance(where, UnixSocket):
            self._listening = await loop.create_unix_server(admit, str(where.path))
            where.path.chmod(_SOCKET_MODE)
        else:
            self._listening = await loop.create_server(admit, where.host, where.port)

    # -- who may ask

    @web.middleware
    async def _admitted(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not self._may_ask(request.headers.get("Authorization", "")):
            return web.Response(
                status=401, text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"}
            )
        return await handler(request)

    def _may_ask(self, authorization: str) -> bool:
        """By the token as a reload last read it; nobody where it can't be read."""
        http = self._observed.config.http
        if http is None or http.token is None:
            return True
        try:
            token = http.token.reveal()
        except SecretError as error:
            diagnostics.error("nobody may ask: the token can't be had", error=str(error))
            return False
        scheme, _, said = authorization.partition(" ")
        right = hmac.compare_digest(said.strip().encode("utf-8", "surrogateescape"), token.encode())
        return right and scheme.lower() == "bearer"

    # -- what is answered

    async def _healthz(self, request: web.Request) -> web.Response:
        reason = await self._health.why_dead()
        return _json({"alive": reason is None, "reason": reason}, 503 if reason else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        reason = await self._health.why_unready()
        return _json({"ready": reason is None, "reason": reason}, 503 if reason else 200)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._page.get(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_status(self, request: web.Request) -> web.Response:
        try:
            return _json(await self._status.get())
        except StoreError as error:
            return _json({"error": str(error)}, 503)

    def _prepare_page(self) -> Callable[[], bytes]:
        return partial(self._make_page, self._observed.vitals())

    def _make_page(self, vitals: Vitals) -> bytes:
        # Else what was known last is shown, and the oldest message goes on growing older.
        with contextlib.suppress(StoreError):
            self._counts = self._observed.counts()
        return self._metrics.page(self._observed.config, moment_of(vitals, self._counts))


class _TooMany(asyncio.Protocol):
    """Hangs up at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body) + b"\n", status=status, content_type="application/json"
    )
