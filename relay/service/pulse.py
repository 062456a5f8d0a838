"""The signs of life: the watchdog is fed while the event loop and the store turn, and a line says
what the relay is about (``systemctl status`` shows it)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from relay.model.events import Event
from relay.model.pause import Pause
from relay.service.manager import Manager

_STATUS_EVERY_S = 3.0
# Of the manager's patience: two signs may be late before it loses it.
_FED_IN_TIME = 1 / 3
_MOST_NAMED = 3


class Pulse:
    """``turn`` returns when the store has answered, if only that it can't; ``status`` makes the
    line."""

    def __init__(
        self, manager: Manager, turn: Callable[[], Awaitable[object]], status: Callable[[], str]
    ) -> None:
        self._manager = manager
        self._turn = turn
        self._status = status

    async def run(self) -> None:
        """Until cancelled; at once done where nobody listens."""
        if self._manager.listens:
            await asyncio.gather(self._feed(), self._tell_status())

    async def _feed(self) -> None:
        patience_s = self._manager.watchdog_s
        while patience_s is not None:
            await self._turn()
            self._manager.tell("WATCHDOG=1")
            await asyncio.sleep(patience_s * _FED_IN_TIME)

    async def _tell_status(self) -> None:
        told = ""
        while True:
            status = self._status()
            if status != told:
                self._manager.tell(f"STATUS={status}")
                told = status
            await asyncio.sleep(_STATUS_EVERY_S)


class Sent:
    """How many recipients' mail was handed over since the start."""

    def __init__(self) -> None:
        self.recipients = 0

    def note(self, told: Iterable[tuple[Event, bytes]]) -> None:
        """On the store's thread alone."""
        for event, _ in told:
            if event.name == "email.sent":
                self.recipients += len(event.fields["recipients"])


def status_line(sent: int, queued: int, dead: int, pauses: Iterable[Pause]) -> str:
    line = f"{sent} sent, {queued} queued"
    if dead:
        line += f", {dead} dead"
    ways = sorted({_way(pause) for pause in pauses})
    return f"{line}; paused: {_shortened(ways)}" if ways else line


def _way(pause: Pause) -> str:
    held = pause.held
    return " of ".join(name for name in (held.upstream, held.tenant, held.sender) if name)


def _shortened(ways: Sequence[str]) -> str:
    more = len(ways) - _MOST_NAMED
    return ", ".join([*ways[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
