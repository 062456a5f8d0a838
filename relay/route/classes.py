"""Which class a message is in: the first, in the order of the file, whose conditions all hold."""

import hashlib
import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from relay.config.schema import Config, Match, MessageClass
from relay.model import header as headers
from relay.model.value import value_class

# An expression is the operator's, but what it is searched in is anybody's: backtracking over a
# long text could take the loop's time.
_LONGEST_SEARCHED = 1000


@value_class
class Facts:
    """What classes look at. ``header`` is the header section in wire form."""

    reverse_path: str
    recipients: tuple[str, ...]
    user: str | None
    header: bytes


def classes_key(config: Config) -> str:
    """Differs where the classes do; "" where there are none."""
    if not config.classes:
        return ""
    told = repr([(name, c.match) for name, c in config.classes.items()])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def class_of(classes: Mapping[str, MessageClass], facts: Facts) -> str:
    """The name of the class, "" for none."""
    fields = _Fields(facts.header)
    for name, one in classes.items():
        if _holds(one.match, facts, fields):
            return name
    return ""


def _holds(match: Match, facts: Facts, fields: "_Fields") -> bool:
    if match.sender and not any(p.matches(facts.reverse_path) for p in match.sender):
        return False
    if match.recipient and not any(
        pattern.matches(address) for pattern in match.recipient for address in facts.recipients
    ):
        return False
    if match.user and facts.user not in match.user:
        return False
    if match.subject and not fields.found("subject", match.subject):
        return False
    return all(fields.found(name, expression) for name, expression in match.header.items())


class _Fields:
    """The fields of a header section, taken apart when they are first asked for."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._values: dict[str, list[str]] | None = None

    def found(self, name: str, expression: re.Pattern[str]) -> bool:
        """Whether any field of that name has it in its decoded value."""
        if self._values is None:
            self._values = {}
            for field in headers.fields(self._header):
                value = _decoded(headers.value(self._header, field))
                self._values.setdefault(field.name.decode("ascii", "replace"), []).append(value)
        return any(expression.search(value) for value in self._values.get(name.lower(), ()))


def _decoded(value: bytes) -> str:
    text = value.decode("utf-8", "replace").strip()[:_LONGEST_SEARCHED]
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))[:_LONGEST_SEARCHED]
    except (HeaderParseError, LookupError, ValueError):
        return text
