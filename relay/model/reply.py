"""An SMTP reply (RFC 5321 section 4.2) with its enhanced status code (RFC 3463) taken apart."""

import re

from relay.model.value import value_class

# Of two lines or three, as long as they may be; a trail keeps it, and people read it.
_LONGEST_TEXT = 2000
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@value_class
class Reply:
    """``text`` holds the lines without code and enhanced status, joined by a space; of what a
    server has said no control characters, and no more than anybody reads."""

    code: int
    enhanced_status: str | None
    text: str

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 400

    @property
    def permanent(self) -> bool:
        return 500 <= self.code < 600

    def __str__(self) -> str:
        parts = (str(self.code), self.enhanced_status, self.text)
        return " ".join(part for part in parts if part)


def reply_from_lines(code: int, lines: list[str]) -> Reply:
    """A reply of one or more lines; the enhanced status is taken from the first that has one."""
    enhanced_status = None
    texts = []
    for line in lines:
        match = _ENHANCED.match(line)
        if match:
            enhanced_status = enhanced_status or match[1]
            line = line[match.end() :]
        if line:
            texts.append(line)
    return Reply(code, enhanced_status, _clean(" ".join(texts)))


def _clean(text: str) -> str:
    """It goes to terminals, and back to the application as a reply of our own."""
    text = text[:_LONGEST_TEXT]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
