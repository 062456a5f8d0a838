"""What a page shows of a terminal: the commands of its console blocks, and what they printed.

A command is a line that begins with "$ ". What stands below it is what it prints, compared as a
person would: times, durations, sizes, gaps between columns and the like may differ; a queue id, or
a sealed secret, may be another, but the same one throughout. "..." stands for anything: for lines
where it stands alone, for the rest of a line at its end. "^C" at the end: the command goes on until
it is interrupted.
"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from support.document import DOCS, Document

# Set to 1, a page is given the outputs that its commands had, where they are not as it says.
REWRITES = os.environ.get("RELAY_DOCS_REWRITE") == "1"

INTERRUPT = "^C\n"

_QUEUE_ID = r"\b0[0-9A-HJKMNP-TV-Z]{12}\b"
_SEALED = r"sealed:[\w+/=.:-]{20,}"
_UNIT = r"(?:ms|s|m|h|d)"
# What may differ, by how it looks; the same form is what it may become.
_VARYING = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z| UTC)?",
    r"\d{4}-\d\d-\d\d",
    r"\b[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4}\b",
    r"\b\d\d:\d\d:\d\d(?:\.\d+)?",
    rf"\b(?:in \d+(?:\.\d+)?{_UNIT}|now)\b",
    rf"\b\d+(?:\.\d+)? ?{_UNIT}\b",
    r"\b\d+(?:\.\d+)? ?(?:B|KiB|MiB|GiB)\b",
    r"\b\d+(?:\.\d+)? seconds\b",
    r"\bprocess \d+",
    r"<[\w.-]+@(?=web01\.example>)",
    r"\bTLSv1\.\d \w+",
    r'"(?:\w+_)?(?:ms|id|bytes|size|number|request|port)":[^,}]+',
    r" {2,}",
    r"-{3,}",
)
_TOKEN = re.compile("|".join(f"({form})" for form in (_QUEUE_ID, _SEALED, *_VARYING)))
_NAMED = 2  # the first forms keep what they became


@dataclass(frozen=True)
class Step:
    """A command and what the page says it prints."""

    command: str
    expected: str


def steps(block: str) -> Iterator[Step]:
    command = ""
    printed: list[str] = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            if command:
                yield Step(command, "".join(printed))
            command, printed = line[2:].rstrip("\n"), []
        else:
            printed.append(line)
    if command:
        yield Step(command, "".join(printed))


class Reader:
    """Compares, and remembers what the names of the page became."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def is_as_told(self, expected: str, printed: str) -> bool:
        groups: dict[str, str] = {}
        pattern = "".join(self._line(line, groups) for line in expected.splitlines())
        found = re.fullmatch(pattern, printed)
        if found:
            self.names |= {name: found[group] for name, group in groups.items()}
        return found is not None

    def named(self, text: str) -> str:
        """The text, with what the names in it became."""
        for name, became in self.names.items():
            text = text.replace(name, became)
        return text

    def told(self, text: str) -> str:
        """The text as the page would name what is in it."""
        for name, became in self.names.items():
            text = text.replace(became, name)
        return text

    def _line(self, line: str, groups: dict[str, str]) -> str:
        if line.strip() == "...":
            return r"(?:.*\n)*?"
        line, ends_open = line.removesuffix("..."), line.endswith("...")
        pattern, at = "", 0
        for token in _TOKEN.finditer(line):
            pattern += re.escape(line[at : token.start()]) + self._token(token, groups)
            at = token.end()
        return pattern + re.escape(line[at:]) + (".*" if ends_open else "") + r"\n"

    def _token(self, token: re.Match[str], groups: dict[str, str]) -> str:
        form, text = int(token.lastindex or 0), token[0]
        if form > _NAMED:
            return f"(?:{_VARYING[form - 1 - _NAMED]})"
        if text in self.names:
            return re.escape(self.names[text])
        if text in groups:
            return f"(?P={groups[text]})"
        groups[text] = f"name{len(groups)}"
        return f"(?P<{groups[text]}>{(_QUEUE_ID, _SEALED)[form - 1]})"


def difference(step: Step, printed: str) -> str:
    """For whoever reads why a test has failed."""
    lines = difflib.unified_diff(
        step.expected.splitlines(), printed.splitlines(), "the page", "what came", lineterm=""
    )
    return f"$ {step.command}\n" + "\n".join(lines)


def rewrite(page: Document, chapter: str, printed: Sequence[tuple[Step, str | None]]) -> None:
    """Give the steps of a chapter, in their order, these outputs; None where it stays as it is."""
    file = DOCS / page.name
    text = file.read_text()
    at = text.index(f"\n## {chapter}\n")
    for step, output in printed:
        told = f"$ {step.command}\n{step.expected}"
        at = text.index(told, at)
        end = INTERRUPT if step.expected.endswith(INTERRUPT) else ""
        new = told if output is None else f"$ {step.command}\n{output}{end}"
        text = text[:at] + new + text[at + len(told) :]
        at += len(new)
    file.write_text(text)
