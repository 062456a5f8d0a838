"""After all the crashes: what was promised against what arrived, what lies dead and what the trail
tells, recipient by recipient."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.load import BAD, Letter
from support.lives import queue_id_of
from support.upstream import Transaction

from relay.model.identifiers import encode

Event = dict[str, Any]

_ENDS = {
    "email.sent": "relayed",
    "email.send_failed": "failed",
    "email.expired": "expired",
    "email.dropped": "dropped",
    "email.suppressed": "suppressed",
}


@dataclass(frozen=True)
class Figures:
    kills: int
    promised: int
    arrived: int
    twice: int
    flagged: int
    unanswered: int
    dead: int

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.promised} messages had their 250, none is lost; "
            f"{self.arrived} arrived, {self.twice} of them more than once, "
            f"{self.flagged} marked as possible duplicates; {self.dead} dead letters; "
            f"{self.unanswered} final dots without a reply"
        )


class Reckoning:
    def __init__(self, store: Path, transactions: Sequence[Transaction]) -> None:
        with closing(sqlite3.connect(store)) as connection:
            rows = connection.execute("SELECT body FROM event ORDER BY id").fetchall()
            states = connection.execute(
                "SELECT message, address, state, dead_since IS NOT NULL"
                " FROM recipient JOIN message ON message.id = recipient.message"
            ).fetchall()
            spools = connection.execute("SELECT spool FROM message WHERE spool IS NOT NULL")
            self.spools: set[str] = {name for (name,) in spools}
            [self.verdict] = connection.execute("PRAGMA integrity_check").fetchone()
            self.strays = connection.execute("PRAGMA foreign_key_check").fetchall()
        self.events: list[Event] = [json.loads(body) for (body,) in rows]
        self.kept = {(encode(number), address): state for number, address, state, _ in states}
        self.dead = {encode(number) for number, _, _, dead in states if dead}
        self.waiting = {encode(number) for number, _, _, dead in states if not dead}
        self.taken = Counter(
            (queue_id_of(t.header), address) for t in transactions for address in t.recipients
        )
        self.bodies = {queue_id_of(t.header): t.body for t in transactions}
        self.flagged = {e["queue_id"] for e in self.events if e.get("possible_duplicate")}

    def check(self, promised: Mapping[str, Letter]) -> None:
        """Nothing is lost, the trail is the queue's truth, and who came twice was marked."""
        assert (self.verdict, self.strays) == ("ok", [])
        accepted = Counter(e["queue_id"] for e in self.events if e["event"] == "email.accepted")
        assert set(accepted.values()) <= {1}, "accepted more than once"
        assert not promised.keys() - accepted.keys(), "promised, and not in the trail"
        assert {queue_id for queue_id, _ in self.taken} <= accepted.keys()
        ended = self._ended()
        for queue_id, letter in promised.items():
            for address in letter.recipients:
                self._check(queue_id, address, ended.get((queue_id, address), []))
            if queue_id in self.bodies:
                assert self.bodies[queue_id] == letter.body, f"{queue_id} is not what was sent"
        twice = {queue_id for (queue_id, _), count in self.taken.items() if count > 1}
        assert twice <= self.flagged, f"came twice, and nobody says so: {twice - self.flagged}"

    def _ended(self) -> dict[tuple[str, str], list[str]]:
        ended: dict[tuple[str, str], list[str]] = {}
        for event in self.events:
            if event["event"] in _ENDS:
                for address in event["recipients"]:
                    key = event["queue_id"], address
                    ended.setdefault(key, []).append(_ENDS[event["event"]])
        return ended

    def _check(self, queue_id: str, address: str, ends: list[str]) -> None:
        what = f"{queue_id} to {address}: {ends}"
        assert len(ends) <= 1, f"ended more than once: {what}"
        if queue_id in self.waiting:
            return
        assert ends == (["failed"] if address == BAD else ["relayed"]), f"lost: {what}"
        if address == BAD:
            assert self.kept[queue_id, address] == "failed", f"no dead letter: {what}"
        else:
            assert self.taken[queue_id, address] >= 1, f"relayed, and never arrived: {what}"

    def figures(self, kills: int, promised: Mapping[str, Letter], unanswered: int) -> Figures:
        arrived = {queue_id for queue_id, _ in self.taken}
        twice = {queue_id for (queue_id, _), count in self.taken.items() if count > 1}
        return Figures(
            kills, len(promised), len(arrived), len(twice), len(self.flagged), unanswered,
            len(self.dead),
        )  # fmt: skip
