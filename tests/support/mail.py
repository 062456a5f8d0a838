"""Messages to send, with bodies that ill-made software would change."""

import base64
import re
import smtplib

# Lines that look like the end, like stuffing and like a mailbox's; 8-bit text, spaces at the end
# of a line, a line as long as may be, an empty line at the end.
BODY = (
    b"Hello J\xc3\xb6rg,\r\n"
    b".\r\n"
    b"..\r\n"
    b".dot at the start\r\n"
    b"spaces at the end   \r\n"
    b"\ttab, =3D, 100 %, ~tilde\r\n"
    b"From here on it is long:\r\n" + b"x" * 998 + b"\r\n"
    b"\r\n"
    b"last line\r\n"
    b"\r\n"
)
# The same as programs of Unix write it.
UNIX_BODY = BODY.replace(b"\r\n", b"\n")


def message(sender: str, recipient: str, subject: str = "test", body: bytes = BODY) -> bytes:
    header = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n"
    mime = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return (header + mime).encode() + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body


# What the relay puts on top of every message from 127.0.0.1, where it is called relay.test.
RECEIVED = re.compile(
    rb"Received: from \S+ \(\[127\.0\.0\.1\]\)\r\n"
    rb"\tby relay\.test with E?SMTP id (?P<queue_id>\w+);\r\n\t[^\r\n]+\r\n"
)

_ATTACHMENT = base64.encodebytes(bytes(range(256)) * 40).replace(b"\n", b"\r\n")


def complete(sender: str, recipient: str, subject: str = "test", body: bytes = BODY) -> bytes:
    """A message to whose header a server has nothing to add, with an attachment."""
    header = (
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n"
        "Date: Thu, 01 Oct 2026 10:11:12 +0200\r\n"
        f"Message-ID: <{subject.replace(' ', '.')}.1@{sender.partition('@')[2]}>\r\n"
        "X-Long: " + "a folded field\r\n\t" * 20 + "of many lines\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=next\r\n\r\n"
    )
    text = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    file = (
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="octets.bin"\r\n\r\n'
    )
    parts = (text + body, file + _ATTACHMENT)
    return header.encode() + b"".join(b"--next\r\n" + p for p in parts) + b"--next--\r\n"


def send(port: int, sender: str, recipient: str, subject: str = "test", body: bytes = BODY) -> None:
    """As an application would, with smtplib; raises unless the relay says 250."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        content = message(sender, recipient, subject, body)
        client.sendmail(sender, [recipient], content, ["BODY=8BITMIME"])
