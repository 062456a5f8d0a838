"""The header editor: what is stamped on the way in and rewritten on the way out.

Invariants. A header section has no new field but the documented ones, and each is one field. There
is no bare CR or LF,
and no line over 998 octets that did not come so in a signed message. Every field
that is not replaced stays octet for octet, in its order. Nobody's name, address, host name or
Message-ID brings a line of its own.
"""

from typing import Any

from fuzz.fuzzing import bounded, target
from fuzz.reading import read_slowly
from hypothesis import example, given
from hypothesis import strategies as st

from relay.accept import paths
from relay.accept.data import folded
from relay.accept.stamp import Hop, MailLoop, stamped
from relay.config.addresses import Mailbox, mailbox
from relay.dispatch.handover import _with_fields
from relay.model import header as headers
from relay.model.message import Origin
from relay.route.identity import Identity, header_under, reverse_path_under

_NAMES = st.sampled_from(
    [b"From", b"from ", b"FROM\t", b"Sender", b"Reply-To", b"Return-Path", b"DKIM-Signature",
     b"Subject", b"To", b"Date", b"Message-ID", b"Received", b"X-Odd", b"..From", b"From\xc3",
     b"", b" "]
)  # fmt: skip
_VALUE_ATOMS = st.sampled_from(
    [b" a@b.example", b" <a@b.example>", b' "a <x@y>" <a@b.example>', b",", b" (", b")", b'"',
     b"\\",
     b"\r\n ", b"\r\n\t", b"\r\n \r\n", b"=?utf-8?Q?=0D=0ABcc:_x?=", b"\xff", b"\0", b"\x0b",
     b"\x85",
     b"\xe2\x80\xa8", b" " * 70, b"y" * 400, b"y" * 975, b": x", b" Bcc: z@x", b"<", b">", b"@"]
) | st.binary(max_size=3)  # fmt: skip
_fields = st.tuples(_NAMES, st.lists(_VALUE_ATOMS, max_size=6).map(b"".join))
_sections = st.lists(_fields, max_size=6).map(
    lambda found: b"".join(name + b":" + value + b"\r\n" for name, value in found)
)


def _section(octets: bytes) -> bytes:
    """As much of it as the way in takes for a header section, in wire form."""
    wire = read_slowly(octets, lf_mode=False).wire
    return wire[: headers.section_end(wire)]


def _hop(helo: str, reverse_path: str) -> Hop:
    return Hop(
        "relay.test", Origin("::1", helo, None, None), "ESMTP", "0123456789ABC", reverse_path
    )


def _fields_of(section: bytes) -> list[tuple[bytes, bytes]]:
    return [(field.name, section[field.start : field.end]) for field in headers.fields(section)]


def _is_sound(section: bytes) -> None:
    assert section.endswith(b"\r\n\r\n") or section == b"\r\n"
    assert section.count(b"\r") == section.count(b"\n") == section.count(b"\r\n")
    assert headers.section_end(section) == len(section) - 2
    assert b"".join(octets for _, octets in _fields_of(section)) == section[:-2]


def _longest(section: bytes) -> int:
    return max(map(len, section.split(b"\r\n")))


def _without(found: list[tuple[bytes, bytes]], *names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, octets) for name, octets in found if name not in names]


@target
@bounded(250)
@given(_sections, st.text(max_size=300), st.sampled_from(["", "a@b.example", '"a b"@x', "root"]))
def test_the_stamp_adds_what_is_missing_and_nothing_else(
    octets: bytes, helo: str, reverse_path: str
) -> None:
    section = _section(octets)
    try:
        result = stamped(section, _hop(helo, reverse_path))
    except MailLoop:
        return
    _is_sound(result.header)
    before, after = _fields_of(section), _fields_of(result.header)
    assert after[0][0] == b"received"
    kept = before if result.signed else _fields_of(folded(section))
    assert after[1 : 1 + len(kept)] == kept
    names = {name for name, _ in before}
    missing = [name for name in (b"from", b"date", b"message-id") if name not in names]
    assert [name for name, _ in after[1 + len(kept) :]] == missing
    assert result.message_id.isprintable()
    assert result.header_from.isprintable()
    if not result.signed:
        assert _longest(result.header) <= 998


_COMMAND_ATOMS = st.sampled_from(
    ["FROM:", "TO:", "<", ">", "@", "a", "b.example", '"', "\\", " ", ":", ",", "@x:", "(",
     "[1.2.3.4]",
     "\t", "é" * 60, "😀" * 80, "\u2028", "\x85", "\udcff", "SIZE=1", "BODY=8BITMIME", "SMTPUTF8",
     "AUTH=<>", "ORCPT=rfc822;a", "=", "\xa0", "\u200b", "xn--", "RCPT TO:<z@x>", "%0d%0a",
     "\\r\\n"]
)  # fmt: skip


@target
@bounded(400)
@given(st.lists(_COMMAND_ATOMS, max_size=12).map("".join))
@example("<" + "😀" * 300 + "@b.example>")
@example('<"a> SIZE=1"@b.example>')
def test_an_address_is_one_word_of_one_command(argument: str) -> None:
    for read, keyword in ((paths.read_mail, "FROM:"), (paths.read_rcpt, "TO:")):
        try:
            command: Any = read(keyword + argument)
        except paths.CommandRefused:
            continue
        address = command.reverse_path if keyword == "FROM:" else command.address
        assert address.isprintable()
        address.encode()
        outside = _outside_quotes(address)
        assert not set(outside) & set(" <>\t\r\n")
        _is_sound(stamped(b"", _hop("x", address)).header)
        assert _longest(stamped(b"", _hop("x", address)).header) <= 998


def _outside_quotes(address: str) -> str:
    if not address.startswith('"'):
        return address
    local, _, domain = address.rpartition("@")
    assert local.endswith('"')
    return domain


_mailboxes = st.sampled_from(
    [Mailbox("", "noreply@acme.example"), Mailbox("Acme", "noreply@acme.example"),
     Mailbox('A "B", C\\ <x@y>', "noreply@acme.example"), Mailbox("Ümläut " * 30, "n@acme.example"),
     Mailbox("\\" * 300, "n@acme.example"), Mailbox("a, b: c;" * 80, 'n@acme.example')]
)  # fmt: skip


@target
@bounded(400)
@given(
    _sections,
    st.none() | _mailboxes,
    st.none() | _mailboxes,
    st.sampled_from(["never", "foreign", "always"]),
    st.booleans(),
)
@example(
    b"From: " + b"y" * 975 + b"\r\n <a@b.example>\r\n",
    mailbox("n@acme.example"),
    None,
    "always",
    False,
)
@example(b"From: " + b"y, " * 330 + b"\r\n", mailbox("n@acme.example"), None, "always", False)
@example(b"", Mailbox("", "n@acme.example"), Mailbox("\\" * 300, "n@acme.example"), "never", False)
def test_an_identity_changes_its_own_fields_alone(
    octets: bytes, from_: Mailbox | None, reply_to: Mailbox | None, rewrite: str, owns: bool
) -> None:
    try:
        before = stamped(_section(octets), _hop("x", "a@b.example"))
    except MailLoop:
        return
    identity = Identity(from_, reply_to, rewrite, lambda _: owns)
    after = header_under(identity, before.header)
    _is_sound(after)
    if not before.signed:
        assert _longest(after) <= 998
    old, new = _fields_of(before.header), _fields_of(after)
    touched = (b"from", b"reply-to", b"sender", b"return-path", b"dkim-signature")
    assert _without(new, *touched) == _without(old, *touched)
    if [f for f in new if f[0] == b"from"] != [f for f in old if f[0] == b"from"]:
        assert from_ is not None
        assert rewrite != "never"
        (sender,) = [octets for name, octets in new if name == b"from"]
        assert headers.one_mailbox(sender.partition(b":")[2].replace(b"\r\n", b"")) == from_.address
    else:
        assert _without(new, b"reply-to") == _without(old, b"reply-to")
    replies = [octets for name, octets in old if name == b"reply-to"]
    assert [octets for name, octets in new if name == b"reply-to"][: len(replies)] == replies
    assert reverse_path_under(identity, "") == ""
    assert _with_fields(b"X-New: 1\r\n", after) == b"X-New: 1\r\n" + after
