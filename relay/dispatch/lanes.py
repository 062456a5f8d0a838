"""All lanes together: which one a message, a tenant, an upstream goes by."""

from collections.abc import Iterator, Sequence

from relay.dispatch.lane import Lane
from relay.dispatch.situation import Situation
from relay.model.message import Message

# Messages in memory at once, over all lanes.
MOST_IN_MEMORY = 2000


class Lanes:
    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._lanes: dict[str, Lane] = {}
        self.configure()
        # Messages without any way are looked at one by one, each on its own schedule.
        self._no_way = Lane(1)
        self.members = 0

    def configure(self) -> None:
        """Lanes for the upstreams of the present configuration; who stands in another line is sent
        home."""
        former, self._lanes = self._lanes, {}
        for name, upstream in self._situation.config.upstreams.items():
            lane = former.pop(name, None) or Lane(upstream.limits.connections)
            lane.resize(upstream.limits.connections)
            self._lanes[name] = lane
        for lane in former.values():
            lane.close()

    def __iter__(self) -> Iterator[Lane]:
        return iter((*self._lanes.values(), self._no_way))

    def __getitem__(self, upstream: str) -> Lane:
        return self._lanes[upstream]

    def of(self, message: Message) -> Lane:
        """That of its first route, by which it is counted."""
        upstream = self._situation.plan(message).routes[0].upstream
        return self._lanes[upstream] if upstream else self._no_way

    def usual_of(self, tenant: str) -> Lane:
        """By which most of the tenant's mail goes."""
        upstreams = self._situation.upstreams_of(tenant)
        return self._lanes[upstreams[0]] if upstreams else self._no_way

    def room(self, lane: Lane, tenant: str, priority: int) -> int:
        """How many more of the tenant's messages may be taken into memory."""
        return lane.room(tenant, self.members, MOST_IN_MEMORY, priority=priority)

    def enter(self, message: Message, lane: Lane) -> None:
        self.members += 1
        lane.enter(message.tenant)

    def leave(self, message: Message, lane: Lane) -> None:
        self.members -= 1
        lane.leave(message.tenant)

    def send_home(self, upstreams: Sequence[str] | None) -> None:
        """Whoever stands in line asks anew; of these upstreams, or of all."""
        for lane in self if upstreams is None else self._known(upstreams):
            lane.send_home()

    def close(self) -> None:
        for lane in self:
            lane.close()

    def _known(self, upstreams: Sequence[str]) -> list[Lane]:
        return [self._lanes[name] for name in upstreams if name in self._lanes]
