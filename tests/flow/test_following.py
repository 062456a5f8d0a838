"""The next envelope right behind a final dot: one round trip for a message, and nothing lost,
doubled or mixed up where the server stalls, refuses, hangs up or talks out of turn."""

import asyncio
import time
from typing import Any

import pytest
from flow.conftest import RunningRelay, StartRelay
from flow.test_deliver import CONTENT, handover, pool_to, server
from support.certificates import Certificates
from support.flows import accepted, administration, endpoint, trail
from support.upstream import DROP, SILENCE, STEP_BY_STEP, Slowly, Upstream

from relay.deliver import transaction
from relay.deliver.pool import Pool
from relay.dispatch.lane import Lane
from relay.model.causes import Cause
from relay.model.result import Attempt, Deferred, Failed, Relayed
from relay.model.toggle import Toggle


async def once(pool: Pool, lane: Lane, sender: str, content: bytes = CONTENT) -> Attempt | None:
    turn = await lane.acquire("acme", 1)
    assert turn
    try:
        return await pool.hand_over(handover(reverse_path=sender, content=content), turn)
    finally:
        turn.pass_on()


async def in_turn(pool: Pool, lane: Lane, sender: str) -> Attempt:
    """As dispatch does: where nothing was tried, another turn is asked for."""
    while (attempt := await once(pool, lane, sender)) is None:
        pass
    return attempt


async def all_in_turn(pool: Pool, connections: int, *senders: str) -> list[Any]:
    """The first result of each, after one that makes the pool's first connection known as quick."""
    lane = Lane(connections)
    await in_turn(pool, lane, "first@acme.example")
    attempts = await asyncio.gather(*(in_turn(pool, lane, sender) for sender in senders))
    return [attempt.results[0] for attempt in attempts]


def senders(count: int) -> list[str]:
    return [f"{number}@acme.example" for number in range(count)]


class AnswersWhenFollowed:
    """Says what became of a content only when the next MAIL has come: who waits for the reply
    before it goes on waits for ever. ``replies`` replace the usual one behind a dot."""

    host, tls, users = "127.0.0.1", "none", None

    def __init__(self, *replies: bytes) -> None:
        self.followed = 0
        self.senders: list[bytes] = []
        self._replies = list(replies)
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "AnswersWhenFollowed":
        self._server = await asyncio.start_server(self._session, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(b"220 hi\r\n")
        line = await reader.readline()
        while line and not line.startswith(b"QUIT"):
            if line.startswith(b"EHLO"):
                writer.write(b"250-hi\r\n250 PIPELINING\r\n")
            elif line == b"DATA\r\n":
                line = await self._content(reader, writer)
                continue
            else:
                if line.startswith(b"MAIL"):
                    self.senders.append(line)
                writer.write(b"250 ok\r\n")
            line = await reader.readline()
        writer.close()

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        last = len(self.senders) in (1, 4)  # nobody follows the first, nor the last
        line = b"" if last else await reader.readline()
        self.followed += line.startswith(b"MAIL")
        writer.write(self._replies.pop(0) if self._replies else b"250 ok\r\n")
        return line or await reader.readline()


class DeafBehindTheDot(AnswersWhenFollowed):
    """Throws away what lies behind a final dot, or objects to it and hangs up."""

    def __init__(self, objection: bytes = b"") -> None:
        super().__init__()
        self._objection = objection

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        await asyncio.sleep(0.02)
        behind = bytes(reader._buffer)  # type: ignore[attr-defined]
        reader._buffer.clear()  # type: ignore[attr-defined]
        self.followed += bool(behind)
        writer.write(b"250 ok\r\n")
        if behind and self._objection:
            writer.write(self._objection)
            return b""
        return await reader.readline()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "_PATIENCE_S", 0.1)


async def test_the_next_envelope_does_not_wait_for_the_reply_behind_the_dot(
    certificates: Certificates,
) -> None:
    async with AnswersWhenFollowed() as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})  # type: ignore[arg-type]
        results = await all_in_turn(pool, 1, *senders(3))
    assert [type(result) for result in results] == [Relayed] * 3
    assert upstream.followed == 2


async def test_each_message_has_its_own_reply(certificates: Certificates) -> None:
    script = {"dot": {"1@acme.example": "554 5.7.1 spam"}}
    async with server(certificates, script=script) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})
        results = await all_in_turn(pool, 1, *senders(3))
        assert [type(result) for result in results] == [Relayed, Failed, Relayed]
        assert upstream.connections == 1
        assert all(taken.wire == CONTENT for taken in upstream.transactions)


@pytest.mark.parametrize("end", ["421 4.3.2 bye", DROP])
async def test_who_follows_one_that_ends_badly_goes_elsewhere_uncounted(
    certificates: Certificates, end: Any
) -> None:
    script: Any = {"dot": {"0@acme.example": Slowly(0.05, end)}}
    async with server(certificates, script=script) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})
        results = await all_in_turn(pool, 1, *senders(3))
        assert [type(result) for result in results] == [Deferred, Relayed, Relayed]
        arrived = [taken.reverse_path for taken in upstream.transactions]
        assert sorted(arrived) == ["1@acme.example", "2@acme.example", "first@acme.example"]


@pytest.mark.usefixtures("impatient")
async def test_who_follows_one_that_stalls_goes_elsewhere_within_the_limit(
    certificates: Certificates,
) -> None:
    script: Any = {"dot": {"0@acme.example": SILENCE}}
    async with server(certificates, script=script) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 2})
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, pool.connections)
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        results = await all_in_turn(pool, 2, *senders(6))
        watching.cancel()
        assert isinstance(results[0], Deferred)
        assert results[0].cause is Cause.OUTCOME_UNKNOWN
        assert [type(result) for result in results[1:]] == [Relayed] * 5
        assert len({taken.reverse_path for taken in upstream.transactions}) == 6
        assert len(upstream.transactions) == 6
    assert most <= 2


async def test_nobody_follows_where_nothing_is_to_be_sent_ahead(certificates: Certificates) -> None:
    async with server(certificates, extensions=STEP_BY_STEP) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})
        results = await all_in_turn(pool, 1, *senders(3))
        assert [type(result) for result in results] == [Relayed] * 3
        assert upstream.connections == 1


async def test_no_more_follow_than_a_connection_may_carry(certificates: Certificates) -> None:
    async with server(certificates) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1, "messages_per_connection": 2})
        results = await all_in_turn(pool, 1, *senders(5))
        assert [type(result) for result in results] == [Relayed] * 5
        assert upstream.connections == 3


@pytest.mark.parametrize("objection", [b"", b"554 5.5.0 improper command pipelining\r\n"])
async def test_a_server_that_is_deaf_behind_the_dot_gets_nothing_there_any_more(
    certificates: Certificates, objection: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second message waited for timeouts.reply, or had its sender blamed."""
    monkeypatch.setattr(transaction, "_HEARD_WITHIN_S", 0.2)
    async with DeafBehindTheDot(objection) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})  # type: ignore[arg-type]
        results = await all_in_turn(pool, 1, *senders(8))
    assert [type(result) for result in results] == [Relayed] * 8
    assert upstream.followed == 1


async def test_a_sender_that_is_refused_behind_a_dot_is_refused_in_front(
    certificates: Certificates,
) -> None:
    script = {"mail": {"1@acme.example": "550 5.7.60 not you"}}
    async with server(certificates, script=script) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})
        results = await all_in_turn(pool, 1, *senders(4))
        assert [type(result) for result in results] == [Relayed, Deferred, Relayed, Relayed]
        assert results[1].cause is Cause.SENDER_REFUSED
        assert upstream.connections == 1


async def test_replies_before_they_were_asked_for_relay_nobody(certificates: Certificates) -> None:
    early = b"250 ok\r\n" * 3 + b"354 go\r\n" + b"250 ok\r\n" * 2
    async with AnswersWhenFollowed(b"250 ok\r\n", early) as upstream:
        pool = pool_to(upstream, certificates, {"connections": 1})  # type: ignore[arg-type]
        first, second = await all_in_turn(pool, 1, *senders(2))
    assert isinstance(first, Deferred | Relayed)
    assert isinstance(second, Deferred)
    assert second.cause in {Cause.PROTOCOL_ERROR, Cause.OUTCOME_UNKNOWN}


async def test_what_is_cut_while_it_follows_has_not_been_tried(certificates: Certificates) -> None:
    script: Any = {"dot": {"0@acme.example": SILENCE}}
    async with server(certificates, script=script) as upstream:
        pool, lane = pool_to(upstream, certificates, {"connections": 1}), Lane(1)
        await in_turn(pool, lane, "first@acme.example")
        work = asyncio.gather(*(once(pool, lane, sender) for sender in senders(2)))
        await _until_both_are_out(upstream, work)
        pool.abort()
        ahead, behind = await asyncio.wait_for(work, 5)
        await asyncio.sleep(0.1)
    assert ahead
    assert ahead.results[0].cause is Cause.OUTCOME_UNKNOWN  # type: ignore[union-attr]
    assert behind is None
    assert len(upstream.transactions) == 1


@pytest.mark.usefixtures("impatient")
async def test_after_a_cut_nothing_is_sent_any_more(certificates: Certificates) -> None:
    """Whoever had left a stalled connection dialled anew, and sent a message behind the cut."""
    script: Any = {"dot": {"0@acme.example": SILENCE}}
    async with server(certificates, script=script) as upstream:
        pool, lane = pool_to(upstream, certificates, {"connections": 1}), Lane(1)
        await in_turn(pool, lane, "first@acme.example")
        work = asyncio.gather(*(once(pool, lane, sender) for sender in senders(2)))
        await asyncio.sleep(0.3)
        pool.abort()
        assert await once(pool, lane, "later@acme.example") is None
        await work
        await asyncio.sleep(0.1)
    assert len(upstream.transactions) == 1


async def test_who_follows_hears_nothing_of_the_one_ahead_that_is_cancelled(
    certificates: Certificates,
) -> None:
    script: Any = {"dot": {"0@acme.example": Slowly(0.3, "554 5.7.1 spam")}}
    async with server(certificates, script=script) as upstream:
        pool, lane = pool_to(upstream, certificates, {"connections": 1}), Lane(1)
        await in_turn(pool, lane, "first@acme.example")
        ahead = asyncio.create_task(once(pool, lane, "0@acme.example"))
        behind = asyncio.create_task(once(pool, lane, "1@acme.example"))
        await asyncio.sleep(0.1)
        ahead.cancel()
        assert await behind is None


async def test_nobody_waits_behind_a_large_message(certificates: Certificates) -> None:
    """A one-time code would stand behind 25 MB on their way."""
    script: Any = {"dot": {"0@acme.example": Slowly(0.3)}}
    large = (b"x" * 78 + b"\r\n") * 4000
    async with server(certificates, script=script) as upstream:
        pool, lane = pool_to(upstream, certificates, {"connections": 1}), Lane(1)
        await in_turn(pool, lane, "first@acme.example")
        ahead = asyncio.create_task(once(pool, lane, "0@acme.example", large))
        behind = asyncio.create_task(lane.acquire("acme", 1))
        await asyncio.sleep(0.15)
        assert not behind.done()
        await asyncio.gather(ahead, behind)


@pytest.mark.usefixtures("impatient")
async def test_a_toggle_reaches_who_has_left_a_stalled_message(start_relay: StartRelay) -> None:
    """It waited for a connection of the old way, where no toggle was heard."""
    default = {"upstream": "platform", "from": "P <noreply@platform.example>"}
    script: Any = {"dot": {"a@acme.example": Slowly(4)}}
    async with Upstream(script=script) as own, Upstream() as platform:
        ways = {"up": endpoint(own, limits={"connections": 1}), "platform": endpoint(platform)}
        async with start_relay(own, upstreams=ways, default=default) as relay:
            await _a_stalls_before_b(relay, own)
            with administration(relay.folder) as store:
                store.set_toggle(Toggle("acme", False, "moved", "test", time.time()))
            await platform.arrived(1, timeout_s=3)
            assert [taken.reverse_path for taken in own.transactions] == ["first@acme.example"]


@pytest.mark.usefixtures("impatient")
async def test_who_has_left_a_stalled_message_is_not_sent_while_the_relay_stops(
    start_relay: StartRelay,
) -> None:
    """It was sent behind the end of the drain, and once more in the next life, without a mark."""
    script: Any = {"dot": [None, Slowly(20), Slowly(7)]}
    async with Upstream(script=script) as own:
        more: Any = {"upstreams": {"up": endpoint(own, limits={"connections": 1})}}
        async with start_relay(own, timeouts={"drain": "200ms"}, **more) as relay:
            await _a_stalls_before_b(relay, own)
        assert [taken.reverse_path for taken in own.transactions] == ["first@acme.example"]
        own.script = {}
        async with start_relay(own, **more):
            await own.arrived(3)
    marked = trail(relay.folder, "email.sent", possible_duplicate=True)
    assert [event["reverse_path"] for event in marked] == ["a@acme.example"]


async def _a_stalls_before_b(relay: RunningRelay, own: Upstream) -> None:
    async with relay.dialogue() as client:
        await accepted(client, sender="first@acme.example")
        await own.arrived(1)
        for sender in ("a@acme.example", "b@acme.example"):
            await accepted(client, sender=sender)
    await asyncio.sleep(0.4)


async def _until_both_are_out(upstream: Upstream, work: "asyncio.Future[Any]") -> None:
    while not work.done() and not any("0@acme" in line for _, line in upstream.commands):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
