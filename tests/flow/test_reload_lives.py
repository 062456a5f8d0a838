"""Reloads and toggles at any moment, beside ill-behaved upstreams: nobody's mail is lost, or sent
twice unflagged, and none of it leaves by a way that no configuration of the time had.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import yaml
from support.flows import ONE_LOOP, accepted, administration, endpoint, letter, trail
from support.lives import check, scripted, until_at_rest
from support.upstream import Upstream

from relay.model.toggle import Toggle

pytestmark = ONE_LOOP

_ADDRESSES = [f"r{i}@x.example" for i in range(6)]
_SENDERS = ["shop@acme.example", "shop@beta.example", "shop@nobody.example"]
_CONFIG: dict[str, Any] = {
    "timeouts": {"connect": "200ms", "reply": "200ms", "data_reply": "200ms", "drain": "100ms"},
    "retry": {"first": "50ms", "longest": "200ms", "give_up_after": "4s", "attempts": 20},
}


def variant(chance: random.Random, upstreams: dict[str, Any]) -> dict[str, Any]:
    """Some upstreams, tenants that share the domains among them in some way, a default."""
    names = chance.sample(sorted(upstreams), chance.randint(1, len(upstreams)))
    domains = {"acme": ["acme.example"], "beta": ["beta.example"]}
    if chance.random() < 0.3:
        domains = {"acme": ["acme.example", "beta.example"]}
    if chance.random() < 0.3:
        domains = {"beta": domains.get("acme", []), "acme": domains.get("beta", [])}
    limits = {"connections": chance.randint(1, 3), "recipients": chance.choice([1, 2, 100])}
    tenants: dict[str, Any] = {
        name: {"domains": some, "upstream": chance.choice(names)} for name, some in domains.items()
    }
    if chance.random() < 0.3 and len(names) > 1 and "acme" in tenants:
        others = [name for name in names if name != tenants["acme"]["upstream"]]
        tenants["acme"]["failover"] = {"to": [chance.choice(others)], "after": "100ms"}
    return {
        "upstreams": {name: upstreams[name] | {"limits": limits} for name in names},
        "tenants": tenants,
        "default": {"upstream": chance.choice(names)},
    }


async def lived(relay_in: Any, folder: Path, seed: int) -> int:
    """How many reloads there were."""
    chance = random.Random(seed)
    sent: dict[str, list[str]] = {}
    async with (
        Upstream(script=scripted(chance)) as one,
        Upstream(script=scripted(chance)) as two,
    ):
        upstreams = {name: endpoint(one if name == "a" else two) for name in ("a", "b", "c")}
        first = variant(chance, upstreams)
        async with relay_in(folder, first.pop("upstreams"), **_CONFIG, **first) as relay:
            for number in range(8):
                some = chance.sample(_ADDRESSES, chance.randint(1, 4))
                async with relay.dialogue() as client:
                    sender = chance.choice(_SENDERS)
                    content = letter(str(number))
                    sent[await accepted(client, *some, sender=sender, content=content)] = some
                await disturb(folder, chance, variant(chance, upstreams))
            one.script.clear()
            two.script.clear()
            await until_at_rest(folder)
        await asyncio.sleep(0.4)  # what was late has come
        check(folder, sent, [*one.transactions, *two.transactions], seed)
    return len(trail(folder, "config.reloaded"))


async def disturb(folder: Path, chance: random.Random, new: dict[str, Any]) -> None:
    """Another configuration, perhaps a toggle; and some time, or none."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | new))
    with administration(folder) as store:
        if chance.random() < 0.8:
            store.ask_reload("test")
        if chance.random() < 0.3:
            toggle = Toggle("acme", chance.random() < 0.5, "x", "test", at=0.0)
            store.set_toggle(toggle)
    await asyncio.sleep(chance.choice([0.0, 0.05, 0.3, 1.2]))


async def test_nobodys_mail_is_lost_by_reloads(relay_in: Any, tmp_path: Path) -> None:
    """Relays side by side, since they mostly wait."""
    seeds = range(20)
    for seed in seeds:
        (tmp_path / str(seed)).mkdir()
    lives = (lived(relay_in, tmp_path / str(seed), seed) for seed in seeds)
    assert sum(await asyncio.gather(*lives)) > len(seeds)
