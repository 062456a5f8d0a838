"""What is added to a header section on the way in, and that nothing else is."""

import pytest

from relay.accept.stamp import Hop, MailLoop, stamped
from relay.model.message import Origin

HOP = Hop(
    "relay.example", Origin("192.0.2.7", "web01"), "ESMTP", "0RQ4MPG92452P", "shop@acme.example"
)


def added(header: bytes, hop: Hop = HOP) -> tuple[bytes, bytes, bytes]:
    """What stands above and below the original header section."""
    result = stamped(header, hop).header
    above, original, below = result.partition(header) if header else (result, b"", b"")
    assert original == header
    return above, original, below


def test_received_stands_on_top() -> None:
    above, _, _ = added(b"From: a@b.example\r\nDate: x\r\nMessage-ID: <x>\r\n")
    lines = above.split(b"\r\n")
    assert lines[0] == b"Received: from web01 ([192.0.2.7])"
    assert lines[1] == b"\tby relay.example with ESMTP id 0RQ4MPG92452P;"


def test_what_is_missing_comes_below() -> None:
    _, _, below = added(b"Subject: x\r\n")
    names = [line.partition(b":")[0] for line in below.split(b"\r\n")]
    assert names == [b"From", b"Date", b"Message-ID", b"", b""]
    assert b"From: shop@acme.example\r\n" in below
    assert b"Message-ID: <0RQ4MPG92452P@relay.example>\r\n" in below


def test_what_is_there_stays_octet_for_octet() -> None:
    header = (
        b"X-Odd : 8\xff bit\r\nfrom:\r\n Acme  <a@b.example>\r\ndate: junk\r\n"
        b"MESSAGE-ID: <x@y>\r\nDate: again\r\n"
    )
    _, _, below = added(header)
    assert below == b"\r\n"
    result = stamped(header, HOP)
    assert (result.header_from, result.message_id) == ("a@b.example", "<x@y>")


def test_no_header_section_at_all() -> None:
    result = stamped(b"", HOP)
    assert result.header.startswith(b"Received: ")
    assert result.header.endswith(b"\r\n\r\n")
    assert result.header_from == "shop@acme.example"


@pytest.mark.parametrize(
    "value",
    [b"a@b.example, c@d.example", b"undisclosed:;", b"nonsense"],
)
def test_a_from_that_is_not_one_mailbox_decides_nothing(value: bytes) -> None:
    assert stamped(b"From: " + value + b"\r\n", HOP).header_from == ""
    assert stamped(b"From: a@b.example\r\nFrom: c@d.example\r\n", HOP).header_from == ""


def test_a_null_reverse_path_gives_a_from_all_the_same() -> None:
    hop = Hop("relay.example", Origin("::1", "x"), "ESMTP", "0RQ4MPG92452P", "")
    result = stamped(b"Subject: x\r\n", hop)
    assert b"From: MAILER-DAEMON@relay.example\r\n" in result.header
    assert result.header_from == ""
    assert b"([IPv6:::1])" in result.header


def test_a_helo_name_can_inject_nothing() -> None:
    hop = Hop("relay.example", Origin("::1", "x)\r\nBcc: y"), "ESMTP", "0RQ4MPG92452P", "a@b")
    assert b"from x???Bcc:?y ([" in stamped(b"", hop).header


def test_a_loop_ends() -> None:
    stamped(b"Received: x\r\n" * 50, HOP)
    with pytest.raises(MailLoop):
        stamped(b"Received: x\r\n" * 51, HOP)


def test_long_lines_are_folded_but_not_in_a_signed_message() -> None:
    long_field = b"References: " + b"<x@y> " * 300 + b"\r\n"
    assert max(map(len, stamped(long_field, HOP).header.split(b"\r\n"))) <= 998
    signed = stamped(b"DKIM-Signature: v=1\r\n" + long_field, HOP)
    assert signed.signed
    assert long_field in signed.header
