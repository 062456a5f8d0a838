"""Looks for the end of the content and brings it into wire form, without any input or output.

Wire form: CRLF line ends, dot-stuffed. Clean content passes as it came. No sequence of octets can
come out as an end of data that was none coming in (RFC 5321 section 4.1.1.4, and the smuggling
attacks of 2023, CVE-2023-51764 and its kin).
"""

import re

# A line of 998 octets with its CRLF (RFC 5322 section 2.1.1).
_LONGEST = 998
_WINDOW = _LONGEST + 2

_END = b"\r\n.\r\n"
_LF_END = re.compile(rb"(?:\A|\n)(\.\r?\n)")
_BARE = re.compile(rb"(?:\r(?!\n)|(?<!\r)\n)(\.?)")
_BARE_CR = re.compile(rb"\r(?!\n)(\.?)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
# NUL beside it is no help: there are servers that throw it away before they look for the end.
_LONE_DOT = re.compile(rb"(?:\A|(?<=\r\n))(\0*\.\0*)(?=\r\n)")


class LineTooLong(Exception):
    """A line has more octets than ``limits.line_length``."""


class DataReader:
    """Feed it octets; it returns whole lines in wire form until ``done``.

    ``lf_mode`` is that of a session whose commands end in a bare LF; only there does a dot between
    bare LFs end the content. ``rest`` holds what came behind the end.
    """

    def __init__(self, *, lf_mode: bool, line_length: int) -> None:
        self._lf_mode = lf_mode
        self._line_length = line_length
        self._held = b""
        self._true_line_start = True
        self.done = False
        self.rest = b""

    def feed(self, octets: bytes) -> bytes:
        """Raises LineTooLong; whoever goes on feeding then (to find the end) keeps the mode."""
        octets = self._held + octets if self._held else octets
        self._held = b""
        lines = self._take_lf_lines(octets) if self._lf_mode else self._take_crlf_lines(octets)
        # The CR of its end may be there already.
        if len(self._held) - self._held.endswith(b"\r") > self._line_length:
            self._skip_held()
            raise LineTooLong
        if not lines:
            return b""
        wire = self._normalised(lines)
        self._true_line_start = self._lf_mode or lines.endswith(b"\r\n")
        if _longest_line_exceeds(wire, self._line_length):
            raise LineTooLong
        return wire

    def _take_crlf_lines(self, octets: bytes) -> bytes:
        """The whole lines at the front; sets ``_held`` or, at the end of the data, ``rest``."""
        if self._true_line_start and octets.startswith(_END[2:]):
            self.done, self.rest = True, octets[3:]
            return b""
        end = octets.find(_END)
        if end >= 0:
            self.done, self.rest = True, octets[end + 5 :]
            return octets[: end + 2]
        # Behind a bare LF or CR too, so that content full of them neither piles up nor passes for
        # one long line. A CR in the last place may be half of a CRLF.
        cut = max(octets.rfind(b"\n"), octets.rfind(b"\r", 0, -1)) + 1
        self._held = octets[cut:]
        return octets[:cut]

    def _take_lf_lines(self, octets: bytes) -> bytes:
        match = _LF_END.search(octets)
        if match:
            self.done, self.rest = True, octets[match.end() :]
            return octets[: match.start(1)]
        cut = octets.rfind(b"\n") + 1
        self._held = octets[cut:]
        return octets[:cut]

    def _skip_held(self) -> None:
        """Forget a line that is too long, but for what may be the beginning of its end."""
        self._held = b"x" + self._held[-4:]

    def _normalised(self, lines: bytes) -> bytes:
        """CRLF everywhere; a dot behind a line end that the client did not mean as one is stuffed,
        and a line of a lone dot too, since the true end is not among ``lines``."""
        if self._lf_mode:
            return self._normalised_lf(lines)
        line_ends = lines.count(b"\r\n")
        if _count(lines, b"\n") == line_ends == _count(lines, b"\r") and self._true_line_start:
            return lines if b"\0" not in lines else _LONE_DOT.sub(rb".\1", lines)
        if not self._true_line_start and lines.startswith(b"."):
            lines = b"." + lines
        return _LONE_DOT.sub(rb".\1", _BARE.sub(_stuffed, lines))

    def _normalised_lf(self, lines: bytes) -> bytes:
        return _LONE_DOT.sub(rb".\1", _BARE_LF.sub(b"\r\n", _BARE_CR.sub(_stuffed, lines)))


def _count(octets: bytes, one: bytes) -> int:
    """As ``octets.count(one)``, which searches anew behind each: 15 ms for 10 MB of mail, not 4."""
    return len(octets) - len(octets.replace(one, b""))


def _stuffed(match: re.Match[bytes]) -> bytes:
    return b"\r\n.." if match[1] else b"\r\n"


def _longest_line_exceeds(wire: bytes, octets: int) -> bool:
    """Steps from line end to line end at most a window apart: 1 ms for 10 MB of mail."""
    window = octets + 2
    position, length = 0, len(wire)
    while length - position > window:
        line_end = wire.rfind(b"\n", position, position + window)
        if line_end < 0:
            return True
        position = line_end + 1
    return False


def folded(wire: bytes) -> bytes:
    """Whole lines in wire form, those over 998 octets folded with CRLF SP between characters."""
    if not _longest_line_exceeds(wire, _LONGEST):
        return wire
    return b"\r\n".join(_folded_line(line) for line in wire.split(b"\r\n"))


def _folded_line(line: bytes) -> bytes:
    if len(line) <= _LONGEST:
        return line
    pieces = []
    room = _LONGEST
    while len(line) > room:
        cut = _character_boundary(line, room)
        pieces.append(line[:cut])
        line = line[cut:]
        room = _LONGEST - 1
    pieces.append(line)
    return b"\r\n ".join(pieces)


def _character_boundary(line: bytes, at: int) -> int:
    """``at``, or up to three octets before it where that would split a UTF-8 sequence."""
    for cut in range(at, at - 4, -1):
        if line[cut] & 0xC0 != 0x80:
            return cut
    return at
