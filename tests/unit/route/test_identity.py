"""Under whose name a message leaves, and that everything else stays octet for octet."""

import pytest

from relay.config.addresses import Mailbox
from relay.route.identity import Identity, changes_header, header_under, reverse_path_under

DEFAULT = Identity(Mailbox("Platform", "noreply@platform.example"), None, "always", lambda a: False)
FOREIGN = Identity(
    Mailbox("Acme", "noreply@acme.example"), None, "foreign", lambda a: a.endswith("@acme.example")
)


def under(identity: Identity, *lines: bytes) -> list[bytes]:
    header = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    edited = header_under(identity, header)
    assert edited.endswith(b"\r\n\r\n")
    return edited[:-4].split(b"\r\n")


def test_always_rewrites_from_and_keeps_the_name_and_the_original_address() -> None:
    assert under(DEFAULT, b"To: x@y", b"From: Shop <shop@acme.example>", b"Subject: hi") == [
        b"To: x@y",
        b"From: Shop <noreply@platform.example>",
        b"Subject: hi",
        b"Reply-To: Shop <shop@acme.example>",
    ]


def test_a_reply_to_that_is_set_stays() -> None:
    lines = under(DEFAULT, b"From: shop@acme.example", b"reply-to: help@acme.example")
    assert lines == [b"From: Platform <noreply@platform.example>", b"reply-to: help@acme.example"]


def test_what_the_change_would_falsify_goes() -> None:
    lines = under(
        DEFAULT,
        b"Return-Path: <shop@acme.example>",
        b"Received: from x",
        b"\tby y",
        b"DKIM-Signature: v=1;",
        b" b=abc",
        b"From: shop@acme.example",
        b"Sender: www@acme.example",
        b"X-Kept: 8\xff  odd\t",
        b"Subject: folded",
        b"  twice",
    )
    assert lines == [
        b"Received: from x",
        b"\tby y",
        b"From: Platform <noreply@platform.example>",
        b"X-Kept: 8\xff  odd\t",
        b"Subject: folded",
        b"  twice",
        b"Reply-To: shop@acme.example",
    ]


def test_encoded_and_folded_names_stay_as_they_are() -> None:
    lines = under(DEFAULT, b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", b" <shop@acme.example>")
    assert lines[0] == b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <noreply@platform.example>"
    assert lines[1:] == [b"Reply-To: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", b" <shop@acme.example>"]


def test_several_from_fields_become_one() -> None:
    lines = under(DEFAULT, b"From: a@acme.example", b"Subject: x", b"From: b@acme.example")
    assert lines[:2] == [b"From: Platform <noreply@platform.example>", b"Subject: x"]
    assert lines[2] == b"Reply-To: a@acme.example"


def test_foreign_rewrites_only_what_is_not_the_tenants() -> None:
    own = (b"From: Shop <shop@acme.example>", b"Subject: x")
    assert under(FOREIGN, *own) == list(own)
    assert under(FOREIGN, b"From: www-data <www-data@web01>")[0] == (
        b"From: www-data <noreply@acme.example>"
    )
    assert reverse_path_under(FOREIGN, "www-data@web01") == "noreply@acme.example"
    assert reverse_path_under(FOREIGN, "shop@acme.example") == "shop@acme.example"


def test_the_null_reverse_path_stays_null() -> None:
    assert reverse_path_under(DEFAULT, "") == ""
    assert reverse_path_under(DEFAULT, "shop@acme.example") == "noreply@platform.example"


def test_never_changes_nothing_but_adds_a_reply_to_where_one_is_configured() -> None:
    identity = Identity(None, Mailbox("Müller, Jo", "jo@acme.example"), "never", lambda a: True)
    lines = under(identity, b"From: a@b.example")
    assert lines[0] == b"From: a@b.example"
    assert lines[1].startswith(b"Reply-To: =?utf-8?")
    assert lines[1].endswith(b" <jo@acme.example>")


@pytest.mark.parametrize(
    ("identity", "header_from", "changes"),
    [
        (None, "a@b.example", False),
        (FOREIGN, "shop@acme.example", False),
        (FOREIGN, "www-data@web01", True),
        (FOREIGN, "", True),
        (DEFAULT, "shop@acme.example", True),
    ],
)
def test_the_header_is_only_looked_at_where_it_may_change(
    identity: Identity | None, header_from: str, changes: bool
) -> None:
    assert changes_header(identity, header_from) is changes


def test_a_name_with_specials_is_quoted() -> None:
    identity = Identity(Mailbox('Acme "A", Inc.', "a@b.example"), None, "always", lambda a: False)
    assert under(identity, b"From: x@y.example")[0] == b'From: "Acme \\"A\\", Inc." <a@b.example>'
