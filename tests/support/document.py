"""The fenced blocks of a document, found by their heading: what it says to write or to run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_HEADING = re.compile(r"#+ (.+)")


@dataclass(frozen=True)
class Block:
    """``number`` counts the blocks of the same language under the same heading, from 0;
    ``chapter`` is the heading of the second level that it stands beneath."""

    chapter: str
    heading: str
    language: str
    number: int
    text: str


class Document:
    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (DOCS / name).read_text()
        self.blocks = list(_blocks(self.text.splitlines()))

    def block(self, heading: str, language: str, number: int = 0) -> str:
        """KeyError where the document has no such block."""
        for block in self.blocks:
            if (block.heading, block.language, block.number) == (heading, language, number):
                return block.text
        raise KeyError(f"no {language} block {number} under the heading {heading!r}")


def _blocks(lines: list[str]) -> Iterator[Block]:
    chapter, heading, language = "", "", ""
    found: dict[tuple[str, str], int] = {}
    inside: list[str] | None = None
    for line in lines:
        if inside is not None and line == "```":
            number = found.setdefault((heading, language), 0)
            found[heading, language] += 1
            yield Block(chapter, heading, language, number, "\n".join(inside) + "\n")
            inside = None
        elif inside is not None:
            inside.append(line)
        elif line.startswith("```"):
            language, inside = line.removeprefix("```"), []
        elif title := _HEADING.fullmatch(line):
            heading = title[1]
            chapter = heading if line.startswith("## ") else chapter
