"""Reads named queries out of .sql files, so that SQL is read as SQL and Python as Python.

A query begins with ``-- name: NAME``; the comment lines below it say its purpose.
"""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def named_queries(file: Path) -> dict[str, str]:
    """The queries of a file by name; ValueError where a name comes twice."""
    text = file.read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{file}: {name} comes twice")
        queries[name] = _without_comments(body)
    return queries


def _without_comments(body: str) -> str:
    lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().removesuffix(";")
