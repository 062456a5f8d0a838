"""relay audit --follow: what comes late is shown, and nothing is shown twice."""

import json
from collections.abc import Iterator

import pytest

from relay.cli import audit

NOON = 1_700_000_000.0


class Trail:
    """Events by the time that they were made; a turn of the follower takes half a second."""

    def __init__(self) -> None:
        self.now = NOON
        self.turns = 0
        self.events: list[tuple[float, str]] = []
        self.coming: dict[int, tuple[float, str]] = {}

    def read(self, since: float, until: float | None) -> Iterator[bytes]:
        for made_at, event_id in sorted(self.events):
            if since <= made_at and (until is None or made_at < until):
                yield json.dumps({"event_id": event_id}).encode()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.turns += 1
        if self.turns in self.coming:
            self.events.append(self.coming[self.turns])
        if self.turns == 40:
            raise KeyboardInterrupt


def test_a_follower_shows_each_event_once(monkeypatch: pytest.MonkeyPatch):
    trail = Trail()
    monkeypatch.setattr(audit, "time", trail)
    trail.events = [(NOON - 100, "old"), (NOON - 1, "recent")]
    # On record two seconds after it was made, behind one that was made later.
    trail.coming = {3: (NOON + 1.4, "new"), 5: (NOON + 0.5, "late")}
    shown: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        audit.follow_trail(
            trail.read, NOON - 3600, lambda line: shown.append(json.loads(line)["event_id"])
        )
    assert shown == ["old", "recent", "new", "late"]
