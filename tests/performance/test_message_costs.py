"""The guard against a slower relay: what one message costs, in steps, which no busy machine blurs.

Where a test here fails, the relay has come to do more for each message than it did. See first
whether that can be spared: a commit is the time of a disk, a wake-up that of a thread's turn. If it
is worth it, raise the bound in this table, and say in the commit what for and what `make bench`
says before and after. Whoever makes the relay do less lowers the bound to the same distance. The
present figures:

    python -m pytest tests/performance -s -k costs
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.configs import relay_config, upstream_entry
from support.counting import CountedRelay, Work, median
from support.need import need
from support.ports import free_port
from support.upstream import ThreadedUpstream


@dataclass(frozen=True)
class Bound:
    """``seen`` when it was set; ``most`` lies a little above, for the reason that is said."""

    seen: float
    most: float
    why: str


# Of a message of 4 KiB to one recipient; in a session of its own, unless it is said.
COSTS = {
    "Python calls": Bound(876, 930, "seen 866 to 886: content comes in one piece or in two"),
    "Python calls, session kept": Bound(817, 865, "seen 807 to 827, for the same reason"),
    "hops to a pool": Bound(0, 0, "the store's writer is the one other thread at work"),
    "wake-ups": Bound(2, 2.5, "a thread wakes the loop after each of the two commits"),
    "syncs": Bound(2, 2.5, "accepted, settled; the log is folded every 50 messages or so"),
    "store writes": Bound(44, 48, "two for each page; pages are split now and then"),
    "other file writes": Bound(2, 2.5, "the mirrored trail, after each commit"),
    "socket writes": Bound(9, 9.5, "the replies; MAIL to DATA, and the content, upstream"),
    "other system calls": Bound(
        37.5, 41, "what is read, locks, TCP's word; a read may come in two"
    ),
}
_WARM_UP = 20
_MESSAGES = 30


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    need("strace")
    folder, port = tmp_path_factory.mktemp("costs"), free_port()
    with ThreadedUpstream() as upstream:
        config = relay_config(
            folder,
            port,
            {"up": upstream_entry(upstream)},
            {"acme": {"domains": ["acme.example"], "upstream": "up"}},
        )
        with CountedRelay(folder, config, port) as relay:
            yield Work(relay, upstream)


@pytest.fixture(scope="module")
def costs(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, float]:
    """By the names in the table above."""
    for _ in range(_WARM_UP):
        work.alone()
    kept = median(work.messages_kept(_MESSAGES))
    alone = median(work.messages_alone(_MESSAGES))
    trace: Path = tmp_path_factory.mktemp("trace") / "trace"
    calls = work.system_calls(trace, _MESSAGES)
    found = {
        "Python calls": alone.python_calls,
        "Python calls, session kept": kept.python_calls,
        "hops to a pool": alone.thread_hops,
    } | {kind: count / _MESSAGES for kind, count in calls.items()}
    print(f"\n{'a message costs':28}{'now':>8}{'then':>8}{'most':>8}")
    for name, bound in COSTS.items():
        print(f"{name:28}{found.get(name, 0):8.1f}{bound.seen:8.1f}{bound.most:8.1f}")
    return found


@pytest.mark.parametrize("name", COSTS)
def test_costs(costs: Mapping[str, float], name: str) -> None:
    assert costs.get(name, 0) <= COSTS[name].most, COSTS[name].why


def test_costs_are_all_in_the_table(costs: Mapping[str, float]) -> None:
    assert set(costs) <= set(COSTS)
