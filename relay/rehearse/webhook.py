"""A webhook on loopback: takes each alert that is posted to it, and hands it to nobody."""

import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Post:
    """``at`` in Unix seconds."""

    at: float
    body: dict[str, Any]


class Webhook:
    """``url`` is there once it has started."""

    def __init__(self) -> None:
        self.url = ""
        self.posts: list[Post] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.posts.append(Post(time.time(), await request.json()))
        return web.Response(status=204)
