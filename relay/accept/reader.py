"""The reading side of a session."""

import asyncio
from typing import Any


class WireReader(asyncio.StreamReader):
    """A stream reader that takes octets back: what came behind the end of the content."""

    # asyncio's own; it has no public way to do the following.
    _buffer: bytearray
    _transport: Any

    def unread(self, octets: bytes) -> None:
        self._buffer[:0] = octets

    def forget(self) -> None:
        self._buffer.clear()

    def read_from(self, transport: Any) -> None:
        """After STARTTLS: pause and resume the transport that the octets now come from."""
        self._transport = transport
