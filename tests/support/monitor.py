"""A monitor that asks a relay how it is, over HTTP, and reads what it is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


class Scraped:
    """A page of metrics: ``value("relay_upstream_up", upstream="up")``."""

    def __init__(self, page: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(page)}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def labels(self, name: str) -> list[Labels]:
        """Of each sample of that name."""
        return [dict(labels) for of, labels in self.samples if of == name]


class Monitor:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def get(self, path: str, authorization: str | None = None) -> tuple[int, str]:
        """Status and body."""
        headers = {"Authorization": authorization} if authorization else {}
        async with self._session.get(self._base + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def json(self, path: str) -> tuple[int, Mapping[str, Any]]:
        status, text = await self.get(path)
        return status, json.loads(text)

    async def scrape(self) -> Scraped:
        async with self._session.get(f"{self._base}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return Scraped(await answer.text())

    async def scrape_until(self, holds: Callable[[Scraped], Any], within_s: float = 15) -> Scraped:
        """The first page of which that holds: a page is kept for a moment."""
        async with asyncio.timeout(within_s):
            while not holds(page := await self.scrape()):
                await asyncio.sleep(0.05)
        return page

    async def until_status(self, path: str, status: int, within_s: float = 15) -> Mapping[str, Any]:
        async with asyncio.timeout(within_s):
            while (answer := await self.json(path))[0] != status:
                await asyncio.sleep(0.05)
        return answer[1]


@contextlib.asynccontextmanager
async def monitoring(port: int = 0, socket: Path | None = None) -> AsyncIterator[Monitor]:
    connector = aiohttp.UnixConnector(str(socket)) if socket else None
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Monitor(session, f"http://127.0.0.1:{port}")
