"""What flow tests ask of a whole relay: mail in, the trail and the store out."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.upstream import Upstream

from relay.queue.sqlite.admin import Administration
from relay.record.audit import json_line

Event = dict[str, Any]

# For tests that are heavy, or whose point has nothing to do with sockets: as the relay serves.
ONE_LOOP = pytest.mark.asyncio(loop_factories=["uvloop"])


def endpoint(server: Upstream, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "tls": "none"} | more


def letter(
    subject: str = "hi", *, sender: str = "shop@acme.example", fields: str = "", body: str = "hello"
) -> bytes:
    """In wire form, without the final dot; ``fields`` are whole lines with their CRLF."""
    return f"From: {sender}\r\nSubject: {subject}\r\n{fields}\r\n{body}\r\n".encode()


async def submit(
    client: Any,
    *recipients: str,
    sender: str = "shop@acme.example",
    content: bytes | None = None,
    parameters: str = "",
) -> str:
    """One transaction; the reply behind the final dot, or the first refusal."""
    rcpts = [f"RCPT TO:<{recipient}>" for recipient in recipients or ("a@x.example",)]
    for command in (f"MAIL FROM:<{sender}>{parameters}", *rcpts, "DATA"):
        reply: str = await client.say(command)
        if reply[0] not in "23":
            return reply
    client.send((letter(sender=sender) if content is None else content) + b".\r\n")
    return str(await client.reply())


async def accepted(client: Any, *recipients: str, **more: Any) -> str:
    """The queue_id of a message that was taken."""
    reply = await submit(client, *recipients, **more)
    assert reply.startswith("250 2.0.0 Ok: queued as "), reply
    return reply.split()[-1]


def trail(folder: Path, name: str = "", **fields: Any) -> list[Event]:
    """The events, in order, of that name and with these fields."""
    with closing(sqlite3.connect(f"file:{folder}/relay.db?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT body FROM event ORDER BY id").fetchall()
    told = [json.loads(body) for (body,) in rows]
    return [
        event
        for event in told
        if (not name or event["event"] == name)
        and all(event.get(key) == value for key, value in fields.items())
    ]


async def told(
    folder: Path, name: str, count: int = 1, *, within_s: float = 10, **fields: Any
) -> list[Event]:
    """As ``trail``, as soon as there are ``count`` of them."""
    try:
        async with asyncio.timeout(within_s):
            while len(found := trail(folder, name, **fields)) < count:
                await asyncio.sleep(0.02)
    except TimeoutError:
        names = Counter(event["event"] for event in trail(folder))
        pytest.fail(f"{len(found)} of {count} {name} {fields} after {within_s} s: {dict(names)}")
    return found


async def until(holds: Callable[[], Any], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.02)


def administration(folder: Path) -> Administration:
    """As another process would."""
    return Administration(folder / "relay.db", json_line)


def stored(folder: Path, *, dead: bool) -> dict[str, dict[str, str]]:
    """By queue_id, the states of the recipients of what is queued, or of the dead letters."""
    with administration(folder) as store:
        return {
            listed.message.queue_id: {r.address: str(r.state) for r in listed.message.recipients}
            for listed in store.messages(dead)
        }


def receivers(server: Upstream) -> list[str]:
    """Everybody to whom the upstream has taken mail, in order."""
    return [address for taken in server.transactions for address in taken.recipients]


def names(events: Sequence[Event]) -> list[str]:
    return [event["event"] for event in events]
