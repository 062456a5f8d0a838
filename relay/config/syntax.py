"""YAML's own complaints, in words for a person who wrote a colon too many.

Only the library's fixed texts and the shape of the line are used: what stood in the file might
be a secret.
"""

import re

import yaml

_ALIAS = (
    "a value that begins with * or & needs quotes (it is an alias of nothing else): "
    '"*.acme.example"'
)
TOO_DEEP = "is nested too deep"
_ADVICE = {
    TOO_DEEP: "what stands here is nested deeper than any configuration",
    "mapping values are not allowed in this context": "a colon can't stand here: the line is "
    "indented more than its neighbours, or a value with a colon in it needs quotes",
    "could not find expected ':'": "a key without its colon, or a line that is indented wrongly, "
    "stands just above",
    "did not find expected key": "this line's indentation fits none of the lines above it",
    "did not find expected '-' indicator": "this line is neither an item (-) of the list above it, "
    "nor indented like the key before the list",
    "did not find expected ',' or ']'": "a list [...] is not closed, or a comma is missing in it",
    "did not find expected ',' or '}'": "a mapping {...} is not closed, or a comma is missing in "
    "it",
    "found unexpected end of stream": "a quote is opened and never closed",
    "found character that cannot start any token": "a value that begins with this character "
    "needs quotes",
    "found undefined alias": _ALIAS,
    "did not find expected alphabetic or numeric character": _ALIAS,
    "found unknown escape character": "a backslash in double quotes begins an escape: use single "
    "quotes",
    "but found another document": "a second document begins here (---); there can be only one",
}
_BARE_IPV6 = re.compile(
    r"""(?:^|[\s,\[-])(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]:[0-9]+|::[0-9A-Fa-f])"""
)
_TAB = re.compile(r"^ *\t")


def in_words(error: yaml.YAMLError, octets: bytes) -> tuple[int, int, str]:
    """Line and column, 1-based, and what is wrong there."""
    if isinstance(error, yaml.reader.ReaderError):
        return _undecodable(error, octets)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return 1, 1, "is not YAML"
    problem = str(getattr(error, "problem", ""))
    opening = getattr(error, "context_mark", None)
    words = _advice_on(_line(octets, mark.line), problem)
    if opening and opening.line < mark.line:
        words += f" (it begins in line {opening.line + 1})"
    return mark.line + 1, mark.column + 1, words


def _advice_on(line: str, problem: str) -> str:
    if _TAB.match(line):
        return "a tab stands here: YAML is indented by spaces alone"
    if _BARE_IPV6.search(line):
        return 'an IPv6 address needs quotes: "[::1]:25", "::1/128"'
    return _ADVICE.get(problem, f"is not YAML: {problem}")


def _undecodable(error: yaml.reader.ReaderError, octets: bytes) -> tuple[int, int, str]:
    before = octets[: error.position].decode(errors="replace")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    if "control" in error.reason:
        return line, column, "a control character stands here"
    return line, column, "is not UTF-8 here: save the file as UTF-8"


def _line(octets: bytes, number: int) -> str:
    lines = octets.decode(errors="replace").split("\n")
    return lines[number] if number < len(lines) else ""
