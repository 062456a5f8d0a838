"""What was found: green, red or unknown, and for what is red the records that mend it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_STRING_OCTETS = 255  # RFC 1035 section 3.3: a TXT record is of strings no longer than that


class Verdict(StrEnum):
    """Unknown: the DNS did not answer, or only the provider can tell. It is no fault."""

    GREEN = "green"
    RED = "red"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Record:
    """A record to publish; ``value`` is None where only somebody else can tell it: the provider's
    console, or who runs the domain's mail."""

    name: str
    type: str
    value: str | None

    def __str__(self) -> str:
        """A line of a zone file."""
        return f"{self.name}. IN {self.type} {self._data}"

    @property
    def row(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "value": self.value}

    @property
    def _data(self) -> str:
        if self.value is None:
            return "(your mail server)" if self.type == "MX" else "(as the provider shows it)"
        if self.type != "TXT":
            return f"{self.value}."
        return " ".join(f'"{piece}"' for piece in _pieces(self.value))


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's word on one domain, or with ``domain`` None on an ``upstream`` itself."""

    check: str
    verdict: Verdict
    text: str
    domain: str | None = None
    upstream: str | None = None
    records: tuple[Record, ...] = ()

    @property
    def row(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "upstream": self.upstream,
            "check": self.check,
            "verdict": str(self.verdict),
            "text": self.text,
            "records": [record.row for record in self.records],
        }

    @property
    def subject(self) -> str:
        """What it is about, in one word: the domain, or the upstream."""
        return self.domain or self.upstream or ""


def quoted(text: str) -> str:
    """What stood in the DNS, on one line and not too long: anybody may have written it."""
    shown = json.dumps(text, ensure_ascii=True)
    return shown if len(shown) <= 120 else f'{shown[:116]}..."'


def _pieces(value: str) -> Iterator[str]:
    for start in range(0, len(value), _STRING_OCTETS):
        piece = value[start : start + _STRING_OCTETS]
        yield piece.replace("\\", "\\\\").replace('"', '\\"')
