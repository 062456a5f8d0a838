"""Rates and quotas, with a clock of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.bounds import UpstreamLimits
from relay.config.schema import Config
from relay.dispatch.rates import SLOT_S, RateLimits, Subject, longest_wait, slot_of, spend, spent
from relay.model.ports import Spent

NOON = 1_700_006_400.0 - 1_700_006_400.0 % SLOT_S


def subject(counts: str = "messages", **limits: float) -> Subject:
    rates = UpstreamLimits.model_validate(limits | {"counts": counts})
    return Subject("up", rates, counts, counts)


def gone_by(one: Subject, start: float, end: float, step_s: float, recipients: int = 1) -> int:
    """How many go from ``start`` to ``end``, if one asks every ``step_s``."""
    count, now = 0, start
    while now < end:
        if longest_wait([one], recipients, now) is None:
            spend([one], recipients, now)
            count += 1
        now += step_s
    return count


@pytest.mark.parametrize(
    ("limits", "seconds", "step_s", "most"),
    [
        ({"per_second": 14}, 10, 0.01, 140),
        ({"per_second": 0.5}, 20, 0.1, 10),
        ({"per_minute": 30}, 120, 0.5, 60),
        ({"per_second": 2, "per_minute": 30}, 60, 0.1, 30),
    ],
)
def test_as_much_as_allowed_and_no_more(
    limits: dict[str, float], seconds: int, step_s: float, most: int
) -> None:
    assert most - 2 <= gone_by(subject(**limits), NOON, NOON + seconds, step_s) <= most


def test_no_window_of_24_hours_holds_more_than_a_day_allows() -> None:
    one = subject(per_day=100)
    times = []
    now = NOON
    while now < NOON + 3 * 86400:
        if longest_wait([one], 1, now) is None:
            spend([one], 1, now)
            times.append(now)
        now += 300
    worst = max(sum(start <= t < start + 86400 for t in times) for start in times)
    assert worst == 100


def test_it_says_until_when() -> None:
    one = subject(per_hour=2)
    spend([one], 1, NOON)
    spend([one], 1, NOON + 1)
    wait = longest_wait([one], 1, NOON + 2)
    assert wait is not None
    assert wait.limit.name == "per_hour"
    assert wait.limit.is_quota
    assert NOON + 3600 <= wait.until <= NOON + 3600 + SLOT_S
    assert longest_wait([one], 1, wait.until) is None


def test_recipients_are_counted_where_the_provider_does() -> None:
    one = subject("recipients", per_second=10)
    assert one.most_recipients == 10
    spend([one], 8, NOON)
    assert longest_wait([one], 2, NOON) is None
    assert longest_wait([one], 3, NOON) is not None
    assert subject(per_second=10).most_recipients is None


def test_what_was_not_taken_is_given_back() -> None:
    one = subject(per_second=1, per_day=1)
    spend([one], 1, NOON)
    assert longest_wait([one], 1, NOON) is not None
    spend([one], -1, NOON)
    assert longest_wait([one], 1, NOON) is None


def test_a_new_life_knows_what_was_spent() -> None:
    one = subject("recipients", per_day=100)
    spend([one], 60, NOON)
    kept = spent([one], 60, NOON)
    assert kept == (
        Spent("up", slot_of(NOON), 1),
        Spent("up#recipients", slot_of(NOON), 60),
    )
    fresh = subject("recipients", per_day=100)
    for entry in kept:
        fresh.load(entry, per_recipient=entry.subject.endswith("#recipients"))
    assert longest_wait([fresh], 40, NOON) is None
    assert longest_wait([fresh], 41, NOON) is not None


@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.tuples(st.floats(0, 0.7), st.integers(1, 5)), max_size=80),
)
def test_a_second_never_holds_more_than_it_may(limit: int, steps: list[tuple[float, int]]) -> None:
    one = subject("recipients", per_second=limit)
    now, gone = NOON, []
    for wait_s, recipients in steps:
        now += wait_s
        recipients = min(recipients, limit)
        wait = longest_wait([one], recipients, now)
        if wait is None:
            spend([one], recipients, now)
            gone.append((now, recipients))
        else:
            assert now < wait.until <= now + 1
    for start, _ in gone:
        assert sum(n for at, n in gone if start <= at < start + 1) <= limit


def config_of(limits: dict[str, object]) -> Config:
    return Config.model_validate(
        {
            "upstreams": {"up": {"host": "mail.example", "limits": limits}},
            "default": {"upstream": "up", "per_tenant": {"per_hour": 1}},
        },
        by_alias=True,
        by_name=False,
    )


@pytest.mark.parametrize(
    ("old", "new", "goes"),
    [
        ({"per_minute": 1}, {"per_minute": 1}, False),
        ({"per_day": 5}, {"per_day": 1}, False),
        ({"per_day": 1}, {"per_day": 2}, True),
    ],
)
def test_what_was_spent_before_a_reload_stays_spent(
    old: dict[str, object], new: dict[str, object], goes: bool
) -> None:
    limits = RateLimits(config_of(old))
    spend(limits.subjects("up", "acme", by_default=True), 1, NOON)
    limits.configure(config_of(new))
    of_upstream = limits.subjects("up", "acme", by_default=False)
    assert (longest_wait(of_upstream, 1, NOON) is None) == goes
    of_default = limits.subjects("up", "acme", by_default=True)
    assert longest_wait(of_default, 1, NOON) is not None, "the tenant's hour is used up"
