"""How fast one large content is taken, beside aiosmtpd's own reader, in one run.

    python bench/data.py [--megabytes 10] [--rounds 5]

Both listen on loopback under uvloop and throw the content away; the clock runs from the first octet
behind the 354 to the reply behind the final dot. The store's part is not in it.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from socket import create_connection
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP

from relay.accept.listener import Acceptance
from relay.config import load
from relay.config.schema import Config
from relay.model.budget import Budget
from relay.model.events import Event
from relay.model.message import Message
from relay.model.ports import Client
from relay.model.reply import Reply
from relay.route.tenancy import Tenancy

_PORT, _LIBRARY_PORT = 22525, 22526
_CONFIG = f"""
hostname: bench.example
listen: ["127.0.0.1:{_PORT}"]
limits: {{message_size: 1GiB}}
queue: {{max_bytes: 2GiB}}
upstreams: {{u: {{host: 127.0.0.1, port: 2500, tls: none}}}}
tenants: {{t: {{domains: [bench.example], upstream: u}}}}
"""


class NullFile:
    name = "nowhere"

    async def write(self, octets: bytes) -> None: ...
    async def sync(self) -> None: ...
    def discard(self) -> None: ...


class NullKeeper:
    def refusal(self, size: int) -> None:
        return None

    def new_spool_file(self) -> NullFile:
        return NullFile()

    async def keep(self, message: Message, header: bytes, client: Client) -> Reply:
        return Reply(250, "2.0.0", "thrown away")

    def tell(self, event: Event) -> None: ...


class NullHandler:
    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802 - the library's name
        return "250 OK"


def configuration() -> Config:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(_CONFIG)
        return load(file, {})


async def serve(ready: threading.Event, config: Config) -> None:
    keeper = NullKeeper()
    tenancy = Tenancy(config.tenants.values(), has_default=False)
    await Acceptance(config, keeper, tenancy, keeper, Budget(config.limits.memory)).start()
    loop = asyncio.get_running_loop()
    await loop.create_server(
        lambda: SMTP(NullHandler(), hostname="bench", data_size_limit=None, loop=loop),
        "127.0.0.1",
        _LIBRARY_PORT,
    )
    ready.set()
    await asyncio.Event().wait()


def seconds(port: int, content: bytes) -> float:
    with create_connection(("127.0.0.1", port)) as client:
        replies = client.makefile("rb")
        replies.readline()
        for line in (b"HELO x", b"MAIL FROM:<a@bench.example>", b"RCPT TO:<b@x.example>", b"DATA"):
            client.sendall(line + b"\r\n")
            replies.readline()
        started = time.perf_counter()
        client.sendall(content)
        if not replies.readline().startswith(b"250"):
            sys.exit("refused")
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ready = threading.Event()
    threading.Thread(target=lambda: uvloop.run(serve(ready, configuration())), daemon=True).start()
    ready.wait()
    lines = arguments.megabytes * 1_000_000 // 78
    content = b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * lines + b".\r\n"
    taken: dict[int, list[float]] = {_PORT: [], _LIBRARY_PORT: []}
    for _ in range(arguments.rounds):
        for port, times in taken.items():
            times.append(seconds(port, content))
    ours, theirs = [len(content) / 2**20 / statistics.median(times) for times in taken.values()]
    print(f"relay {ours:.0f} MiB/s, aiosmtpd {theirs:.0f} MiB/s: {ours / theirs:.1f} times")


if __name__ == "__main__":
    main()
