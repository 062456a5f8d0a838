"""Lists of tags, as DKIM keys and DMARC policies are written: "v=DMARC1; p=none" (RFC 6376 3.2)."""

import re

_TAG = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.DOTALL)


def tags_of(text: str) -> dict[str, str]:
    """Names in lower case, in their order. ValueError with a sentence for what is no list of tags.

    One semicolon at the end is allowed.
    """
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    found: dict[str, str] = {}
    for part in parts:
        match = _TAG.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is no tag: write name=value, and ; between them")
        name = match[1].lower()
        if name in found:
            raise ValueError(f"the tag {name}= stands twice")
        found[name] = match[2]
    return found
