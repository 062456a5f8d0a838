"""Posts an alert to a webhook. The URL may hold a token: it is in no error, and what the server
says is told without it."""

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from relay.record.wording import clean

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

# Before the second try and the third.
_WAITS_S = (1.0, 3.0)
_MOST_REPLY_CHARACTERS = 300
_MOST_REPLY_BYTES = 1200
# Shorter pieces of the URL ("hooks", "v1") may well be words of an answer.
_SHORTEST_SECRET = 8


class WebhookError(Exception):
    """It could not be told; ``reason`` says why, fit for the trail."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


async def post(url: str, body: dict[str, Any], timeout_s: float = 10.0) -> None:
    """POST ``body`` as JSON. Returns when a server has answered 2xx.

    Three tries where it is slow, can't be reached, or answers 5xx or 429, each of at most
    ``timeout_s``. Redirects are not followed: the next host would get the alert, and perhaps the
    token. Raises WebhookError.
    """
    # aiohttp weighs about 10 MiB, and most relays never alert.
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

    timeout = ClientTimeout(total=timeout_s)
    # Undecoded: a few octets can't become many.
    async with ClientSession(
        timeout=timeout, cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as session:
        for wait_s in (*_WAITS_S, None):
            error = await _try(session, url, body)
            if error is None:
                return
            if wait_s is None or not error.again:
                raise error
            await asyncio.sleep(wait_s)


async def _try(session: "ClientSession", url: str, body: dict[str, Any]) -> WebhookError | None:
    """Returned, not raised: the client's own exceptions name the URL, and would be its context."""
    from aiohttp import ClientError, InvalidURL, NonHttpUrlClientError

    try:
        async with session.post(url, json=body, allow_redirects=False) as response:
            return await _verdict(response, url)
    except (InvalidURL, NonHttpUrlClientError):
        return WebhookError("the webhook's URL is none")
    except TimeoutError:
        return WebhookError("no answer in time", again=True)
    except (ClientError, OSError) as error:
        return WebhookError(_described(error), again=True)


async def _verdict(response: "ClientResponse", url: str) -> WebhookError | None:
    status = response.status
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return WebhookError(f"HTTP {status}: it redirects; set the webhook to where it leads")
    words = (await response.content.read(_MOST_REPLY_BYTES)).decode("utf-8", "replace")
    told = clean(_without_secrets(words, url), _MOST_REPLY_CHARACTERS)
    reason = f"HTTP {status}: {told}" if told else f"HTTP {status}"
    return WebhookError(reason, again=status >= 500 or status == 429)


def _described(error: Exception) -> str:
    """The system's own words where there are some: the client's, and asyncio's, hold the host."""
    cause = getattr(error, "os_error", error)
    words = ""
    if isinstance(cause, ssl.SSLError):
        words = cause.reason or ""
    elif isinstance(cause, socket.gaierror):
        words = cause.strerror or ""
    elif isinstance(cause, OSError) and cause.errno:
        words = os.strerror(cause.errno)
    return f"{type(error).__name__}: {clean(words)}" if words else type(error).__name__


def _without_secrets(words: str, url: str) -> str:
    """Some servers name the path that was asked for."""
    parts = urlsplit(url)
    pieces = [url, parts.path, parts.query, parts.username or "", parts.password or ""]
    pieces += parts.path.split("/")
    pieces += [value.partition("=")[2] for value in parts.query.split("&")]
    pieces += [unquote(piece) for piece in pieces]
    for piece in sorted(set(pieces), key=len, reverse=True):
        if len(piece) >= _SHORTEST_SECRET:
            words = words.replace(piece, "…")
    return words
