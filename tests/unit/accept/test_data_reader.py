"""The end of the content, and its wire form: nothing may hide in it, nothing may be lost."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.accept.data import DataReader, LineTooLong, folded

LINE_LENGTH = 65536


def read(octets: bytes, *, lf_mode: bool = False, steps: list[int] | None = None):
    """What comes out, and what is left behind the end; None where no end was found."""
    reader = DataReader(lf_mode=lf_mode, line_length=LINE_LENGTH)
    wire, position = b"", 0
    steps = list(steps or [len(octets)])
    while position < len(octets) and not reader.done:
        step = steps.pop(0) if steps else len(octets)
        wire += reader.feed(octets[position : position + step])
        position += step
    return (wire, reader.rest + octets[position:]) if reader.done else (wire, None)


@pytest.mark.parametrize(
    ("octets", "wire", "rest"),
    [
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b".\r\n", b"", b""),
        (b"..\r\n..a\r\n.\r\n", b"..\r\n..a\r\n", b""),
        (b".a\r\n.\r\n", b".a\r\n", b""),
        (b"8\xffbit \0\r\n.\r\n", b"8\xffbit \0\r\n", b""),
        # None of these ends the content; each is content, with its line ends mended.
        (b"a\n.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n", b""),
        (b"a\n.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n", b""),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n", b""),
        (b"a\r.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n", b""),
        (b"a\r.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n", b""),
        (b"a\r\n.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n", b""),
        (b"a\n.b\r\n.\r\n", b"a\r\n..b\r\n", b""),
        (b".\n.\n.\r\n\r\n.\r\n", b"..\r\n..\r\n..\r\n\r\n", b""),
        (b"a\r\r\n.\r\nQ", b"a\r\n\r\n", b"Q"),
    ],
)
def test_crlf_mode(octets: bytes, wire: bytes, rest: bytes) -> None:
    assert read(octets) == (wire, rest)
    assert read(octets, steps=[1] * len(octets)) == (wire, rest)


@pytest.mark.parametrize(
    ("octets", "wire", "rest"),
    [
        (b"a\n.\nQUIT\n", b"a\r\n", b"QUIT\n"),
        (b".\n", b"", b""),
        (b"a\r\n.\r\nQ", b"a\r\n", b"Q"),
        (b"..a\nb\n.\n", b"..a\r\nb\r\n", b""),
        (b"a\r.\nb\n.\n", b"a\r\n..\r\nb\r\n", b""),
    ],
)
def test_lf_mode(octets: bytes, wire: bytes, rest: bytes) -> None:
    assert read(octets, lf_mode=True) == (wire, rest)
    assert read(octets, lf_mode=True, steps=[1] * len(octets)) == (wire, rest)


hostile = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\r\n.\r\n"]), max_size=30)


@given(hostile.map(b"".join), st.lists(st.integers(1, 5)), st.booleans())
@example(b"\r\n.", [1, 1], False)
def test_nothing_hides_whatever_the_pieces(octets: bytes, steps: list[int], lf_mode: bool) -> None:
    octets += b"\n.\n" if lf_mode else b"\r\n.\r\n"
    wire, rest = read(octets, lf_mode=lf_mode)
    assert rest is not None
    assert read(octets, lf_mode=lf_mode, steps=steps) == (wire, rest)
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")


@given(st.binary(max_size=200))
def test_clean_content_passes_octet_for_octet(octets: bytes) -> None:
    lines = [line for line in octets.replace(b"\r", b"").split(b"\n") if line != b"."]
    content = b"".join(line + b"\r\n" for line in lines)
    assert read(content + b".\r\n") == (content, b"")


def test_a_line_too_long_is_told_and_the_end_still_found() -> None:
    reader = DataReader(lf_mode=False, line_length=LINE_LENGTH)
    with pytest.raises(LineTooLong):
        reader.feed(b"a\r\n" + b"x" * (LINE_LENGTH + 1))
    reader.feed(b"x" * 100 + b"\r\n.")
    assert not reader.done
    reader.feed(b"\r\nNOOP\r\n")
    assert (reader.done, reader.rest) == (True, b"NOOP\r\n")


def test_a_long_line_that_ends_in_the_same_piece_is_told() -> None:
    reader = DataReader(lf_mode=False, line_length=LINE_LENGTH)
    with pytest.raises(LineTooLong):
        reader.feed(b"x" * (LINE_LENGTH + 1) + b"\r\n.\r\n")
    assert reader.done


def test_content_full_of_bare_lf_does_not_pile_up() -> None:
    reader = DataReader(lf_mode=False, line_length=1000)
    wire = b"".join(reader.feed(b"abc\ndef\n" * 100) for _ in range(10))
    assert wire == b"abc\r\ndef\r\n" * 1000


def test_folding_keeps_short_lines_and_splits_long_ones() -> None:
    wire = b"short\r\n" + b"x" * 2500 + b"\r\nend\r\n"
    lines = folded(wire).split(b"\r\n")
    assert [len(line) for line in lines] == [5, 998, 998, 506, 3, 0]
    assert lines[2].startswith(b" ")
    assert folded(wire).replace(b"\r\n ", b"") == wire
    assert folded(b"a\r\n") == b"a\r\n"


@given(st.text(alphabet="aé€😀", min_size=900, max_size=1500))
def test_folding_does_not_split_utf8_sequences(text: str) -> None:
    for line in folded(text.encode() + b"\r\n").split(b"\r\n"):
        assert len(line) <= 998
        line.decode()
