"""The message: read from standard input, its recipients found, kept in the form it travels in."""

import io
from collections.abc import Iterator

from relay.sendmail.addresses import addresses, user, with_domain
from relay.sendmail.errors import EX_DATAERR, SendError
from relay.sendmail.options import Options

_MIB = 1024 * 1024
_BLOCK_BYTES = 64 * 1024


class Input:
    """Standard input, up to its end or the lone dot; lines end with LF, with CRLF or both."""

    def __init__(self, stream: io.BufferedIOBase, dot_ends: bool) -> None:
        self._stream = stream
        self._dot_ends = dot_ends
        self._ended = False

    def line(self) -> bytes:
        """One line with its end; b"" at the end."""
        line = b"" if self._ended else self._stream.readline(_MIB)
        if len(line) == _MIB:
            raise SendError(EX_DATAERR, "the message has a line of more than 1 MiB")
        if not line or (self._dot_ends and line.rstrip(b"\r\n") == b"."):
            self._ended = True
            return b""
        return line

    def blocks(self) -> Iterator[bytes]:
        """What is left, in pieces that end where a line ends."""
        lines: list[bytes] = []
        size = 0
        while line := self.line():
            lines.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)


class Content:
    """A message in wire form (CRLF line ends, dot-stuffed); on disk from 1 MiB on.

    It is taken whole before the listener is asked: a slow program, whose output cron hands on line
    by line, would outlast the listener's patience.
    """

    def __init__(self) -> None:
        self._file: io.BufferedIOBase = io.BytesIO()
        self.size = 0
        self.is_ascii = True

    def write(self, text: bytes) -> None:
        """Whole lines, with any line ends."""
        lines = b"\n" + text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n")
        octets = lines.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")[2:] + b"\r\n"
        self.size += len(octets)
        self.is_ascii = self.is_ascii and octets.isascii()
        if self.size > _MIB and isinstance(self._file, io.BytesIO):
            self._file = _on_disk(self._file)
        self._file.write(octets)

    def blocks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            yield block


def _on_disk(memory: io.BytesIO) -> io.BufferedRandom:
    import tempfile  # weighs more than all the rest, and is seldom needed

    file = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the content is needed
    file.write(memory.getbuffer())
    return file


class Mail:
    """A message read from standard input: its recipients, and its content as it is to be sent."""

    def __init__(self, source: Input, options: Options, sender: bytes) -> None:
        self.content = Content()
        self._fields: list[bytes] = []
        first_of_body = self._read_fields(source)
        recipients = options.recipients
        if options.recipients_from_header:
            recipients = recipients + self._header_recipients()
            self._remove({b"bcc", b"resent-bcc"})
        self.recipients = list(dict.fromkeys(recipients))
        if options.name and not self._has({b"from"}):
            author = sender or with_domain(user())
            self._fields.append(b"From: " + display_name(options.name) + b" <" + author + b">")
        self._write(first_of_body, source)

    def _read_fields(self, source: Input) -> bytes:
        """Fill the fields; returns the line that ended them where it belongs to the body.

        A bare CR is no line end here, whatever a server makes of it: it could smuggle in a field.
        """
        while line := source.line():
            text = line.rstrip(b"\r\n").replace(b"\r", b" ").replace(b"\0", b" ")
            if not text:
                break
            if text[:1] in (b" ", b"\t") and self._fields:
                self._fields[-1] += b"\n" + text
            elif _is_field(text):
                self._fields.append(text)
            elif self._fields or not text.startswith((b"From ", b">From ")):
                return line
        return b""

    def _write(self, first_of_body: bytes, source: Input) -> None:
        for header_field in self._fields:
            self.content.write(header_field + b"\n")
        self.content.write(b"\n")
        if first_of_body:
            self.content.write(first_of_body)
        for block in source.blocks():
            if block:
                self.content.write(block)

    def _has(self, names: set[bytes]) -> bool:
        return any(_name(header_field) in names for header_field in self._fields)

    def _remove(self, names: set[bytes]) -> None:
        self._fields = [it for it in self._fields if _name(it) not in names]

    def _header_recipients(self) -> list[bytes]:
        """Those of a message sent again are named in Resent- fields, and only there."""
        names = {b"to", b"cc", b"bcc"}
        resent = {b"resent-" + name for name in names}
        if self._has(resent):
            names = resent
        found = []
        for header_field in self._fields:
            if _name(header_field) in names:
                found += addresses(header_field.partition(b":")[2])
        return found


def _is_field(line: bytes) -> bool:
    """A name of printable characters without a space, then a colon (RFC 5322 section 2.2)."""
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    return bool(colon and name) and all(33 <= octet <= 126 for octet in name)


def _name(header_field: bytes) -> bytes:
    return header_field.partition(b":")[0].strip().lower()


def display_name(name: bytes) -> bytes:
    """A quoted string, or encoded words (RFC 2047) where ASCII does not do; always one line."""
    text = "".join(c if c.isprintable() else " " for c in name.decode("utf-8", "replace")).strip()
    if text.isascii():
        return b'"' + text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    import binascii

    # An encoded word has at most 75 characters: 10 of four octets each are 68.
    pieces = [text[start : start + 10].encode() for start in range(0, len(text), 10)]
    words = [binascii.b2a_base64(piece, newline=False) for piece in pieces]
    return b"\n ".join(b"=?utf-8?B?" + word + b"?=" for word in words)
