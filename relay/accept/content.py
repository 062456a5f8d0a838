"""One content on its way in: its header stamped, its body folded, kept in memory while it is
small and memory is not short, else in a spool file.

What can't be accepted is remembered as ``refusal``; the rest is then read and thrown away, so that
the reply comes where the client expects it: behind the final dot.
"""

import contextlib
from collections.abc import Callable, Iterator

import structlog

from relay.accept.data import folded
from relay.accept.stamp import MAIL_LOOP, MailLoop, Stamped
from relay.model import header as headers
from relay.model.budget import Budget
from relay.model.message import Content
from relay.model.ports import Keeper, SpoolFile, StoreError
from relay.model.reply import Reply

diagnostics = structlog.get_logger("relay.accept")

# Beyond this a content goes to a spool file (DESIGN: blobs of 10 MB cost 5 times the memory).
_IN_STORE_BYTES = 1 << 20
_LONGEST_HEADER_BYTES = 128 << 10
_SPOOL_WRITE_BYTES = 256 << 10

TOO_LARGE = Reply(552, "5.3.4", "the message is larger than limits.message_size")
HEADER_TOO_LARGE = Reply(552, "5.3.4", "the header section is larger than 128 KiB")
NO_MEMORY = Reply(452, "4.3.1", "too many large header sections at once, try again later")
OUR_FAULT = Reply(451, "4.3.0", "an error in the relay, try again later")
STORE_TROUBLE = Reply(452, "4.3.1", "the queue can't take mail just now, try again later")


class Incoming:
    """``take`` every piece in wire form, then ``finish``; ``release`` in any case."""

    def __init__(
        self, stamp: Callable[[bytes], Stamped], keeper: Keeper, budget: Budget, largest: int
    ) -> None:
        self._stamp = stamp
        self._keeper = keeper
        self._budget = budget
        self._largest = largest
        self._raw_header = bytearray()
        self._line_start = 0
        self._header_size = 0
        self._chunks: list[bytes] = []
        self._held = 0
        self._spool: SpoolFile | None = None
        self._kept = False
        self._arrived = 0
        self._size = 0
        self.stamped: Stamped | None = None
        self.refusal: Reply | None = None

    async def take(self, wire: bytes) -> None:
        """``wire`` is whole lines in wire form."""
        if self.refusal or not wire:
            return
        self._arrived += len(wire)
        if self._arrived > self._largest:
            self.refuse(TOO_LARGE)
            return
        with self._refusing():
            await self._take(wire)

    async def finish(self) -> Content | None:
        """The whole content, durable if it lies in a spool file; None if it is refused."""
        with self._refusing():
            if self.refusal is None and self.stamped is None:
                await self._end_header(len(self._raw_header), b"")
            self._ask_for_room()
            if self.refusal is None and self._spool:
                await self._spill()
                if self.refusal is None:
                    await self._spool.sync()
        if self.refusal:
            return None
        if self._spool:
            return Content(self._size, self._header_size, spool=self._spool.name)
        return Content(self._size, self._header_size, chunks=tuple(self._chunks))

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Whatever goes wrong, the content is read to its end: were the session to go on before
        it, the rest would be obeyed as commands."""
        try:
            yield
        except MailLoop:
            self.refuse(MAIL_LOOP)
        except StoreError:
            self.refuse(STORE_TROUBLE)
        except Exception:
            diagnostics.exception("content not taken")
            self.refuse(OUR_FAULT)

    def _ask_for_room(self) -> None:
        """The client's word at MAIL, if it gave one, is no measure."""
        refusal = self._keeper.refusal(self._size)
        if refusal:
            self.refuse(refusal)

    def refuse(self, reply: Reply) -> None:
        """The first reason stands; what was kept so far goes."""
        self.refusal = self.refusal or reply
        self.release()

    def entrust(self) -> None:
        """From here on a committed message may name the spool file: it is the queue's."""
        self._kept = True

    def take_back(self) -> None:
        """The commit did not happen, so no message names the spool file."""
        self._kept = False

    def release(self) -> None:
        """Gives the memory back, and the spool file unless a message names it."""
        self._chunks = []
        self._budget.give(self._held)
        self._held = 0
        if self._spool and not self._kept:
            self._spool.discard()

    async def _take(self, wire: bytes) -> None:
        stamped = self.stamped
        if stamped is not None:
            await self._add(wire if stamped.signed else folded(wire))
            return
        if not self._held:
            await self._budget.take(len(wire))
        elif not self._budget.try_take(len(wire)):
            # To wait while holding something could let all sessions wait for one another.
            self.refuse(NO_MEMORY)
            return
        self._held += len(wire)
        self._raw_header += wire
        if self._arrived == len(wire):
            del self._raw_header[: headers.mailbox_line_end(self._raw_header)]
        end = headers.section_end(self._raw_header, self._line_start)
        if end is not None:
            await self._end_header(end, bytes(self._raw_header[end:]))
            return
        # Every line so far belongs to the header: the next look begins where this one ended.
        self._line_start = len(self._raw_header)
        if self._line_start > _LONGEST_HEADER_BYTES:
            self.refuse(HEADER_TOO_LARGE)

    async def _end_header(self, end: int, rest: bytes) -> None:
        """``rest`` begins with the blank line, if there is one."""
        stamped = self.stamped = self._stamp(bytes(self._raw_header[:end]))
        self._raw_header = bytearray()
        self._budget.give(self._held)
        self._held = 0
        body = rest[2:] if rest.startswith(b"\r\n") else rest
        self._header_size = len(stamped.header)
        await self._add(stamped.header + (body if stamped.signed else folded(body)))

    async def _add(self, wire: bytes) -> None:
        if not self._budget.try_take(len(wire)):
            # Give back what is held before waiting: or all sessions might wait for one another.
            await self._spill()
            if self.refusal:
                return
            await self._budget.take(len(wire))
        self._held += len(wire)
        self._size += len(wire)
        self._chunks.append(wire)
        # While memory is short nothing is held across a wait for the client, who may be slow.
        most = _SPOOL_WRITE_BYTES if self._spool else _IN_STORE_BYTES
        if self._held > most or self._budget.half_used:
            await self._spill()

    async def _spill(self) -> None:
        if not self._chunks:
            return
        if self._spool is None:
            self._spool = self._keeper.new_spool_file()
        self._ask_for_room()
        if self.refusal:
            return  # and the file is gone
        chunks, self._chunks = self._chunks, []
        try:
            await self._spool.write(b"".join(chunks))
        finally:
            self._budget.give(self._held)
            self._held = 0
