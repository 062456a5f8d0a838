"""Records as they are pasted into a zone, and what stood in the DNS as it is shown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.doctor.finding import Record, quoted


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (Record("acme.example", "TXT", "v=spf1 -all"), 'acme.example. IN TXT "v=spf1 -all"'),
        (Record("acme.example", "TXT", 'a"b\\c'), 'acme.example. IN TXT "a\\"b\\\\c"'),
        (
            Record("acme.example", "MX", "10 mx.acme.example"),
            "acme.example. IN MX 10 mx.acme.example.",
        ),
        (Record("acme.example", "MX", None), "acme.example. IN MX (your mail server)"),
        (Record("s1.x", "CNAME", "y.example"), "s1.x. IN CNAME y.example."),
    ],
)
def test_a_line_of_a_zone_file(record: Record, line: str) -> None:
    assert str(record) == line


@given(st.text("abc ", max_size=1000))
def test_a_long_text_is_in_strings_of_255_octets(value: str) -> None:
    data = str(Record("x.example", "TXT", value)).partition(" IN TXT ")[2]
    pieces = re.findall(r'"([^"]*)"', data)
    assert "".join(pieces) == value
    assert all(len(piece) <= 255 for piece in pieces)


@given(st.text(max_size=300))
def test_what_anybody_wrote_is_one_short_line(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable()
    assert len(shown) <= 120
