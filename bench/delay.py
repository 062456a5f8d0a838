"""A long way to an upstream: passes octets on as they come, each a fixed time late.

    python bench/delay.py LISTEN_PORT TO_PORT ONE_WAY_MS

Both directions are late, so the round trip is twice that; nothing is reordered and the bandwidth is
not bounded. The kernel's own tool (tc, netem) needs a module that many machines and most containers
lack. What differs from a long wire: TCP's handshake is near, its window never closes, and the delay
is up to a millisecond longer than asked for. All contestants have the same way.
"""

import asyncio
import socket
import sys
from collections import deque
from typing import cast

import uvloop


class End(asyncio.Protocol):
    """One of the two connections; what it reads is written to its ``peer`` a while later."""

    def __init__(self, delay_s: float) -> None:
        self.peer: End | None = None
        self.transport: asyncio.Transport | None = None
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        # In order of arrival, whatever the order of the timers; nothing at all is the end.
        self._under_way: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._under_way.append(data)
        self._loop.call_later(self._delay_s, self._arrive)

    def connection_lost(self, exc: Exception | None) -> None:
        self.data_received(b"")

    def _arrive(self) -> None:
        if self.peer is None or self.peer.transport is None:
            self._loop.call_later(self._delay_s, self._arrive)
            return
        data = self._under_way.popleft()
        if not data:
            self.peer.transport.close()
        elif not self.peer.transport.is_closing():
            self.peer.transport.write(data)


class Near(End):
    """The connection that was accepted; opens the other one."""

    def __init__(self, delay_s: float, to_port: int) -> None:
        super().__init__(delay_s)
        self._to_port = to_port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        far = End(self._delay_s)
        await self._loop.create_connection(lambda: far, "127.0.0.1", self._to_port)
        far.peer, self.peer = self, far


async def serve(listen_port: int, to_port: int, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Near(delay_s, to_port), "127.0.0.1", listen_port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
