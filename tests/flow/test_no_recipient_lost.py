"""Whatever the sequence of failures: each recipient is relayed, failed, expired, suppressed or
still pending, and store, trail and upstream agree on it. Lives end in the middle, too.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

from support.flows import (
    ONE_LOOP,
    accepted,
    administration,
    endpoint,
    letter,
    stored,
    told,
    trail,
    until,
)
from support.upstream import DROP, SILENCE, Slowly, Upstream

pytestmark = ONE_LOOP

# What each phase may say; None is the usual answer.
_ANYWHERE: list[Any] = [DROP, SILENCE, "421 4.3.2 going down", Slowly(0.1)]
_ANSWERS: dict[str, list[Any]] = {
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
_ADDRESSES = [f"r{i}@x.example" for i in range(8)]
_CONFIG: dict[str, Any] = {
    "timeouts": {"connect": "200ms", "reply": "200ms", "data_reply": "200ms", "drain": "100ms"},
    "retry": {"first": "50ms", "longest": "200ms", "give_up_after": "3s"},
    "suppression": {"after": 1},
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
        for phase, answers in _ANSWERS.items()
        if chance.random() < 0.6
    }


async def lived(relay_in: Any, folder: Path, seed: int) -> None:
    """Two lives of a relay beside an ill-behaved upstream."""
    chance = random.Random(seed)
    sent: dict[str, list[str]] = {}
    limits = {"recipients": chance.choice([1, 2, 100]), "connections": chance.choice([1, 2])}
    config = _CONFIG | {"tenants": {"acme": {"domains": ["acme.example"], "upstream": "up"}}}
    config["retry"] = config["retry"] | {"attempts": chance.choice([3, 20])}
    async with Upstream(script=scripted(chance)) as upstream:
        upstreams = {"up": endpoint(upstream, limits=limits)}
        for life in range(2):
            async with relay_in(folder, upstreams, **config) as relay:
                async with relay.dialogue() as client:
                    for number in range(3):
                        some = chance.sample(_ADDRESSES, chance.randint(1, 5))
                        content = letter(f"{life} {number}")
                        sent[await accepted(client, *some, content=content)] = some
                await asyncio.sleep(chance.random() / 2)
                if life:
                    await _until_at_rest(folder)
            upstream.script.update(scripted(chance))
        await asyncio.sleep(0.4)  # what was late has come
    check(folder, sent, upstream, seed)


async def _until_at_rest(folder: Path) -> None:
    async with asyncio.timeout(15):
        while stored(folder, dead=False):
            await asyncio.sleep(0.1)


def check(folder: Path, sent: dict[str, list[str]], upstream: Upstream, seed: int) -> None:
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
            flagged = event.get("possible_duplicate", False)
            assert flagged == bool(recipients & doubtful), (seed, event)
        if event.get("cause") == "outcome_unknown":
            doubtful |= recipients
    taken = Counter(
        (queue_id_of(transaction.header), address)
        for transaction in upstream.transactions
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


async def test_each_recipient_comes_to_one_end(relay_in: Any, tmp_path: Path) -> None:
    """Relays side by side, since they mostly wait."""
    seeds = range(25)
    for seed in seeds:
        (tmp_path / str(seed)).mkdir()
    await asyncio.gather(*(lived(relay_in, tmp_path / str(seed), seed) for seed in seeds))


async def test_who_was_deferred_expires_with_those_who_were_not_tried(start_relay: Any) -> None:
    """Three handovers of one attempt: deferred in time; deferred too late; not tried, as the way
    was closed meanwhile. All of them are too old then."""
    later = "451 4.3.0 later"
    retry = {"first": "900ms", "longest": "900ms", "give_up_after": "1s"}
    async with Upstream(script={"dot": [Slowly(0.6, later), Slowly(0.7, later)]}) as own:
        upstreams = {"up": endpoint(own, limits={"recipients": 1, "connections": 1})}
        async with start_relay(own, upstreams=upstreams, retry=retry) as relay:
            async with relay.dialogue() as client:
                queue_id = await accepted(client, "a@x.example", "b@x.example", "c@x.example")
            await until(lambda: len(own.refused) == 1)
            with administration(relay.folder) as store:
                store.pause_upstream("up", "test", "moving", None)
            await told(relay.folder, "email.dead_lettered", queue_id=queue_id)
            states = stored(relay.folder, dead=True)[queue_id]
            assert states == dict.fromkeys(["a@x.example", "b@x.example", "c@x.example"], "expired")
            expired = trail(relay.folder, "email.expired", queue_id=queue_id)
            assert sorted(a for e in expired for a in e["recipients"]) == sorted(states)
