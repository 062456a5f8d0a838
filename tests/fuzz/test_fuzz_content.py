"""The DATA reader against a slow model, and the content behind it: any octets, in any pieces.

Invariants. The end is found where the model finds it, and what comes behind it is not touched. What
comes out is whole lines in wire form, the same however it was cut, with no end of data in it for
the strictest and for the sloppiest server. A line is refused if and only if it is too long. What
the relay stores of a message hangs on its octets alone, never on its packets.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.fuzzing import bounded, cut, target
from fuzz.reading import read_slowly, sloppy_ends
from hypothesis import example, given
from hypothesis import strategies as st

from relay.accept.content import Incoming
from relay.accept.data import DataReader, LineTooLong, folded
from relay.accept.stamp import Hop, stamped
from relay.model.budget import Budget
from relay.model.message import Origin

CORPUS = sorted((Path(__file__).parent / "corpus" / "content").iterdir())

_ATOMS = [b"\r", b"\n", b".", b"\r\n", b"a", b"\0", b"\r\n.\r\n", b"\n.\n", b"\x80", b" ", b"b" * 7]
hostile = st.lists(st.sampled_from(_ATOMS) | st.binary(max_size=3), max_size=40).map(b"".join)
cuts = st.lists(st.integers(1, 9), max_size=60)


def read(
    pieces: list[bytes], *, lf_mode: bool, line_length: int
) -> tuple[bytes, bytes | None, bool]:
    """The wire form, what stays behind the end (None: no end), and whether a line was too long."""
    reader = DataReader(lf_mode=lf_mode, line_length=line_length)
    wire, refused = b"", False
    waiting = list(pieces)
    while waiting and not reader.done:
        try:
            wire += reader.feed(waiting.pop(0))
        except LineTooLong:
            refused = True
    rest = reader.rest + b"".join(waiting) if reader.done else None
    return wire, rest, refused


@target
@bounded(400)
@given(hostile, cuts, st.booleans())
@example(b"x\r\n" + b"a\n" * 9 + b"\r\n.\r\n", [], False)
def test_the_end_is_where_the_rfc_has_it_however_it_is_cut(
    octets: bytes, lengths: list[int], lf_mode: bool
) -> None:
    octets += b"\n.\n" if lf_mode else b"\r\n.\r\n"
    right = read_slowly(octets, lf_mode=lf_mode)
    wire, rest, refused = read(cut(octets, lengths), lf_mode=lf_mode, line_length=1000)
    assert not refused
    assert (wire, rest) == (right.wire, right.rest)
    assert wire == b"" or wire.endswith(b"\r\n")
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
    assert sloppy_ends(wire) == []
    assert sloppy_ends(folded(wire)) == []


@target
@bounded(400)
@given(hostile, cuts, st.booleans(), st.integers(1, 12))
@example(b"x\r\n" + b"a\n" * 9, [], False, 4)
@example(b"abcd\r\n", [5], False, 4)
def test_a_line_is_refused_if_and_only_if_it_is_too_long(
    octets: bytes, lengths: list[int], lf_mode: bool, longest: int
) -> None:
    octets += b"\n.\n" if lf_mode else b"\r\n.\r\n"
    if lf_mode:
        # There a line is measured up to its LF, whatever CRs stand in it.
        octets = re.sub(rb"\r(?!\n)", b"", octets)
    right = read_slowly(octets, lf_mode=lf_mode)
    _, rest, refused = read(cut(octets, lengths), lf_mode=lf_mode, line_length=longest)
    assert rest == right.rest
    assert refused == any(len(line.wire) > longest for line in right.lines)


def test_short_lines_with_bare_line_ends_are_not_taken_for_a_long_one() -> None:
    """A header section with CRLF and a body with LF was refused for good (500 5.6.0) where more of
    it than limits.line_length came in one packet."""
    octets = b"Subject: hi\r\n\r\n" + b"a short line\n" * 20_000 + b"\r\n.\r\n"
    wire, rest, refused = read(
        [octets[:200_000], octets[200_000:]], lf_mode=False, line_length=65536
    )
    assert (refused, rest) == (False, b"")
    assert wire == octets[:-3].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class _Keeper:
    """Room for everything; no spool."""

    def refusal(self, size: int) -> None:
        return None


HOP = Hop(
    "relay.test", Origin("127.0.0.1", "x", None, None), "ESMTP", "0123456789ABC", "a@b.example"
)


def _arrived(pieces: list[bytes], stamp: Callable[..., object]) -> tuple[bytes, object]:
    """What is stored, and the refusal."""

    async def take() -> tuple[bytes, object]:
        incoming = Incoming(stamp, _Keeper(), Budget(1 << 30), 1 << 20)  # type: ignore[arg-type]
        for piece in pieces:
            await incoming.take(piece)
        content = await incoming.finish()
        incoming.release()
        return b"".join(content.chunks or ()) if content else b"", incoming.refusal

    return asyncio.run(take())


_LINES = [
    b"From x Mon Jan  1\r\n", b">From y\r\n", b"From: a@b.example\r\n", b"\tfold\r\n", b" \r\n",
    b"\r\n", b"..\r\n", b"..From: a\r\n", b"no field\r\n", b"X-Odd : \xff\r\n", b"Date: now\r\n",
    b"DKIM-Signature: v=1\r\n", b"X: " + b"y" * 1200 + b"\r\n", b"z" * 1100 + b"\r\n",
    b"Message-ID: <1@x>\r\n", b":\r\n", b"Received: x\r\n",
]  # fmt: skip


@target
@bounded(150)
@given(st.lists(st.sampled_from(_LINES), max_size=12), st.lists(st.integers(1, 3), max_size=12))
@example([b"From x Mon Jan  1\r\n", b">From y\r\n", b"a: b\r\n"], [1, 1])
def test_what_is_stored_does_not_hang_on_the_packets(lines: list[bytes], counts: list[int]) -> None:
    pieces, left = [], list(lines)
    for count in counts:
        pieces.append(b"".join(left[:count]))
        left = left[count:]
    moment = stamped(b"", HOP).header  # the clock may not tick between the two
    whole = _arrived([b"".join(lines)], lambda header: stamped(header, HOP))
    parts = _arrived([*pieces, b"".join(left)], lambda header: stamped(header, HOP))
    if stamped(b"", HOP).header == moment:
        assert parts == whole
    assert sloppy_ends(whole[0]) == []


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_the_corpus_is_read_as_the_model_reads_it(file: Path) -> None:
    octets = file.read_bytes()
    for lf_mode in (False, True):
        right = read_slowly(octets, lf_mode=lf_mode)
        for length in (1, 2, 3, 5, len(octets)):
            pieces = cut(octets, [length] * len(octets))
            wire, rest, _ = read(pieces, lf_mode=lf_mode, line_length=65536)
            assert rest == right.rest
            assert right.wire.startswith(wire) if rest is None else wire == right.wire
            assert sloppy_ends(wire) == []
