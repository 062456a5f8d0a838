"""The webhook, against a real server on loopback."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from relay.record import webhook
from relay.record.webhook import WebhookError, post

TOKEN = "T0KEN-s3cr3t"
Answer = Callable[[web.Request], web.StreamResponse]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_WAITS_S", (0.0, 0.0))


class Server:
    """Gives the answers one after the other, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(json.loads(await request.read()))
        await asyncio.sleep(0)
        return self.answers[min(len(self.bodies), len(self.answers)) - 1](request)


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    server = Server(*answers)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/services/{TOKEN}?key={TOKEN}2"
    try:
        yield server
    finally:
        await runner.cleanup()


def status(code: int, text: str = "") -> Answer:
    return lambda _: web.Response(status=code, text=text)


async def reason(url: str, timeout_s: float = 5.0) -> str:
    """Why it failed; wherever somebody could read it, the URL is not in it."""
    with pytest.raises(WebhookError) as caught:
        await post(url, {"text": "x"}, timeout_s)
    told = "".join(traceback.format_exception(caught.value))
    for secret in (url, TOKEN, TOKEN.lower()):
        assert secret not in caught.value.reason
        assert secret not in told
    assert caught.value.__context__ is None
    return caught.value.reason


async def test_the_alert_arrives_as_json() -> None:
    async with serving(status(204)) as server:
        await post(server.url, {"text": "[relay] acme: mail waits", "detail": "gr\u00fcn"})
    assert server.bodies == [{"text": "[relay] acme: mail waits", "detail": "gr\u00fcn"}]


@pytest.mark.parametrize("code", [500, 503, 429])
async def test_a_server_in_trouble_is_asked_again(code: int) -> None:
    async with serving(status(code), status(code), status(200)) as server:
        await post(server.url, {})
    assert len(server.bodies) == 3


async def test_three_tries_are_enough() -> None:
    async with serving(status(503, "down for lunch")) as server:
        assert await reason(server.url) == "HTTP 503: down for lunch"
    assert len(server.bodies) == 3


async def test_a_refusal_is_final_and_its_words_are_told_without_the_url() -> None:
    words = f"no hook /services/{TOKEN}?key={TOKEN}2\x1b[2J" + "x" * 5000
    async with serving(status(404, words)) as server:
        told = await reason(server.url)
    assert told.startswith("HTTP 404: no hook …")
    assert "\x1b" not in told
    assert len(told) <= len("HTTP 404: ") + 300
    assert len(server.bodies) == 1


async def test_a_redirect_is_not_followed() -> None:
    async with serving(status(200)) as elsewhere:

        def moved(_: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": elsewhere.url})

        async with serving(moved) as server:
            assert (await reason(server.url)).startswith("HTTP 307: it redirects")
    assert elsewhere.bodies == []


async def test_a_server_that_hangs_is_left_in_time() -> None:
    left = asyncio.Semaphore(0)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.release()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        assert await reason(f"http://{host}:{port}/{TOKEN}", 0.1) == "no answer in time"
        for _ in range(3):
            await left.acquire()


async def test_nobody_there_is_told_in_the_systems_words() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    told = await reason(f"http://127.0.0.1:{port}/{TOKEN}")
    assert told == "ClientConnectorError: Connection refused"


@pytest.mark.parametrize(
    "url", [f"ftp://h/{TOKEN}", TOKEN, f"http://h:99999/{TOKEN}", f"http://[::1/{TOKEN}", ""]
)
async def test_what_is_no_url_is_told_without_it(url: str) -> None:
    with pytest.raises(WebhookError, match="the webhook's URL is none") as caught:
        await post(url, {})
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
