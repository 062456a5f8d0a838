"""How fast the SQLite store keeps mail: pairs of add and settle, and claims out of a backlog.

    python bench/store.py                       pairs, at several switch intervals
    python bench/store.py --busy                the same beside a loop that computes all the time
    python bench/store.py --backlog 1000000     what dispatch asks of a million waiting messages

A pair is add(4 KiB, one recipient, claimed, one event) and settle(done, one event). The CPU time is
that of all threads, with the making of messages and the rendering of events. The store lies in the
working directory, since its disk counts.
"""

import argparse
import asyncio
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import uvloop

from relay.model import events
from relay.model.identifiers import new_identifier
from relay.model.message import Content, Ending, Message, Origin, Recipient, Settlement
from relay.model.reply import Reply
from relay.model.result import Attempt, Relayed
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

_CHUNK = b"x" * 4096
_ATTEMPT = Attempt(
    (
        Relayed(
            Reply(250, "2.0.0", "queued as 4F1"),
        ),
    ),
    "mx.example",
    None,
    0.05,
)
_WAY = events.Way("acme-sendgrid", "tenant")


def message(
    tenant: str = "acme", priority: int = 1, sender: str = "billing@acme.example"
) -> Message:
    now = time.time()
    return Message(
        queue_id=new_identifier(),
        arrived_at=now,
        expires_from=now,
        tenant=tenant,
        priority=priority,
        reverse_path=sender,
        header_from=sender,
        message_id="<20260101.4711@acme.example>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "web01.example"),
        recipients=(Recipient(0, "someone@customer.example"),),
        content=Content(len(_CHUNK), 400, (_CHUNK,)),
    )


def sent_event(kept: Message) -> events.Event:
    return events.of_attempt(kept, _WAY, kept.recipients, _ATTEMPT.results[0], _ATTEMPT)


async def pair(store: SqliteStore) -> None:
    kept = message()
    await store.add(kept, claimed=True, events=[events.email_accepted(kept)])
    sent = sent_event(kept)
    done = Settlement(kept.queue_id, (), Ending.DONE, 0)
    await store.settle([done], [sent])


async def produce(store: SqliteStore, until: float) -> int:
    pairs = 0
    while time.perf_counter() < until:
        await pair(store)
        pairs += 1
    return pairs


async def compute() -> None:
    """A loop that is never idle: slices of 2 ms of Python."""
    while True:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(directory: Path, producers: int, seconds: float, *, busy: bool) -> str:
    path = directory / "relay.db"
    store = SqliteStore(path, render=json_line, committed=lambda lines: None)
    await store.open()
    computing = asyncio.create_task(compute()) if busy else None
    await produce(store, time.perf_counter() + 0.2)
    before, began = cpu_s(), time.perf_counter()
    until = began + seconds
    pairs = sum(await asyncio.gather(*(produce(store, until) for _ in range(producers))))
    took, used = time.perf_counter() - began, cpu_s() - before
    if computing:
        computing.cancel()
    await store.close()
    shutil.rmtree(directory)
    cpu = "" if busy else f"{used / pairs * 1e6:9.0f} us"
    return f"{producers:9d} {pairs / took:11.0f}/s {took / pairs * producers * 1e3:9.2f} ms {cpu}"


async def backlog(directory: Path, size: int) -> None:
    store = SqliteStore(directory / "relay.db", render=json_line, committed=lambda lines: None)
    await store.open()
    for start in range(0, size, 1000):
        some = (
            store.add(message(f"tenant{i % 20}", i % 3), claimed=False, events=[])
            for i in range(start, start + 1000)
        )
        await asyncio.gather(*some)
    now = time.time()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "due": lambda: store.due(now),
        "claim of 50": lambda: store.claim("tenant7", 50, now),
        "counts": store.counts,
        "shares": store.shares,
    }
    for label, call in calls.items():
        moments = sorted([await timed(call) for _ in range(21)])
        print(f"{label:12s} {moments[10] * 1e3:8.2f} ms, worst {moments[-1] * 1e3:.2f} ms")
    print_asked_on_the_loop(store)
    await store.close()
    store = SqliteStore(directory / "relay.db", render=json_line, committed=lambda lines: None)
    print(f"{'open':12s} {await timed(store.open) * 1e3:8.2f} ms")
    await store.close()


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


def print_asked_on_the_loop(store: SqliteStore) -> None:
    store.orders()
    print_asked("orders", store.orders)
    print_asked("suppressed", partial(store.suppressed, "acme", ["someone@customer.example"]))


def print_asked(label: str, ask: Callable[[], object]) -> None:
    began = time.perf_counter()
    for _ in range(10_000):
        ask()
    print(f"{label:12s} {(time.perf_counter() - began) * 100:8.2f} us, unchanged")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--backlog", type=int)
    parser.add_argument("--intervals", type=float, nargs="*", default=[5, 0.5, 0.1], help="ms")
    chosen = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="relay-bench-", dir=Path.cwd()))
    try:
        if chosen.backlog:
            uvloop.run(backlog(directory, chosen.backlog))
            return
        print("switch interval  producers       pairs    each pair  CPU a pair")
        for interval in chosen.intervals:
            sys.setswitchinterval(interval / 1000)
            for producers in (1, 20, 100):
                line = uvloop.run(
                    measure(directory / "store", producers, chosen.seconds, busy=chosen.busy)
                )
                print(f"{interval:12g} ms {line}", flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
