"""Random lives: troubles for upstreams, and whether trail, store and upstreams agree after them."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.flows import stored, trail
from support.upstream import DROP, SILENCE, Slowly, Transaction

# What each phase may say; None is the usual answer.
_ANYWHERE: list[Any] = [DROP, SILENCE, "421 4.3.2 going down", Slowly(0.1)]
ANSWERS: dict[str, list[Any]] = {
    "banner": [*_ANYWHERE, "554 5.3.2 closed"],
    "ehlo": [*_ANYWHERE, "502 5.5.1 no"],
    "mail": [*_ANYWHERE, "451 4.7.1 later", "550 5.7.1 not you"],
    "rcpt": [
        *_ANYWHERE,
        "450 4.2.0 grey",
        "550 5.1.1 no such user",
        "550 5.7.1 policy",
        None,
        None,
    ],
    "data": [*_ANYWHERE, "451 4.3.0 later", "554 5.5.1 no"],
    # The last is late: it takes the message when nobody listens any more.
    "dot": [*_ANYWHERE, "452 4.3.1 full", "554 5.7.1 spam", "552 5.3.4 big", Slowly(0.35)],
}
_FINAL = {
    "email.sent": "relayed",
    "email.send_failed": "failed",
    "email.expired": "expired",
    "email.suppressed": "suppressed",
}


def scripted(chance: random.Random) -> dict[str, Any]:
    """A few troubles at some phases; then all is well."""
    return {
        phase: [
            chance.choice(answers) if chance.random() < 0.6 else None
            for _ in range(chance.randint(1, 3))
        ]
        for phase, answers in ANSWERS.items()
        if chance.random() < 0.6
    }


async def until_at_rest(folder: Path) -> None:
    async with asyncio.timeout(15):
        while stored(folder, dead=False):
            await asyncio.sleep(0.1)


def check(
    folder: Path, sent: dict[str, list[str]], transactions: Sequence[Transaction], seed: int
) -> None:
    ended: dict[tuple[str, str], list[str]] = {}
    doubtful: set[tuple[str, str]] = set()
    for event in trail(folder):
        if event["event"] not in (*_FINAL, "email.deferred"):
            continue
        recipients = {(event["queue_id"], address) for address in event["recipients"]}
        if event["event"] in _FINAL:
            for recipient in recipients:
                ended.setdefault(recipient, []).append(_FINAL[event["event"]])
        if event["event"] == "email.sent":
            # Of those who share an event, one is enough.
            # A former life may have been cut while it had the message, and that is marked, too.
            flagged, doubted = event.get("possible_duplicate", False), bool(recipients & doubtful)
            assert flagged == doubted or (flagged and event["attempt"] > 1), (seed, event)
        if event.get("cause") == "outcome_unknown":
            doubtful |= recipients
    taken = Counter(
        (queue_id_of(transaction.header), address)
        for transaction in transactions
        for address in transaction.recipients
    )
    kept = stored(folder, dead=True) | stored(folder, dead=False)
    for queue_id, addresses in sent.items():
        assert kept.get(queue_id, {}).keys() <= set(addresses), (seed, queue_id)
        for address in addresses:
            recipient = queue_id, address
            ends = ended.get(recipient, [])
            assert len(ends) == 1, (seed, recipient, ends, kept.get(queue_id))
            if queue_id in kept:
                assert kept[queue_id][address] == ends[0], (seed, recipient)
            if ends == ["relayed"]:
                assert taken[recipient] >= 1, (seed, recipient)
            if taken[recipient] > (ends == ["relayed"]):
                assert recipient in doubtful, (seed, recipient, taken[recipient], ends)
        dead = {ended[queue_id, address][0] for address in addresses} & {"failed", "expired"}
        assert bool(dead) == (queue_id in stored(folder, dead=True)), (seed, queue_id)
    assert set(taken) <= {(q, a) for q, addresses in sent.items() for a in addresses}, seed


def queue_id_of(header: bytes) -> str:
    (line,) = [x for x in header.split(b"\r\n") if x.lower().startswith(b"message-id:")]
    return line.partition(b"<")[2].partition(b"@")[0].decode()
