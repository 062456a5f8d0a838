"""Hands sample messages over as the dispatcher does mail, over one connection, and tells of it.

What is tried is the very way of the mail from the route on, watched; nothing of it is queued, and
no pause, toggle or rate is asked.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from relay.config.schema import Config
from relay.deliver.masking import Masking
from relay.deliver.pool import Pool
from relay.deliver.watched import kit_for, say_goodbye
from relay.deliver.watching import Line, Watch
from relay.deliver.wire import Wire
from relay.dispatch.handover import Packer
from relay.model.budget import Budget
from relay.model.message import Content, Message
from relay.model.result import Relayed, Result, Trouble
from relay.route.plan import Route
from relay.trial.samples import KINDS
from relay.trial.way import SampleWay


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one message. ``lines`` are empty where it was not tried at all, since the one
    before could not even connect; its ``result`` is that one's then."""

    kind: str
    message: Message
    result: Result
    duration_s: float
    lines: tuple[Line, ...]
    connected: bool

    @property
    def sent(self) -> bool:
        return isinstance(self.result, Relayed)

    @property
    def trouble(self) -> Trouble | None:
        return None if isinstance(self.result, Relayed) else self.result

    @property
    def tried(self) -> bool:
        return bool(self.lines)


class SampleRun:
    """``async for tried in run.send(messages)``; ``heard`` gets each line of the dialogue."""

    def __init__(self, config: Config, way: SampleWay, heard: Callable[[Line], None]) -> None:
        upstream = config.upstreams[way.upstream]
        self._way = way
        self._masking = Masking(upstream)
        self._watch = Watch(self._masking, heard)
        self._wires: list[Wire] = []
        kit = kit_for(self._watch)
        self._make_wire = kit.wire
        kit = replace(kit, wire=self._wire)
        self._pool = Pool(upstream, config.hostname, config.timeouts, kit)
        self._config = config

    async def send(self, messages: Sequence[Message]) -> AsyncIterator[Tried]:
        """In their order, over one connection if it holds."""
        pools = {self._pool.upstream.name: self._pool}
        packer = Packer(_Held(messages), pools, Budget(self._config.limits.memory))
        last: Tried | None = None
        try:
            for kind, message in zip(KINDS, messages, strict=True):
                if last and not last.connected:
                    # Another wrong password could lock the account.
                    last = replace(last, kind=kind, message=message, duration_s=0.0, lines=())
                else:
                    last = await self._try(packer, kind, message)
                yield last
        finally:
            await self._end()

    async def _try(self, packer: Packer, kind: str, message: Message) -> Tried:
        began, heard_before = time.monotonic(), len(self._watch.lines)
        self._watch.note(f"to be sent: {kind}")
        way, recipients = self._way, message.recipients
        route = Route(way.kind, way.upstream, way.identity, recipients)
        attempt = await packer.hand_over(message, route, recipients)
        assert attempt is not None, "it follows nobody, and is not cut"
        return Tried(
            kind=kind,
            message=message,
            result=self._masked(attempt.results[0]),
            duration_s=time.monotonic() - began,
            lines=tuple(self._watch.lines[heard_before:]),
            connected=attempt.remote_mta is not None,
        )

    def _masked(self, result: Result) -> Result:
        """A server may repeat to us what we have said."""
        masked = self._masking.masked
        reply = result.reply and replace(result.reply, text=masked(result.reply.text))
        if isinstance(result, Relayed):
            return replace(result, reply=reply or result.reply)
        return replace(result, reply=reply, detail=masked(result.detail))

    def _wire(self, transport: asyncio.Transport) -> Wire:
        wire = self._make_wire(transport)
        self._wires.append(wire)
        return wire

    async def _end(self) -> None:
        for wire in self._wires:
            if wire.usable:
                await say_goodbye(wire)
        self._pool.close()


class _Held:
    """The octets of messages that are in memory whole."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._chunks = {one.queue_id: one.content.chunks or () for one in messages}

    async def read(self, queue_id: str, content: Content) -> AsyncIterator[bytes]:
        for chunk in self._chunks[queue_id]:
            yield chunk
