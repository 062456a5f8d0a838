"""The upstream side: its replies, octet by octet, and whole handovers over a real socket.

Invariants. What the relay takes for replies hangs on the octets alone, not on their pieces, and is
what a slow model reads. A handover has one result for each recipient, whatever comes. A recipient
is relayed only where the upstream has read that very content to its end and then said 2yz, also
where the next envelope follows right behind the final dot. Memory is bounded.
"""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from fuzz.fuzzing import bounded, cut, target
from fuzz.hostile import Hostile, Talk, handed_over, handover, in_turn, pool_to
from hypothesis import example, given
from hypothesis import strategies as st
from support.certificates import Certificates

from relay.deliver.wire import Wire
from relay.dispatch.lane import Lane
from relay.model.reply import Reply
from relay.model.result import Deferred, Relayed

# -- the parser


class _Deaf(asyncio.Transport):
    """Takes everything, tells nobody."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def writelines(self, list_of_data: Any) -> None:
        pass

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def _replies_slowly(octets: bytes) -> list[int]:
    """The codes, up to the first line that is none of a reply."""
    codes = []
    for line in octets.split(b"\n")[:-1]:
        line = line.rstrip(b"\r")
        if not re.match(rb"[2-5][0-9][0-9](?:[ -]|\Z)", line):
            break
        if line[3:4] != b"-":
            codes.append(int(line[:3]))
    return codes


async def _heard(pieces: list[bytes], asked: int) -> list[Reply]:
    wire = Wire(_Deaf())
    wire.send(b"NOOP\r\n" * asked, replies=asked)
    for piece in pieces:
        wire.data_received(piece)
    replies = []
    for _ in range(asked):
        try:
            replies.append(await wire.reply(0.01))
        except Exception:
            break
    wire.abort()
    return replies


_REPLY_ATOMS = [
    b"250 ok\r\n", b"250-more\r\n", b"250\r\n", b"354 go\n", b"421 bye\r\n", b"550 5.1.1 no\r\n",
    b"\r\n", b"\n", b"\r", b"25", b"2500 x\r\n", b"199 x\r\n", b"600 x\r\n", b"250_x\r\n", b"\0",
    b"\x1b[2J", b"\xff", b" ", b"-", b"x" * 200,
]  # fmt: skip


@target
@bounded(150)
@given(
    st.lists(st.sampled_from(_REPLY_ATOMS) | st.binary(max_size=3), max_size=20).map(b"".join),
    st.lists(st.integers(1, 6), max_size=40),
)
def test_replies_are_the_same_in_any_pieces(octets: bytes, lengths: list[int]) -> None:
    whole = asyncio.run(_heard([octets], 30))
    assert [reply.code for reply in whole] == _replies_slowly(octets)
    assert asyncio.run(_heard(cut(octets, lengths), 30)) == whole
    assert all(str(reply).isprintable() for reply in whole)


@target
@bounded(60)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=8), st.integers(1, 9000))
def test_a_reply_is_never_longer_than_anybody_reads(counts: list[int], width: int) -> None:
    octets = b"".join(b"250-" + b"x" * width + b"\r\n" for count in counts for _ in range(count))
    for reply in asyncio.run(_heard([octets, b"250 ok\r\n"], 1)):
        assert len(reply.text) <= 4000


# -- handovers

_SENDERS = ("0@acme.example", "1@acme.example", "2@acme.example", "3@acme.example")
_SIZES = (10, 40_000, 3_000_000)
# What is done instead of a plain reply.
_TRICKS = st.sampled_from(
    ["", "", "", "", "", "refuse", "later", "bye", "drop", "garbage", "twice", "torn", "lines",
     "early no", "silence", "odd"]
)  # fmt: skip


class Whimsical:
    """Follows the dialogue as RFC 5321 has it, but for its tricks, used up one at each reply.

    ``taken`` are the senders to whose final dot it has said 2yz, having read all of the content.
    """

    def __init__(self, tricks: list[str], pipelining: bool) -> None:
        self._tricks = list(tricks)
        self._offers = (b"PIPELINING",) * pipelining
        self.taken: list[str] = []

    async def speak(self, talk: Talk) -> None:
        await talk.greet(*self._offers)
        sender, recipients = "", 0
        while True:
            line = await talk.hear()
            verb = line[:4].upper()
            if verb == b"MAIL":
                sender, recipients = line.partition(b"<")[2].partition(b">")[0].decode(), 0
                if not await self._answer(talk, b"250 ok"):
                    sender = ""
            elif verb == b"RCPT":
                recipients += await self._answer(talk, b"250 ok" if sender else b"503 no")
            elif verb == b"DATA" and recipients:
                if await self._answer(talk, b"354 go"):
                    await self._take(talk, sender)
                    sender, recipients = "", 0
            elif verb == b"RSET":
                sender, recipients = "", 0
                await talk.say(b"250 ok")
            else:
                await talk.say(b"503 no" if verb == b"DATA" else b"250 ok")

    async def _take(self, talk: Talk, sender: str) -> None:
        if self._tricks[:1] == ["early no"]:
            self._tricks.pop(0)
            await talk.reader.readexactly(5)
            await talk.say(b"552 5.3.4 too much")
            await talk.content()
            return
        await talk.content()
        # What is said is what counts, whether it is heard or not.
        if await self._answer(talk, b"250 taken", then=lambda: self.taken.append(sender)):
            return

    async def _answer(self, talk: Talk, usual: bytes, then: Any = lambda: None) -> bool:
        """Whether the command was granted."""
        trick = self._tricks.pop(0) if self._tricks else ""
        if usual[:1] == b"5":
            trick = ""
        said = {
            "refuse": b"550 5.1.1 no", "later": b"451 later", "bye": b"421 bye",
            "garbage": b"hello\x1b[2J", "odd": b"299 2.9.9 odd",
        }.get(trick, usual)  # fmt: skip
        granted = said[:1] == usual[:1]
        if granted and trick not in ("drop", "silence"):
            then()
        if trick == "drop":
            raise ConnectionResetError
        if trick == "silence":
            await asyncio.sleep(5)
        if trick == "twice":
            await talk.say(usual, b"250 2.0.0 once more")
        elif trick == "torn":
            for octet in usual + b"\r\n":
                talk.writer.write(bytes([octet]))
                await asyncio.sleep(0)
        elif trick == "lines":
            await talk.say(usual[:3] + b"-one", usual[:3] + b"-two", usual)
        else:
            await talk.say(said)
        if trick == "bye":
            raise ConnectionResetError
        return granted


async def _hand_over_all(whim: Whimsical, size: int) -> list[Any]:
    content = b"Subject: hi\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (size // 72)
    async with Hostile(whim.speak) as upstream:
        pool = pool_to(upstream.port, 0.15, limits={"connections": 1})
        lane = Lane(1)
        messages = [handover(content, sender, "a@x.example", "b@x.example") for sender in _SENDERS]
        attempts = await asyncio.gather(*(in_turn(pool, lane, message) for message in messages))
        pool.close()
        await asyncio.sleep(0)
    return [attempt.results for attempt in attempts]


@target
@bounded(70)
@given(st.lists(_TRICKS, max_size=18), st.sampled_from(_SIZES), st.booleans())
@example(["", "", "", "", "early no"], 3_000_000, True)
def test_nobody_is_relayed_whom_the_upstream_has_not_taken(
    tricks: list[str], size: int, pipelining: bool
) -> None:
    whim = Whimsical(tricks, pipelining)
    outcomes = asyncio.run(_hand_over_all(whim, size))
    for sender, results in zip(_SENDERS, outcomes, strict=True):
        assert len(results) == 2
        if any(isinstance(result, Relayed) for result in results):
            assert sender in whim.taken, (sender, results)


# -- found by thinking


async def test_who_is_cut_off_ahead_leaves_no_reply_of_his_to_who_follows() -> None:
    """A handover cancelled behind its final dot let the next one read the replies from there on:
    each of its recipients would have had another's."""
    heard = asyncio.Event()
    go_on = asyncio.Event()
    first_connection = True

    async def speak(talk: Talk) -> None:
        nonlocal first_connection
        is_first, first_connection = first_connection, False
        await talk.greet(b"PIPELINING")
        count = 0
        while True:
            line = await talk.hear()
            if line == b"DATA":
                await talk.say(b"354 go")
                await talk.content()
                count += 1
                if count == 2 and is_first:
                    await talk.hear()  # the next MAIL, behind our back
                    heard.set()
                    await go_on.wait()
                    await talk.say(b"550 5.7.1 spam", b"250 ok")
                    continue
            await talk.say(b"250 ok")

    async with Hostile(speak) as upstream:
        pool = pool_to(upstream.port, 2, limits={"connections": 1})
        lane = Lane(1)
        await in_turn(pool, lane, handover(b"a: b\r\n\r\n", "0@acme.example"))
        ahead = asyncio.create_task(in_turn(pool, lane, handover(b"a: b\r\n\r\n", _SENDERS[1])))
        behind = asyncio.create_task(in_turn(pool, lane, handover(b"a: b\r\n\r\n", _SENDERS[2])))
        await asyncio.wait_for(heard.wait(), 5)
        ahead.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        (result,) = (await asyncio.wait_for(behind, 5)).results
        pool.close()
    assert isinstance(result, Relayed), result
    assert upstream.connections == 2


@pytest.mark.parametrize("tls", ["none", "implicit"])
async def test_a_reply_before_the_final_dot_has_left_relays_nobody(
    certificates: Certificates, tls: str
) -> None:
    async def speak(talk: Talk) -> None:
        await talk.greet()
        for reply in (b"250 ok", b"250 ok", b"354 go"):
            await talk.hear()
            await talk.say(reply)
        await talk.reader.readexactly(1)
        await asyncio.sleep(0.05)
        await talk.say(b"250 2.0.0 taken")
        await asyncio.sleep(2)

    async def pieces() -> Any:
        yield b"x" * 20_000_000 + b"\r\n"

    context = None if tls == "none" else certificates.good()
    more = {} if tls == "none" else {"ca_file": str(certificates.ca_file)}
    async with Hostile(speak, context, buffer_bytes=1 << 16) as upstream:
        message = replace(handover(b"", _SENDERS[0]), content=pieces)
        pool = pool_to(upstream.port, 1, tls=tls, **more)
        result = await handed_over(pool, message)
    assert isinstance(result, Deferred), result
