"""How long a configuration takes to load, and a message's way to be found.

    python bench/routing.py CONFIG

Every tenant's first domain sends, all in turn: with more of them than ways are remembered, each is
found anew. Then one sender asks again and again. Prints JSON.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from store import message

from relay.config import load
from relay.model.message import Message
from relay.route.plan import Snapshot, plan
from relay.route.tenancy import Tenancy

_ASKED = 30_000


def microseconds(snapshot: Snapshot, messages: Sequence[Message]) -> float:
    """Of CPU, for one of as many as are asked for; the loop itself is taken off."""
    began = time.process_time()
    for _ in _in_turn(messages):
        pass
    empty = time.process_time() - began
    began = time.process_time()
    for one in _in_turn(messages):
        plan(snapshot, one)
    return (time.process_time() - began - empty) / _ASKED * 1e6


def _in_turn(messages: Sequence[Message]) -> Iterator[Message]:
    return itertools.islice(itertools.cycle(messages), _ASKED)


def main(file: Path) -> None:
    began = time.perf_counter()
    config = load(file, {})
    load_s = time.perf_counter() - began
    snapshot = Snapshot(config, Tenancy(config.tenants.values(), has_default=False))
    senders = [f"app@{tenant.domains[0]}" for tenant in config.tenants.values()]
    messages = [message(sender=sender) for sender in senders]
    route_us, known_us = microseconds(snapshot, messages), microseconds(snapshot, messages[:1])
    print(json.dumps({"load_s": load_s, "route_us": route_us, "known_us": known_us}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
