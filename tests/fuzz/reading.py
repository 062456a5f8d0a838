"""What RFC 5321 section 4.1.1.4 and docs/flow.md say of a content, octet by octet and as slowly as
can be: the measure for relay/accept/data.py, with none of its thoughts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """``true_start``: the client ended the line before it as a line, so that a dot is its own."""

    octets: bytes
    true_start: bool

    @property
    def wire(self) -> bytes:
        lone = self.octets.strip(b"\0") == b"."
        if lone or (self.octets.startswith(b".") and not self.true_start):
            return b"." + self.octets
        return self.octets


@dataclass(frozen=True)
class Read:
    """``rest`` is None where the content has no end."""

    lines: list[Line]
    rest: bytes | None

    @property
    def wire(self) -> bytes:
        return b"".join(line.wire + b"\r\n" for line in self.lines)


def read_slowly(octets: bytes, *, lf_mode: bool) -> Read:
    lines: list[Line] = []
    start, true_start, at = 0, True, 0
    while at < len(octets):
        end, is_true = _line_end(octets, at, lf_mode)
        if not end:
            at += 1
            continue
        line = Line(octets[start:at], true_start)
        if line.octets == b"." and true_start and is_true:
            return Read(lines, octets[at + end :])
        lines.append(line)
        at += end
        start, true_start = at, is_true
    return Read(lines, None)


def _line_end(octets: bytes, at: int, lf_mode: bool) -> tuple[int, bool]:
    """Its length, 0 if there is none, and whether the client means it as one."""
    if octets[at : at + 2] == b"\r\n":
        return 2, True
    if octets[at : at + 1] == b"\n":
        return 1, lf_mode
    if octets[at : at + 1] == b"\r":
        return 1, False
    return 0, False


def sloppy_ends(wire: bytes) -> list[bytes]:
    """What a server that takes any line end for one would take for the end of data in the wire."""
    spellings = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\0", b"\0\r\n")
    stream = b"\r\n" + wire
    return [a + b"." + b for a in spellings for b in spellings if a + b"." + b in stream]
