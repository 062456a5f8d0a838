"""A large backlog of one tenant, and what others may expect beside it."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.flows import ONE_LOOP, accepted, endpoint, letter, receivers, submit, told, trail
from support.ports import free_port
from support.upstream import SILENCE, Slowly, Upstream

from relay.model.identifiers import new_identifier
from relay.model.message import Content, Message, Origin, Recipient
from relay.queue.sqlite import connecting, opening
from relay.queue.sqlite.changes import new_message, store

pytestmark = ONE_LOOP

BACKLOG = 100_000
CLASSES = {
    "otp": {"match": {"subject": "code"}, "priority": "high"},
    "bulk": {"match": {"sender": "bulk@*"}, "priority": "low"},
}
CODE = letter("your code")
CONTENT = letter(sender="bulk@acme.example")


def _message(number: int, now: float) -> Message:
    now -= (BACKLOG - number) / 1000
    queue_id = new_identifier()
    return Message(
        queue_id=queue_id,
        arrived_at=now,
        expires_from=now,
        expires_at=now + 2 * 86400,
        tenant="acme",
        priority=1,
        reverse_path="mass@acme.example",
        header_from="mass@acme.example",
        message_id=f"<{queue_id}@relay.test>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "client.example"),
        recipients=(Recipient(0, f"bulk{number}@x.example"),),
        content=Content(len(CONTENT), CONTENT.index(b"\r\n\r\n") + 4, chunks=(CONTENT,)),
    )


@pytest.fixture(scope="module")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 messages of acme, as if they had come in a former life: five seconds."""
    path = tmp_path_factory.mktemp("backlog") / "relay.db"
    opening.create_if_absent(path)
    opening.prepare(path)
    now = time.time()
    with closing(connecting.connect(path)) as connection:
        for start in range(0, BACKLOG, 5000):
            some = range(start, start + 5000)
            connection.execute("BEGIN IMMEDIATE")
            store(connection, [new_message(_message(i, now), claimed=False) for i in some])
            connection.execute("COMMIT")
    return path


@pytest.fixture
def backlog(full_store: Path, tmp_path: Path) -> None:
    shutil.copy(full_store, tmp_path / "relay.db")


def beside(slow: Upstream, other: Upstream, **more: Any) -> dict[str, Any]:
    """acme and globex by the slow one, initech by another."""
    return {
        "upstreams": {
            "slow": endpoint(slow, limits={"connections": 1}),
            "other": endpoint(other),
        },
        "tenants": {
            "acme": {"domains": ["acme.example"], "upstream": "slow"},
            "globex": {"domains": ["globex.example"], "upstream": "slow"},
            "initech": {"domains": ["initech.example"], "upstream": "other"},
        },
        "classes": CLASSES,
        "timeouts": {"drain": "100ms"},
        "queue": {"max_messages": 4 * BACKLOG},
    } | more


async def leaves_within(
    seconds: float, server: Upstream, address: str, sending: Callable[[], Awaitable[object]]
) -> int:
    """After how many others it went, from when it had its 250."""
    await sending()
    before = len(server.transactions)
    async with asyncio.timeout(seconds):
        while address not in receivers(server):
            await asyncio.sleep(0.01)
    return receivers(server).index(address) - before


@pytest.mark.usefixtures("backlog")
async def test_high_priority_overtakes_a_backlog(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(0.1)}) as slow, Upstream() as other:
        async with start_relay(slow, **beside(slow, other)) as relay, relay.dialogue() as client:
            await slow.arrived(3)
            for i in range(3):
                code = f"code{i}@x.example"

                async def send(code: str = code) -> None:
                    await accepted(client, code, content=CODE)

                # One is under way, and the next has followed it already.
                assert await leaves_within(2, slow, code, send) <= 2
            crowd = [f"crowd{i}@x.example" for i in range(30)]
            start = len(slow.transactions)
            for code in crowd:
                await accepted(client, code, content=CODE)
            # More than there is room for in memory: what is left of them is claimed first, though
            # a second may pass until then.
            await slow.arrived(start + 45)
            overtaken = receivers(slow)[start : start + 45]
            assert sum(address in crowd for address in overtaken) == len(crowd)


@pytest.mark.usefixtures("backlog")
async def test_another_tenant_is_not_delayed_by_a_backlog(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(0.2)}) as slow, Upstream() as other:
        async with start_relay(slow, **beside(slow, other)) as relay, relay.dialogue() as client:
            await slow.arrived(3)
            for i in range(3):
                same, else_ = f"same{i}@x.example", f"else{i}@x.example"

                async def by_the_same(address: str = same) -> None:
                    await accepted(client, address, sender="a@globex.example")

                async def by_another(address: str = else_) -> None:
                    await accepted(client, address, sender="a@initech.example")

                assert await leaves_within(1, slow, same, by_the_same) <= 3
                await leaves_within(1, other, else_, by_another)
            # And the backlog goes on.
            await slow.arrived(len(slow.transactions) + 2, timeout_s=2)


@pytest.mark.usefixtures("backlog")
async def test_two_tenants_share_an_upstream(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(0.03)}) as slow, Upstream() as other:
        async with start_relay(slow, **beside(slow, other)) as relay, relay.dialogue() as client:
            await slow.arrived(3)
            for i in range(40):
                await accepted(client, f"globex{i}@x.example", sender="a@globex.example")
            start = len(slow.transactions)
            await slow.arrived(start + 40)
            turns = receivers(slow)[start : start + 40]
    # Half would be fair; claims come in bites, of which the smaller tenant's are smaller.
    assert sum(address.startswith("globex") for address in turns) >= 8


@pytest.mark.usefixtures("backlog")
async def test_a_backlog_behind_a_dead_upstream_delays_nobody(start_relay: Any) -> None:
    dead = Upstream()
    dead.port = free_port()
    async with Upstream() as other:
        async with start_relay(dead, **beside(dead, other)) as relay, relay.dialogue() as client:
            await told(relay.folder, "upstream.paused")
            for i in range(3):

                async def send(address: str = f"else{i}@x.example") -> None:
                    await accepted(client, address, sender="a@initech.example")

                await leaves_within(1, other, f"else{i}@x.example", send)
                await asyncio.sleep(0.3)
            assert len(trail(relay.folder, "upstream.paused")) == 1


@pytest.mark.usefixtures("backlog")
async def test_a_backlog_behind_a_silent_upstream_delays_nobody(start_relay: Any) -> None:
    async with Upstream(script={"dot": SILENCE}) as silent, Upstream() as other:
        config = beside(silent, other)
        async with start_relay(silent, **config) as relay, relay.dialogue() as client:
            await asyncio.sleep(0.3)
            for i in range(3):

                async def send(address: str = f"else{i}@x.example") -> None:
                    await accepted(client, address, sender="a@initech.example")

                await leaves_within(1, other, f"else{i}@x.example", send)


@pytest.mark.usefixtures("backlog")
async def test_a_backlog_goes_out_in_order_and_the_low_last(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(0.02)}) as slow, Upstream() as other:
        async with start_relay(slow, **beside(slow, other)) as relay, relay.dialogue() as client:
            await slow.arrived(1)
            await accepted(client, "low@x.example", sender="bulk@acme.example")
            await accepted(client, "mine@x.example")
            await slow.arrived(60)
            assert "mine@x.example" not in receivers(slow)  # behind its own tenant's backlog
            assert "low@x.example" not in receivers(slow)
    first = [int(a.removeprefix("bulk").partition("@")[0]) for a in receivers(slow)]
    # Near enough: they are classed anew first, side by side.
    assert max(first) < 150


async def test_no_tenant_holds_more_than_half_of_a_queue_that_is_half_full(
    start_relay: Any,
) -> None:
    async with Upstream(script={"dot": SILENCE}) as slow, Upstream() as other:
        config = beside(slow, other, queue={"max_messages": 20})
        async with start_relay(slow, **config) as relay, relay.dialogue() as client:
            for _ in range(11):
                await accepted(client)
            await asyncio.sleep(1.1)  # what each holds is counted once a second
            reply = await submit(client)
            assert reply.startswith("452 4.3.1"), reply
            for _ in range(4):
                await accepted(client, sender="a@globex.example")
            (full,) = await told(relay.folder, "queue.full")
            assert full["allowed"] == 10


async def test_a_tenth_of_the_queue_is_kept_for_priority_high(start_relay: Any) -> None:
    async with (
        Upstream(script={"dot": SILENCE}) as slow,
        Upstream(script={"dot": SILENCE}) as other,
    ):
        config = beside(slow, other, queue={"max_messages": 20})
        async with start_relay(slow, **config) as relay, relay.dialogue() as client:
            senders = ("a@acme.example", "a@globex.example", "a@initech.example")
            for i in range(18):
                await accepted(client, sender=senders[i % 3])
            refused = 0
            for sender in senders:
                refused += (await submit(client, sender=sender)).startswith("452 4.3.1")
            assert refused >= 2
            while not (await submit(client, content=CODE)).startswith("452"):
                pass
            with_code = trail(relay.folder, "email.accepted", **{"class": "otp"})
            assert 1 <= len(with_code) <= 2
            assert len(trail(relay.folder, "email.accepted")) == 20


async def test_a_full_queue_says_so_once_and_takes_mail_again(start_relay: Any) -> None:
    async with Upstream(script={"dot": Slowly(1.0)}) as own:
        async with start_relay(own, queue={"max_messages": 2}) as relay, relay.dialogue() as client:
            await accepted(client)
            reply = await submit(client)
            replies = [reply, await submit(client), await submit(client)]
            assert replies[-1].startswith("452 4.3.1")
            await own.arrived(1)
            await asyncio.sleep(0.1)
            own.script.clear()
            await accepted(client)
            assert len(trail(relay.folder, "queue.full")) == 1
