"""Wire form back to what the application sent, in whatever pieces it comes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay.cli.messages.showing import unstuffed

_LINES = st.lists(
    st.sampled_from([b"", b".", b"..", b"a", b".a", b"a.", b"\r", b"\n."]), max_size=8
)


def _whole(wire: bytes) -> bytes:
    return (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:]


def test_a_leading_dot_goes_from_every_line():
    assert b"".join(unstuffed([b"..\r\n..a\r\nb.\r\n"])) == b".\r\n.a\r\nb.\r\n"


def test_a_dot_that_was_kept_is_not_taken_by_the_next_piece():
    assert b"".join(unstuffed([b"a\r\n.", b".b\r\n"])) == b"a\r\n.b\r\n"


@given(lines=_LINES, cuts=st.lists(st.integers(0, 40), max_size=5), ended=st.booleans())
def test_pieces_make_no_difference(lines: list[bytes], cuts: list[int], ended: bool):
    wire = b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    ends = [0, *sorted(cuts), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(ends)]
    assert b"".join(unstuffed(pieces)) == _whole(wire)
