"""What arrives by the command line: relay-sendmail's arguments and input, queue ids, suppression
lists.

Invariants. Nothing but the named error, and in time; relay-sendmail's envelope and content hold no
command, no end of data and no field that was not there; an identifier reads back as itself; each
row of a list makes an entry with a sound address, or is told with its line.
"""

import io

from fuzz.fuzzing import bounded, target
from fuzz.reading import sloppy_ends
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.suppress import formats
from relay.model import identifiers
from relay.sendmail.errors import SendError
from relay.sendmail.mail import Input, Mail
from relay.sendmail.options import Options

_ARGUMENTS = st.sampled_from(
    ["-t", "-i", "-oi", "-f", "-fa@b.example", "-F", "-FAcme\nBcc: evil@x", "-bs", "-bd", "-bm",
     "-q30m",
     "--", "-", "a@b.example", "a@b.example\r\nDATA", "<a@b>", "x", '"a b"@x', "\udcff@x", "",
     "-odi",
     "a, b@x", "(", "-r", "-C/etc/x", "--help", "-v", "-X"]
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
max_size=5)  # fmt: skip
_TEXT = st.lists(
    st.sampled_from(
        [b"To: a@x.example\n", b"Bcc: b@x.example\r\n", b"Cc: c@x\rBcc: evil@x\n", b"\n", b"\r\n",
         b".\n",
         b".\r\n", b"\r.\r", b"From: x\n", b" fold\n", b"no field\n", b"From x\n", b"\0", b"..\n",
         b"\xff",
         b"To: (\n", b"Resent-To: d@x\n", b"hello", b"To: <e@x>, f: g@x;\n"]
    )
    | st.binary(max_size=4),
    max_size=14,
).map(b"".join)  # fmt: skip


@target
@bounded(300)
@given(st.lists(_ARGUMENTS, max_size=5), _TEXT)
def test_sendmail_smuggles_nothing(arguments: list[str], text: bytes) -> None:
    try:
        options = Options(arguments)
        mail = Mail(Input(io.BytesIO(text), options.dot_ends), options, options.sender)  # type: ignore[arg-type]
    except SendError:
        return
    for address in [*mail.recipients, options.sender]:
        assert not any(octet < 32 or octet == 127 for octet in address)
        address.decode()
    wire = b"".join(mail.content.blocks())
    assert wire.endswith(b"\r\n")
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
    assert [end for end in sloppy_ends(wire) if b"\0" not in end] == []
    header = (b"\r\n" + wire).partition(b"\r\n\r\n")[0]
    assert b"\nBcc: evil" not in header


@target
@bounded(300)
@given(
    st.text(max_size=15) | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZabcz", min_size=13, max_size=13)
)
def test_a_queue_id_is_one_or_none(text: str) -> None:
    try:
        number = identifiers.decode(text)
    except ValueError:
        return
    assert 0 <= number < 1 << 63
    assert identifiers.encode(number) == text.upper()
    identifiers.made_at(number)


_CELLS = st.sampled_from(
    ["a@b.example", "a@b.example\n", '"', '""', ",", ";", "\t", "\n", "\r\n", "address", "email",
     "reason",
     "created", "EmailAddress", "until", "at", "tenant", "source", "acme", "hard", "1" * 400,
     "-1", "nan",
     "1e999", "9999-99-99", "Mon, 1 Jan 99999 00:00:00 +9999", "\0", "\udcff", "\ufeff", "=cmd()",
     "x" * 9000]
)  # fmt: skip
_HOW = formats.Import(None, {"acme"}, "test", 1_700_000_000.0)


@target
@bounded(400)
@given(st.lists(_CELLS, max_size=25).map("".join), st.sampled_from(["auto", *formats.FORMATS]))
def test_a_suppression_list_is_read_or_told(text: str, form: str) -> None:
    try:
        read = list(formats.read(io.StringIO(text, newline=""), form, _HOW))
    except formats.UnknownColumns:
        return
    for one in read:
        if isinstance(one, formats.Skipped):
            assert one.line > 0
            continue
        assert one.address.isprintable()
        one.address.encode()
        assert "@" in one.address
        assert 0 <= one.at < 1e12
