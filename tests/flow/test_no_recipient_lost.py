"""Whatever the sequence of failures: each recipient is relayed, failed, expired, suppressed or
still pending, and store, trail and upstream agree on it. Lives end in the middle, too.
"""

import asyncio
import random
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
from support.lives import check, scripted, until_at_rest
from support.upstream import Slowly, Upstream

pytestmark = ONE_LOOP

_ADDRESSES = [f"r{i}@x.example" for i in range(8)]
_CONFIG: dict[str, Any] = {
    "timeouts": {"connect": "200ms", "reply": "200ms", "data_reply": "200ms", "drain": "100ms"},
    "retry": {"first": "50ms", "longest": "200ms", "give_up_after": "3s"},
    "suppression": {"after": 1},
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
                    await until_at_rest(folder)
            upstream.script.update(scripted(chance))
        await asyncio.sleep(0.4)  # what was late has come
    check(folder, sent, upstream.transactions, seed)


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
