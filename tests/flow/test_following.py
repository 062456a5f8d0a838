"""The next envelope right behind a final dot: one round trip for a message, and nothing lost,
doubled or mixed up where the server stalls, refuses, hangs up or talks out of turn."""

import asyncio
from typing import Any

import pytest
from flow.test_deliver import CONTENT, handover, pool_to, server
from support.certificates import Certificates
from support.upstream import DROP, SILENCE, STEP_BY_STEP, Slowly, Upstream

from relay.deliver import transaction
from relay.deliver.pool import Pool
from relay.dispatch.lane import Lane
from relay.model.causes import Cause
from relay.model.result import Attempt, Deferred, Failed, Relayed


async def in_turn(pool: Pool, lane: Lane, sender: str) -> Attempt:
    turn = await lane.acquire("acme", 1)
    assert turn
    try:
        return await pool.hand_over(handover(reverse_path=sender), turn)
    finally:
        turn.pass_on()


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
        assert arrived == ["first@acme.example", "1@acme.example", "2@acme.example"]


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
        pool = pool_to(upstream, certificates, {"connections": 1})
        work = asyncio.create_task(all_in_turn(pool, 1, *senders(2)))
        await _until_both_are_out(upstream, work)
        pool.abort()
        ahead, behind = await asyncio.wait_for(work, 5)
    assert ahead.cause is Cause.OUTCOME_UNKNOWN
    assert behind.cause is Cause.CONNECTION_LOST
    assert len(upstream.transactions) == 1


async def _until_both_are_out(upstream: Upstream, work: "asyncio.Task[Any]") -> None:
    while not work.done() and not any("0@acme" in line for _, line in upstream.commands):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
