"""Delivery status notifications, read back as a mail reader would (RFC 3464, 3461, 6522, 6533)."""

import email
import re
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.policy import default
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.causes import Cause
from relay.model.message import Content, Message, Origin, Recipient, State
from relay.model.notice import Notice
from relay.model.reply import Reply
from relay.record.dsn import Reporter, dsn

ARRIVED_AT = 1763800000.0
HEADER = (
    b"Received: from app\r\nFrom: Dana <dana@acme.example>\r\nSubject: Your invoice\r\n"
    b"Message-ID: <1@acme.example>\r\n\r\n"
)
REPORTER = Reporter("web01.example", {"acme-sendgrid": "smtp.sendgrid.example"})

FAILED = Recipient(
    0,
    "bob@x.example",
    state=State.FAILED,
    cause=Cause.RECIPIENT_REFUSED,
    reply=Reply(550, "5.1.1", "no such user"),
    upstream="acme-sendgrid",
)
EXPIRED = Recipient(1, "eve@y.example", state=State.EXPIRED, cause=Cause.CONNECTION_REFUSED)


def message(**changes: object) -> Message:
    made = Message(
        queue_id="0RQ4MPG92452P",
        arrived_at=ARRIVED_AT,
        expires_from=ARRIVED_AT,
        tenant="acme",
        priority=0,
        reverse_path="dana@acme.example",
        header_from="dana@acme.example",
        message_id="<1@acme.example>",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("127.0.0.1", "app"),
        recipients=(),
        content=Content(1000, len(HEADER)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def made(
    *recipients: Recipient, header: bytes = HEADER, of: Message | None = None
) -> Notice | None:
    return dsn(
        of or message(),
        recipients,
        header,
        reporter=REPORTER,
        message_id="<2@web01.example>",
        now=ARRIVED_AT + 2 * 86400,
        last_attempt_at=ARRIVED_AT + 86400,
    )


def report(*recipients: Recipient, header: bytes = HEADER, of: Message | None = None) -> Notice:
    notice = made(*recipients, header=header, of=of)
    assert notice is not None
    return notice


def as_read(notice: Notice) -> EmailMessage:
    plain = re.sub(rb"(?m)^\.\.", b".", notice.content)
    return cast(EmailMessage, email.message_from_bytes(plain, policy=default))


def parts(notice: Notice) -> list[EmailMessage]:
    return [cast(EmailMessage, part) for part in as_read(notice).iter_parts()]


def words(notice: Notice) -> str:
    return str(parts(notice)[0].get_content()).replace("\r\n", "\n")


def statuses(notice: Notice) -> Sequence[EmailMessage]:
    """The block of the message, then one for each recipient."""
    return cast(Sequence[EmailMessage], parts(notice)[1].get_payload())


def test_the_heading_is_that_of_an_automatic_answer() -> None:
    notice = report(FAILED, EXPIRED)
    read = as_read(notice)
    assert (read["From"], read["To"]) == (
        "Mail Delivery System <MAILER-DAEMON@web01.example>",
        "dana@acme.example",
    )
    assert read["Subject"] == "Undelivered mail: bob@x.example and 1 more"
    assert read["Auto-Submitted"] == "auto-replied"
    assert read["Message-ID"] == "<2@web01.example>"
    assert read["In-Reply-To"] == read["References"] == "<1@acme.example>"
    assert read["Date"].datetime.timestamp() == ARRIVED_AT + 2 * 86400
    assert read.get_content_type() == "multipart/report"
    assert read.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in parts(notice)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert not read.defects


def test_the_notice_says_where_it_goes_and_of_what_it_tells() -> None:
    notice = report(FAILED)
    assert (notice.kind, notice.recipient, notice.about) == (
        "dsn",
        "dana@acme.example",
        "0RQ4MPG92452P",
    )
    assert notice.header_from == "MAILER-DAEMON@web01.example"
    assert notice.content[: notice.header_size].endswith(b"\r\n\r\n")
    assert b"\r\n\r\n" not in notice.content[: notice.header_size - 2]


def test_programs_find_what_rfc_3464_asks_for() -> None:
    of_message, failed, expired = statuses(report(FAILED, EXPIRED))
    assert of_message["Reporting-MTA"] == "dns; web01.example"
    assert of_message["Arrival-Date"].startswith("Sat, 22 Nov 2025")
    assert dict(failed.items()) == {
        "Final-Recipient": "rfc822; bob@x.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; smtp.sendgrid.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": failed["Last-Attempt-Date"],
    }
    # Nobody answered: no remote MTA, nothing to diagnose (RFC 3464 sections 2.3.5 and 2.3.6).
    assert set(expired.keys()) == {"Final-Recipient", "Action", "Status", "Last-Attempt-Date"}
    assert expired["Status"] == "4.4.7"


@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        (replace(FAILED, reply=Reply(550, None, "no")), "5.0.0"),
        (replace(FAILED, reply=None, cause=Cause.MESSAGE_TOO_LARGE), "5.3.4"),
        (replace(FAILED, reply=None, cause=Cause.SMTPUTF8_UNSUPPORTED), "5.6.7"),
        (replace(FAILED, reply=None, cause=None), "5.0.0"),
        (replace(FAILED, reply=Reply(550, "2.0.0", "odd")), "5.0.0"),
        (replace(EXPIRED, reply=Reply(451, "4.7.1", "greylisted")), "4.7.1"),
        (replace(EXPIRED, reply=Reply(550, "5.7.1", "not verified")), "5.7.1"),
    ],
)
def test_the_status_is_the_actual_problems_where_it_is_known(
    recipient: Recipient, status: str
) -> None:
    assert statuses(report(recipient))[1]["Status"] == status


def test_people_read_what_failed_for_whom_and_the_upstreams_words() -> None:
    text = words(report(FAILED, EXPIRED))
    assert "<bob@x.example>\n    the address was refused; check its spelling\n" in text
    assert "smtp.sendgrid.example said: 550 5.1.1 no such user" in text
    assert "<eve@y.example>\n    gave up after 2 days" in text
    assert '"Your invoice"' in text
    assert "0RQ4MPG92452P" in text


def test_what_the_provider_says_of_the_account_is_not_the_senders_to_know() -> None:
    refused = Reply(535, "5.7.8", "bad password for user acme-secret-login")
    notice = report(replace(EXPIRED, cause=Cause.AUTHENTICATION_FAILED, reply=refused))
    assert b"acme-secret-login" not in notice.content
    assert statuses(notice)[1]["Status"] == "4.4.7"
    assert "neither you nor" in " ".join(words(notice).split())


def test_only_the_dead_are_told_of_and_only_where_the_client_wants_it() -> None:
    unwanted = replace(FAILED, notify=False)
    relayed = Recipient(3, "ok@x.example", state=State.RELAYED)
    assert made(unwanted, relayed) is None
    notice = report(unwanted, relayed, EXPIRED)
    assert [s["Final-Recipient"] for s in statuses(notice)[1:]] == ["rfc822; eve@y.example"]
    assert b"bob@x.example" not in notice.content
    assert as_read(notice)["Subject"] == "Undelivered mail: eve@y.example"


def test_a_null_reverse_path_is_never_answered() -> None:
    with pytest.raises(AssertionError):
        made(FAILED, of=message(reverse_path=""))


def test_the_original_header_section_comes_back_unstuffed_and_without_its_blank_line() -> None:
    notice = report(FAILED, header=b"Subject: x\r\n..odd: y\r\nTo: z\r\n\r\n")
    assert parts(notice)[2].get_payload() == "Subject: x\r\n.odd: y\r\nTo: z\r\n"
    assert b"\r\n..odd: y\r\n" in notice.content


def test_an_eight_bit_header_section_comes_back_octet_for_octet() -> None:
    header = b"Subject: caf\xe9\r\nFrom: \xc3\xa4 <a@b>\r\n" + b"X-Long: " + b"x" * 2000 + b"\r\n"
    notice = report(FAILED, header=header + b"\r\n")
    assert notice.content.isascii()
    octets = parts(notice)[2].get_payload(decode=True)
    assert isinstance(octets, bytes)
    assert octets.replace(b"\r\n", b"\n") == header.replace(b"\r\n", b"\n")


def test_a_header_section_without_end_is_cut_at_a_line() -> None:
    header = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 100) for number in range(1000))
    lines = str(parts(report(FAILED, header=header + b"\r\n"))[2].get_payload())
    assert 15 << 10 < len(lines) <= 16 << 10
    assert lines.endswith("y\r\n")


def test_addresses_beyond_ascii_are_written_in_seven_bits() -> None:
    local = replace(FAILED, address="jörg+a@bücher.example")
    domain = replace(FAILED, address="bob@bücher.example")
    notice = report(local, domain)
    assert notice.content.isascii()
    assert not notice.smtputf8
    assert [s["Final-Recipient"] for s in statuses(notice)[1:]] == [
        r"utf-8; j\x{F6}rg\x{2B}a@b\x{FC}cher.example",
        "rfc822; bob@xn--bcher-kva.example",
    ]
    assert "<jörg+a@bücher.example>" in words(notice)


def test_a_utf8_reverse_path_needs_smtputf8_for_its_to_alone() -> None:
    notice = report(FAILED, of=message(reverse_path="jörg@acme.example"))
    assert notice.smtputf8
    assert "To: <jörg@acme.example>\r\n".encode() in notice.content
    assert notice.content[notice.header_size :].isascii()


def test_an_address_that_fits_into_no_line_is_left_out_of_to() -> None:
    notice = report(FAILED, of=message(reverse_path="\U00020000" * 318 + "@x"))
    assert as_read(notice)["To"] is None
    assert max(map(len, notice.content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("message_id", ["", "no id", "<a@b> <c@d>", "<a@b", "<ä@b>", "<a b@c>"])
def test_a_message_id_that_is_not_a_sound_one_is_not_referred_to(message_id: str) -> None:
    read = as_read(report(FAILED, of=message(message_id=message_id)))
    assert "In-Reply-To" not in read
    assert "References" not in read


HOSTILE = st.text(max_size=400) | st.sampled_from(
    ["a@b\r\nBcc: evil@x", "\r\n.\r\nMAIL FROM:<>", ".", "\n.\n", "é" * 400, "x" * 2000, "\udcff"]
)


@given(
    address=HOSTILE,
    reverse_path=HOSTILE.filter(bool),
    reply=HOSTILE,
    host=HOSTILE,
    message_id=HOSTILE,
    header=st.binary(max_size=3000) | st.just(HEADER),
)
def test_nothing_from_outside_breaks_the_form(
    address: str, reverse_path: str, reply: str, host: str, message_id: str, header: bytes
) -> None:
    notice = dsn(
        message(reverse_path=reverse_path, message_id=message_id),
        [replace(FAILED, address=address, reply=Reply(550, None, reply))],
        header,
        reporter=Reporter("web01.example", {"acme-sendgrid": host}),
        message_id="<2@web01.example>",
        now=ARRIVED_AT,
    )
    assert notice is not None
    content = notice.content
    assert content.endswith(b"\r\n")
    assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    assert not re.search(rb"(?m)^\.(?!\.)", content)
    assert content[notice.header_size :].isascii()
    head = content[: notice.header_size].decode()
    names = re.findall(r"(?m)^([^ \t:\r\n]+):", head)
    assert len(names) == len(set(names))
    assert set(names) <= {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
        *("In-Reply-To", "References", "Content-Type"),
    }
    assert [part.get_content_type() for part in parts(notice)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    blocks = statuses(notice)
    assert len(blocks) == 2
    assert set(blocks[1].keys()) <= {
        *("Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"),
    }
