"""The trail as it is written, event by event, before retention takes it away; and whether it agrees
with what applications were promised, what upstreams took, and what the store still holds."""

import json
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from crash.load import BAD, Letter
from support.lives import queue_id_of
from support.upstream import ThreadedUpstream, Transaction

from relay.model.identifiers import encode

Event = dict[str, Any]

_ENDS = ("email.sent", "email.send_failed", "email.expired", "email.dropped", "email.suppressed")
# Identifiers are made in order and committed nearly so: as much is read again each time (5 s).
_AGAIN = 5_000_000 << 12


class Taker(ThreadedUpstream):
    """Remembers of each message only what is reckoned up: thousands come."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.taken: Counter[tuple[str, str]] = Counter()

    def record(self, transaction: Transaction, *, taken: bool) -> None:
        if taken:
            queue_id = queue_id_of(transaction.header)
            self.taken.update((queue_id, address) for address in transaction.recipients)
        self.commands.clear()


class Account:
    """``with Account(store) as account``: reads the trail again and again."""

    def __init__(self, store: Path, every_s: float = 0.5) -> None:
        self._store = store
        self._every_s = every_s
        self._over = threading.Event()
        self._last = 0
        self.events: dict[int, Event] = {}

    def __enter__(self) -> "Account":
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._read()

    def _follow(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._read()
            except sqlite3.OperationalError:
                continue  # not there yet, or being recovered

    def _read(self) -> None:
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as store:
            query = "SELECT id, body FROM event WHERE id > ?"
            rows = store.execute(query, (self._last - _AGAIN,)).fetchall()
        for number, body in rows:
            if number not in self.events:
                self.events[number] = json.loads(body)
        self._last = max([self._last, *(number for number, _ in rows)])

    def named(self, *names: str) -> list[Event]:
        return [event for event in list(self.events.values()) if event["event"] in names]

    def check(self, promised: Mapping[str, Letter], taken: Counter[tuple[str, str]]) -> None:
        accepted = Counter(event["queue_id"] for event in self.named("email.accepted"))
        assert set(accepted.values()) == {1}, "accepted more than once"
        assert promised.keys() <= accepted.keys(), "promised, and not in the trail"
        assert {queue_id for queue_id, _ in taken} <= accepted.keys()
        held = self._held()
        ended = self._ended()
        doubtful = self._doubtful()
        for event in self.named("email.accepted"):
            for address in event["recipients"]:
                key = event["queue_id"], address
                _check(key, ended[key], held.get(key), taken[key], key[0] in doubtful)
        self._check_dead({queue_id for queue_id, _ in held})

    def _held(self) -> dict[tuple[str, str], str]:
        """What the store has of each recipient."""
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT message, address, state FROM recipient").fetchall()
        return {(encode(number), address): state for number, address, state in rows}

    def _ended(self) -> dict[tuple[str, str], list[str]]:
        ended: dict[tuple[str, str], list[str]] = defaultdict(list)
        for event in self.named(*_ENDS):
            for address in event["recipients"]:
                ended[event["queue_id"], address].append(event["event"])
        return ended

    def _doubtful(self) -> set[str]:
        """Messages that may have come twice, by the trail's own word."""
        return {
            event["queue_id"]
            for event in list(self.events.values())
            if event.get("possible_duplicate") or event.get("cause") == "outcome_unknown"
        }

    def _check_dead(self, held: set[str]) -> None:
        """Each dead letter is there, or was purged; none is both, or neither."""
        dead = Counter(event["queue_id"] for event in self.named("email.dead_lettered"))
        purged = Counter(event["queue_id"] for event in self.named("email.purged"))
        assert set(dead.values()) | set(purged.values()) <= {1}
        assert purged.keys() <= dead.keys()
        assert dead.keys() == purged.keys() | (held & dead.keys())
        assert not purged.keys() & held


def _check(
    key: tuple[str, str], ends: list[str], state: str | None, taken: int, doubtful: bool
) -> None:
    what = f"{key}: ended {ends}, in the store {state}, arrived {taken} times"
    if not ends:
        assert state == "pending", f"lost: {what}"
        return
    assert len(ends) == 1, f"ended more than once: {what}"
    if key[1] == BAD:
        assert ends[0] in ("email.send_failed", "email.suppressed"), what
        assert not taken, what
        return
    assert ends == ["email.sent"], f"lost: {what}"
    assert taken == 1 or (taken > 1 and doubtful), what
