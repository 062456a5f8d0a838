"""Gathers events of clients by minute and client, so that a hostile one can't fill the disk.

The first of a kind is told at once; those that follow within the minute are told as one, with
their count.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relay.model.events import Event
from relay.model.ports import AuditLog

_WINDOW_S = 60.0
# Beyond this many different kinds in a minute, all others are told as of the client "(others)".
_MOST_KINDS = 1000

# Makes the event of a client, told ``count`` times.
MakeEvent = Callable[[str, int], Event]


@dataclass(slots=True)
class _Gathered:
    client: str
    make: MakeEvent
    count: int = 0


class Gathering:
    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._kinds: dict[tuple[str, str], _Gathered] = {}
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, client: str, kind: str, make: MakeEvent) -> None:
        """``kind`` names what is counted together, beside the client: event and reply."""
        if (client, kind) not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            client, kind = "(others)", kind.partition(" ")[0]
        gathered = self._kinds.get((client, kind))
        if gathered:
            gathered.count += 1
            gathered.make = make
            return
        self._kinds[client, kind] = _Gathered(client, make)
        self._log.tell(make(client, 1))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WINDOW_S, self.flush)

    def flush(self) -> None:
        """Tell what has gathered; at the end of each minute, and at the end."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        kinds, self._kinds = self._kinds, {}
        for gathered in kinds.values():
            if gathered.count:
                self._log.tell(gathered.make(gathered.client, gathered.count))
