"""What was spent is as long ago as it was before the clock was set."""

from relay.config.schema import UpstreamLimits
from relay.dispatch.rates import SLOT_S, Subject

_NOW = 1_000 * SLOT_S


def _free_at(limits: dict[str, int], *, spent_at: float, moved_s: float, now: float) -> list[float]:
    subject = Subject("up", UpstreamLimits(**limits), "messages", "messages")
    subject.spend(1, spent_at)
    subject.move(moved_s)
    return [window.free_at(1, now) for window in subject.windows]


def test_a_short_window_goes_with_the_clock() -> None:
    for moved_s in (-86400.0, 86400.0):
        now = _NOW + moved_s + 20
        assert _free_at({"per_minute": 1}, spent_at=_NOW, moved_s=moved_s, now=now) == [now + 40]


def test_a_quota_goes_with_the_clock_by_whole_slots() -> None:
    for moved_s in (-86400.0 * 400, 86400.0 * 400):
        now = _NOW + moved_s
        (free_at,) = _free_at({"per_hour": 1}, spent_at=_NOW, moved_s=moved_s, now=now)
        assert now + 3600 <= free_at <= now + 3600 + 2 * SLOT_S
