"""MAIL and RCPT: what old devices write is understood, what could reach further is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.accept.paths import CommandRefused, read_mail, read_rcpt


@pytest.mark.parametrize(
    ("argument", "reverse_path"),
    [
        ("FROM:<a@b.example>", "a@b.example"),
        ("from:<a@b.example>", "a@b.example"),
        ("FROM: <a@b.example>", "a@b.example"),
        ("FROM:a@b.example", "a@b.example"),
        ("FROM: a@b.example", "a@b.example"),
        ("FROM:<>", ""),
        ("FROM:<root>", "root"),
        ("FROM:<@hop.example,@two.example:a@b.example>", "a@b.example"),
        ('FROM:<"a > b"@c.example>', '"a > b"@c.example'),
        ("FROM:<a+b@[127.0.0.1]>", "a+b@[127.0.0.1]"),
        ("FROM:<grüße@bücher.example> SMTPUTF8", "grüße@bücher.example"),
    ],
)
def test_reverse_paths(argument: str, reverse_path: str) -> None:
    assert read_mail(argument).reverse_path == reverse_path


def test_parameters() -> None:
    mail = read_mail("FROM:<a@b> SIZE=1234 BODY=8BITMIME SMTPUTF8 AUTH=<> RET=HDRS ENVID=x+2B")
    assert (mail.size, mail.body_8bit, mail.smtputf8) == (1234, True, True)
    assert read_rcpt("TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a@b").notify is False
    assert read_rcpt("TO:<a@b> NOTIFY=SUCCESS,FAILURE").notify is True


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("FROM:", 501),
        ("", 501),
        ("FROM <a@b>", 501),
        ("FROM:<a@b", 501),
        ("FROM:<a@b>SIZE=3", 501),
        ("FROM:<a@b> SIZE=x", 501),
        ("FROM:<a@b> BODY=BINARYMIME", 501),
        ("FROM:<a@b> XYZ=1", 555),
        ("FROM:<a b@c>", 553),
        ("FROM:<a@b@c>", 553),
        ("FROM:<a@b c>", 553),
        ("FROM:<a\x01@b>", 553),
        ("FROM:<a\udcff@b>", 553),
        ("FROM:<@b>", 553),
        ("FROM:<" + "a" * 400 + "@b>", 553),
    ],
)
def test_refused(argument: str, code: int) -> None:
    with pytest.raises(CommandRefused) as refused:
        read_mail(argument)
    assert refused.value.reply.code == code
    assert refused.value.reply.enhanced_status


def test_a_recipient_is_needed() -> None:
    with pytest.raises(CommandRefused):
        read_rcpt("TO:<>")


@given(st.text())
def test_no_path_can_end_a_command_or_a_bracket(text: str) -> None:
    try:
        path = read_rcpt(f"TO:<{text}>").address
    except CommandRefused:
        return
    outside_quotes = path.rpartition('"')[2]
    assert not set(path) & set("\r\n\0")
    assert not set(outside_quotes) & set("<> ")
