"""Delivery status notifications (RFC 3464): what the sender is told of recipients that gave up.

The remedies are for the owner, who hears of them by alert; the sender is told what a sender can do.
What a provider says of the account (a login, a quota) is nobody's but the owner's, and left out.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import field
from email.message import Message as MimePart
from email.mime.multipart import MIMEMultipart
from email.utils import formatdate

from relay.config.addresses import Mailbox
from relay.model import header as headers
from relay.model.address import a_label
from relay.model.causes import Cause
from relay.model.message import DEAD_STATES, Message, Recipient, State
from relay.model.notice import Notice
from relay.model.reply import Reply
from relay.model.value import value_class
from relay.record.wording import (
    LONGEST_VALUE_BYTES,
    Heading,
    ascii_only,
    clean,
    encoded_part,
    letter,
    part,
    text_part,
    unstuffed,
)

_MOST_HEADER_BYTES = 16 << 10
_WIDTH = 76
# What can't travel as it is: 8-bit, controls, lone CR or LF, lines over 998 octets.
_NEEDS_ENCODING = re.compile(rb"[^\t\r\n -~]|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")
# RFC 3463: "delivery time expired", where no reply names the actual problem; "other" of old.
_EXPIRED_STATUS = "4.4.7"
_FAILED_STATUS = "5.0.0"
_STATUS_OF_CAUSE: dict[Cause | None, str] = {
    Cause.MESSAGE_TOO_LARGE: "5.3.4",
    Cause.SMTPUTF8_UNSUPPORTED: "5.6.7",
}
_OWNERS_AFFAIR = frozenset(
    {
        Cause.AUTHENTICATION_FAILED,
        Cause.AUTHENTICATION_REQUIRED,
        Cause.QUOTA_EXCEEDED,
        Cause.RATE_LIMITED,
    }
)
_TO_THE_SENDER: dict[Cause | None, str] = {
    Cause.RECIPIENT_REFUSED: "the address was refused; check its spelling",
    Cause.MESSAGE_REFUSED: "the content was refused",
    Cause.MESSAGE_TOO_LARGE: "the message is too large; send a smaller one",
    Cause.SENDER_REFUSED: "mail from this sender was refused",
    Cause.SMTPUTF8_UNSUPPORTED: "the address is not plain ASCII, and the next mail server takes "
    "no others; use an ASCII address, if there is one",
}
_NOBODYS_FAULT = "the next mail server could not be used; neither you nor the recipient is at fault"


@value_class
class Reporter:
    """Who reports: our name, and the host behind each upstream's name."""

    hostname: str
    hosts: Mapping[str, str] = field(default_factory=dict)

    def remote_mta(self, recipient: Recipient) -> str:
        """The host whose words the recipient's reply is; "" where nobody said anything."""
        if recipient.reply is None or recipient.upstream is None:
            return ""
        return ascii_only(self.hosts.get(recipient.upstream, ""), 255)


def dsn(
    message: Message,
    recipients: Sequence[Recipient],
    header: bytes,
    *,
    reporter: Reporter,
    message_id: str,
    now: float,
    last_attempt_at: float | None = None,
) -> Notice | None:
    """To the reverse-path, which is not null, of those ``recipients`` that failed or expired; None
    where the client wanted none of them told of (RFC 3461 section 4.1, NOTIFY=NEVER).

    ``header`` is the original header section in wire form; times are Unix seconds.
    """
    assert message.reverse_path, "a null reverse-path is never answered (RFC 5321 section 4.5.5)"
    told = [r for r in recipients if r.notify and r.state in DEAD_STATES]
    if not told:
        return None
    report = MIMEMultipart("report", report_type="delivery-status")
    report.attach(text_part(_words(message, told, header, reporter, now)))
    report.attach(_status_part(message, told, reporter, last_attempt_at))
    report.attach(_headers_part(header))
    sender = f"MAILER-DAEMON@{reporter.hostname}"
    heading = Heading(
        from_=Mailbox("Mail Delivery System", sender),
        to=Mailbox("", message.reverse_path),
        subject=_subject(told),
        message_id=message_id,
        date=now,
        auto_submitted="auto-replied",
        refers_to=message.message_id,
    )
    content, size = letter(heading, report)
    return Notice("dsn", message.reverse_path, content, size, sender, message_id, message.queue_id)


# -- for people


def _subject(told: Sequence[Recipient]) -> str:
    others = f" and {len(told) - 1} more" if len(told) > 1 else ""
    return f"Undelivered mail: {clean(told[0].address, 100)}{others}"


def _words(
    message: Message, told: Sequence[Recipient], header: bytes, reporter: Reporter, now: float
) -> str:
    waited = _span(now - message.expires_from)
    these = "this recipient" if len(told) == 1 else "these recipients"
    arrived = formatdate(message.arrived_at, localtime=True)
    paragraphs = [
        f"This is the mail system at {clean(reporter.hostname)}.",
        f"Your message of {arrived}{_named(header)} could not be handed over to {these}. It will "
        "not be tried again by itself.",
    ]
    paragraphs = [textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs]
    paragraphs += [_about(recipient, reporter, waited) for recipient in told]
    closing = "Whoever looks after this mail system finds the details under this number:"
    return "\n\n".join([*paragraphs, f"{closing}\n{message.queue_id}\n"])


def _about(recipient: Recipient, reporter: Reporter, waited: str) -> str:
    reason = _TO_THE_SENDER.get(recipient.cause, _NOBODYS_FAULT)
    if recipient.state is State.EXPIRED:
        reason = f"gave up after {waited}; {reason}"
    lines = [f"<{clean(recipient.address)}>", *_indented(reason)]
    if reply := _senders_reply(recipient):
        who = reporter.remote_mta(recipient) or "the next mail server"
        lines += _indented(f"{who} said: {clean(str(reply))}")
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _senders_reply(recipient: Recipient) -> Reply | None:
    """The upstream's words, where they are about the mail and not about the account."""
    return None if recipient.cause in _OWNERS_AFFAIR else recipient.reply


def _named(header: bytes) -> str:
    """The original subject, where there is exactly one in plain ASCII; others need a mail reader,
    which shows it from the third part."""
    subjects = [f for f in headers.fields(header[:_MOST_HEADER_BYTES]) if f.name == b"subject"]
    if len(subjects) != 1:
        return ""
    subject = clean(headers.value(header, subjects[0]).decode("ascii", "replace"), 100)
    return f', "{subject}",' if subject.isascii() and subject and "=?" not in subject else ""


def _span(seconds: float) -> str:
    """ "2 days", "10 minutes": as exact as one needs it to believe that it was tried for long."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


# -- for programs


def _status_part(
    message: Message, told: Sequence[Recipient], reporter: Reporter, last_attempt_at: float | None
) -> MimePart:
    status = part("message/delivery-status")
    of_message = [
        ("Reporting-MTA", f"dns; {ascii_only(reporter.hostname, 255)}"),
        ("X-Relay-Queue-Id", message.queue_id),
        ("Arrival-Date", formatdate(message.arrived_at, localtime=True)),
    ]
    status.attach(_block(of_message))
    for recipient in told:
        status.attach(_block(_of_recipient(recipient, reporter, last_attempt_at)))
    return status


def _of_recipient(
    recipient: Recipient, reporter: Reporter, last_attempt_at: float | None
) -> list[tuple[str, str]]:
    """RFC 3464 section 2.3, in its order."""
    fields = [
        ("Final-Recipient", _typed(recipient.address)),
        ("Action", "failed"),
        ("Status", _status(recipient)),
    ]
    if remote_mta := reporter.remote_mta(recipient):
        fields.append(("Remote-MTA", f"dns; {remote_mta}"))
    if reply := _senders_reply(recipient):
        fields.append(("Diagnostic-Code", f"smtp; {ascii_only(str(reply))}"))
    if last_attempt_at is not None:
        fields.append(("Last-Attempt-Date", formatdate(last_attempt_at, localtime=True)))
    return fields


def _block(fields: Sequence[tuple[str, str]]) -> MimePart:
    block = MimePart()
    for name, value in fields:
        block[name] = value
    return block


def _status(recipient: Recipient) -> str:
    """The actual problem's, where a reply names it, even for what expired (RFC 3463, X.4.7)."""
    reply = _senders_reply(recipient)
    if reply and reply.enhanced_status and reply.enhanced_status[0] in "45":
        return reply.enhanced_status
    if recipient.state is State.EXPIRED:
        return _EXPIRED_STATUS
    return _STATUS_OF_CAUSE.get(recipient.cause, _FAILED_STATUS)


def _typed(address: str) -> str:
    """ "rfc822; address", its domain in A-label form; what can't be ASCII is "utf-8; address" in
    the form of 7 bits (RFC 6533 section 3, utf-8-addr-xtext)."""
    local, at, domain = address.rpartition("@")
    if local.isascii() and (ascii_address := f"{local}{at}{a_label(domain)}").isascii():
        return f"rfc822; {ascii_only(ascii_address, LONGEST_VALUE_BYTES)}"
    escaped = ""
    for character in clean(address, LONGEST_VALUE_BYTES):
        plain = "!" <= character <= "~" and character not in "\\+="
        piece = character if plain else f"\\x{{{ord(character):02X}}}"
        if len(escaped) + len(piece) > LONGEST_VALUE_BYTES:
            break
        escaped += piece
    return f"utf-8; {escaped}"


def _headers_part(header: bytes) -> MimePart:
    """Without the blank line (RFC 6522 section 4), whole lines, quoted-printable where 8-bit."""
    lines = unstuffed(header.removesuffix(b"\r\n") if header.endswith(b"\r\n\r\n") else header)
    if len(lines) > _MOST_HEADER_BYTES:
        lines = lines[: lines.rfind(b"\r\n", 0, _MOST_HEADER_BYTES) + 2]
    if _NEEDS_ENCODING.search(lines):
        return encoded_part("text/rfc822-headers", lines)
    plain = part("text/rfc822-headers")
    plain.set_payload(lines.decode("ascii"))
    return plain
