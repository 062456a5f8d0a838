"""Messages to send, with bodies that ill-made software would change."""

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


def send(port: int, sender: str, recipient: str, subject: str = "test", body: bytes = BODY) -> None:
    """As an application would, with smtplib; raises unless the relay says 250."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        content = message(sender, recipient, subject, body)
        client.sendmail(sender, [recipient], content, ["BODY=8BITMIME"])
