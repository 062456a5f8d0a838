"""The SMTP dialogue: any commands, in any order, in any pieces, over a real socket.

Invariants. One reply for each command line, in their order, as a slow model of the session has
them. A message is kept if and only if it got 250, under the envelope that was said and no other. A
fault of ours is never a 5yz. A session ends when its client is silent for too long, wherever that
is. Whatever one client does, another is served.
"""

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from argon2 import PasswordHasher
from fuzz.fuzzing import bounded, cut, target
from fuzz.listening import Place, accepting
from fuzz.reading import read_slowly
from hypothesis import example, given
from hypothesis import strategies as st
from support.certificates import Certificates

IDLE_S = 0.4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    limits = {"line_length": "1KiB", "message_size": "64KiB", "recipients": 3}
    with accepting(tmp_path_factory.mktemp("dialogue"), limits=limits) as place:
        yield place


# Each with its reply outside of a transaction, and within one; MAIL, RCPT, DATA are the model's.
_SIMPLE = {
    b"EHLO x": "250", b"HELO x": "250", b"EHLO": "501", b"RSET": "250", b"NOOP": "250",
    b"noop x": "250",
    b"HELP": "214", b"VRFY x": "252", b"EXPN x": "502", b"STARTTLS": "503", b"\x01\x02": "500",
    b"NO\0OP": "500", b"NO\rOP": "500", b"MAIL": "501", b"MAIL FROM:<a@acme.example": "501",
    b"MAIL FROM:<a b@acme.example>": "553", b"MAIL FROM:<a@acme.example> X=1": "555",
    b"NOOP " + b"x" * 5000: "500",
}  # fmt: skip
_UNKNOWN = (b"", b"XYZZY", b"\xff\xfe", b"MAILFROM", b".", b"Subject: x")
_MAILS = {b"MAIL FROM:<a@acme.example>": "a@acme.example",
          b"mail from: b@acme.example": "b@acme.example",
          b"MAIL FROM:<>": "", b"MAIL FROM:<@r.example:c@acme.example> SIZE=10": "c@acme.example",
          b"MAIL FROM:<evil@acme.example>": "evil@acme.example"}  # fmt: skip
_RCPTS = {b"RCPT TO:<x@x.example>": "x@x.example", b"RCPT TO: y@x.example": "y@x.example",
          b'RCPT TO:<"RCPT TO:<z>"@x.example>': '"RCPT TO:<z>"@x.example',
          b"RCPT TO:<nobody>": None,
          b"RCPT TO:<x@x.example> NOTIFY=NEVER": "x@x.example",
          b"rcpt to:<w@x.example>": "w@x.example"}  # fmt: skip
_CONTENTS = (b"Subject: x\r\n\r\nhello", b"", b"a\n.\nMAIL FROM:<evil@acme.example>", b"..", b".x",
             b"\r\n.\n", b"\r\n\0.\r\nDATA", b"y" * 2000, b"z" * 70_000, b"\r.\r",
             b"QUIT")  # fmt: skip

_lines = st.sampled_from([*_SIMPLE, *_UNKNOWN, *_MAILS, *_MAILS, *_RCPTS, *_RCPTS, b"DATA"])
_ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
_message = st.tuples(st.sampled_from(list(_MAILS)), st.sampled_from(list(_RCPTS)),
                     st.sampled_from(_CONTENTS), _ends).map(
    lambda it: it[3].join((it[0], it[1], b"DATA", it[2], b".", b""))
)  # fmt: skip
_streams = st.lists(
    st.tuples(_lines, _ends).map(b"".join)
    | _message
    | st.tuples(st.just(b"DATA"), _ends, st.sampled_from(_CONTENTS), _ends, st.just(b"."),
    _ends).map(b"".join),
    max_size=14,
).map(b"".join)  # fmt: skip


@dataclass
class Model:
    """The session as it should be, line by line. ``replies`` are codes."""

    outcomes: list[str]
    replies: list[str] = field(default_factory=list)
    kept: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    sender: str | None = None
    recipients: dict[str, None] = field(default_factory=dict)
    unknown: int = 0
    lf_mode: bool | None = None
    over: bool = False

    def hear(self, stream: bytes) -> None:
        while not self.over and b"\n" in stream:
            line, _, stream = stream.partition(b"\n")
            if self.lf_mode is None:
                self.lf_mode = not line.endswith(b"\r")
            line = line.rstrip(b"\r")
            if line == b"DATA" and self.sender is not None and self.recipients:
                self.replies.append("354")
                read = read_slowly(stream, lf_mode=bool(self.lf_mode))
                if read.rest is None:
                    return
                stream = read.rest
                self._content([line.wire for line in read.lines])
            else:
                self.replies.append(self._reply(line))

    def _content(self, lines: list[bytes]) -> None:
        sender, recipients = self.sender, tuple(self.recipients)
        self._forget()
        if any(len(line) > 1024 for line in lines):
            self.replies.append("500")
            return
        if sum(len(line) + 2 for line in lines) > 64 << 10:
            self.replies.append("552")
            return
        outcome = self.outcomes.pop(0) if self.outcomes else "ok"
        code = {"ok": "250", "store": "452", "full": "452", "bug": "421"}[outcome]
        self.replies.append(code)
        self.over = code == "421"
        if code == "250":
            self.kept.append((sender or "", recipients))

    def _forget(self) -> None:
        self.sender, self.recipients = None, {}

    def _reply(self, line: bytes) -> str:
        if line in _MAILS:
            if self.sender is not None:
                return "503"
            self.sender = _MAILS[line]
            return "250"
        if line in _RCPTS:
            return self._rcpt(_RCPTS[line])
        if line == b"DATA":
            return "503"
        if line.split(b" ")[0] == b"MAIL" and self.sender is not None:
            return "503"
        if line in (b"EHLO x", b"HELO x", b"RSET"):
            self._forget()
        if line in _SIMPLE:
            return _SIMPLE[line]
        if line == b"QUIT":
            self.over = True
            return "221"
        if len(line) > 4096 or re.search(rb"[\x00-\x08\x0a-\x1f]", line):
            return "500"
        self.unknown += 1
        self.over = self.unknown > 10
        return "421" if self.over else "500"

    def _rcpt(self, address: str | None) -> str:
        if self.sender is None:
            return "503"
        if address is None:
            return "550"
        if len(self.recipients) >= 3:
            return "452"
        self.recipients[address] = None
        return "250"


@target
@bounded(250)
@given(
    stream=_streams,
    lengths=st.lists(st.integers(1, 40), max_size=12),
    outcomes=st.lists(st.sampled_from(["ok", "store", "bug", "full"]), max_size=4),
    stay=st.booleans(),
)
@example(
    stream=b"EHLO x\r\n" + b"NOOP " + b"x" * 5000 + b"\r\nNOOP\r\n",
    lengths=[4200],
    outcomes=[],
    stay=True,
)
def test_every_line_has_its_reply_and_a_message_its_promise(
    place: Place, stream: bytes, lengths: list[int], outcomes: list[str], stay: bool
) -> None:
    place.shelf.outcomes[:], place.shelf.kept[:] = list(outcomes), []
    model = Model(list(outcomes))
    model.hear(stream)
    with place.client() as client:
        try:
            client.send(*cut(stream, lengths))
            # Half a close is not the end: what came before it is answered.
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            assert model.over
        if stay:
            with place.client() as other:
                assert other.ask("NOOP").startswith("250")
        codes = [reply[:3] for reply in client.everything()]
    # Replies to what was said behind an error of ours may be lost with the connection.
    assert codes == model.replies[: len(codes)]
    assert len(codes) == len(model.replies) or model.over
    kept = [(m.reverse_path, tuple(r.address for r in m.recipients)) for m in place.shelf.kept]
    assert kept == model.kept


@target
@bounded(150)
@given(octets=st.binary(max_size=200), lengths=st.lists(st.integers(1, 9), max_size=9))
def test_garbage_keeps_nothing_and_harms_nobody(
    place: Place, octets: bytes, lengths: list[int]
) -> None:
    place.shelf.kept.clear()
    with place.client() as client:
        try:
            client.send(*cut(octets, lengths))
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        codes = [reply[:3] for reply in client.everything()]
    assert len(codes) <= octets.count(b"\n")
    assert all(code.isdigit() for code in codes)
    assert place.shelf.kept == []


def test_a_client_that_goes_in_the_middle_leaves_nothing(place: Place) -> None:
    dialogue = (
        b"EHLO x\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<x@x.example>\r\nDATA\r\n"
        b"Subject: x\r\n\r\nhello\r\n.\r"
    )
    place.shelf.kept.clear()
    for size in range(1, len(dialogue) + 1):
        with place.client() as client:
            client.send(dialogue[:size])
    with place.client() as client:
        assert client.ask("NOOP").startswith("250")
    assert place.shelf.kept == []


@pytest.mark.parametrize(
    "said",
    [b"", b"EH", b"EHLO x\r\nMAIL FROM:<a@acme.example>\r\n", b"EHLO x\r\nAUTH LOGIN\r\n",
     b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<x@x.example>\r\nDATA\r\n",
     b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<x@x.example>\r\nDATA\r\nSubject: x\r\n\r\n.\r"],
    ids=["nothing", "half a command", "MAIL", "AUTH", "DATA", "content"],
)  # fmt: skip
def test_a_silent_client_is_told_and_left(tmp_path: Any, said: bytes) -> None:
    sections: dict[str, Any] = {
        "timeouts": {"session_idle": f"{IDLE_S * 1000:.0f}ms"},
        "listener": {"auth": "optional"},
        "clients": {"users": {"crm": {"password_hash": PasswordHasher(1, 8, 1).hash("x")}}},
    }
    with accepting(tmp_path, **sections) as place:
        with place.client() as client:
            client.send(said)
            began = time.monotonic()
            assert client.everything()[-1].startswith("421 4.4.2")
            assert time.monotonic() - began < 20 * IDLE_S
        assert place.shelf.kept == []


def test_nothing_said_in_the_clear_counts_behind_tls(
    tmp_path: Any, certificates: Certificates
) -> None:
    """Line ends of a command that somebody between had sent ahead of the client's own set the mode
    in which its content was read, so that LF.LF ended it (RFC 3207 section 4.2)."""
    files = {"cert_file": str(tmp_path / "c.pem"), "key_file": str(tmp_path / "k.pem")}
    certificates.write_leaf(tmp_path / "c.pem", tmp_path / "k.pem")
    listener = {"tls": "starttls"} | files
    with accepting(tmp_path, listener=listener) as place, place.client() as client:
        client.send(b"NOOP\nMAIL FROM:<evil@acme.example>\nRSET\n")
        assert [client.reply()[:3] for _ in range(3)] == ["250"] * 3
        assert client.ask("EHLO client.example").startswith("250")
        client.send(b"STARTTLS\r\n")
        assert client.reply().startswith("220")
        client.secure(certificates.client())
        client.send(b"EHLO x\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<x@x.example>\r\nDATA\r\n"
                    b"Subject: x\r\n\r\nfirst\n.\nMAIL FROM:<evil@acme.example>\r\n.\r\n"
                    b"QUIT\r\n")  # fmt: skip
        codes = [reply[:3] for reply in client.everything()]
    assert codes == ["250", "250", "250", "354", "250", "221"]
    (kept,) = place.shelf.kept
    assert b"evil" in b"".join(kept.content.chunks or ())


def test_what_was_sent_ahead_of_a_handshake_is_not_obeyed(
    tmp_path: Any, certificates: Certificates
) -> None:
    files = {"cert_file": str(tmp_path / "c.pem"), "key_file": str(tmp_path / "k.pem")}
    certificates.write_leaf(tmp_path / "c.pem", tmp_path / "k.pem")
    listener = {"tls": "starttls"} | files
    with accepting(tmp_path, listener=listener) as place, place.client() as client:
        client.send(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@acme.example>\r\nNOOP\r\n")
        assert client.reply().startswith("250")
        assert client.reply().startswith("220")
        client.secure(certificates.client())
        assert client.ask("RCPT TO:<x@x.example>").startswith("503")
