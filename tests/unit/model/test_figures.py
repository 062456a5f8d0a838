"""What mail came to: sums, shares, and the time within which most was sent."""

import random

import pytest

from relay.model.figures import Figures, Tally, octave, summed, total


def of_times(times_ms: list[float]) -> Figures:
    octaves: dict[int, int] = {}
    for time_ms in times_ms:
        octaves[octave(time_ms)] = octaves.get(octave(time_ms), 0) + 1
    return Figures(sent=len(times_ms), queued_ms=sum(times_ms), octaves=octaves)


def test_without_mail_there_is_no_time_and_no_share():
    nothing = Figures()
    assert (nothing.mean_ms, nothing.p95_ms, nothing.failed_share) == (None, None, None)


def test_the_share_is_of_what_came_to_an_end():
    assert Figures(sent=4, deferred=9, failed=1, expired=5).failed_share == 0.6


@pytest.mark.parametrize(
    ("milliseconds", "number"), [(0, 0), (0.9, 0), (1, 1), (3.9, 2), (4, 3), (172_800_000, 28)]
)
def test_octaves_are_powers_of_two(milliseconds: float, number: int):
    assert octave(milliseconds) == number


@pytest.mark.parametrize("spread", [(0, 1), (5, 300), (100, 130), (2000, 90_000)])
def test_the_95th_of_100_is_told_to_its_octave(spread: tuple[int, int]):
    chance = random.Random(4)
    times = sorted(chance.uniform(*spread) for _ in range(2000))
    exact, told = times[1900], of_times(times).p95_ms
    assert told
    assert octave(told * 0.999) == octave(exact)


def test_within_an_octave_the_shorter_times_are_taken_as_the_more_frequent():
    assert of_times([9] * 100).p95_ms == pytest.approx(8 * 2**0.95)
    assert of_times([0.5] * 100).p95_ms == pytest.approx(0.95)
    assert of_times([100] * 94 + [5000] * 6).p95_ms == pytest.approx(4096 * 2 ** (1 / 6))


def test_ways_are_apart_and_can_be_summed():
    one = Figures(1, 2, 3, 4, 500.0, {7: 1})
    other = Figures(2, 0, 0, 0, 100.0, {6: 1, 7: 1})
    tallies = [
        Tally("acme", "acme-mail", "tenant", one),
        Tally("acme", "acme-postmark", "pilot", other),
        Tally("", "", "", Figures(expired=1)),
    ]
    by_tenant = summed(tallies, lambda tally: tally.tenant)
    assert by_tenant == {
        "acme": Figures(3, 2, 3, 4, 600.0, {7: 2, 6: 1}),
        "": Figures(expired=1),
    }
    assert by_tenant["acme"].mean_ms == 200.0
    by_upstream = summed(tallies, lambda tally: tally.upstream or None)
    assert {name: figures.sent for name, figures in by_upstream.items()} == {
        "acme-mail": 1,
        "acme-postmark": 2,
    }
    assert total(by_tenant.values()).expired == 5
