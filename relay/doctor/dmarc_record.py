"""DMARC policies (RFC 7489 section 6.3), read from their TXT record."""

import re
from dataclasses import dataclass

from relay.doctor.tags import tags_of

_POLICIES = ("none", "quarantine", "reject")
_ALIGNMENTS = ("r", "s")
_REPORT_URI = re.compile(r"mailto:[^@\s,;!]+@[^@\s,;!]+(?:![0-9]+[kmgt]?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """``policy`` is of the domain itself, ``beneath`` of those below it; ``reports`` whether
    anybody gets them. ``percent``: of how much mail the policy is asked for."""

    text: str
    policy: str
    beneath: str
    strict_dkim: bool
    strict_spf: bool
    percent: int
    reports: bool


def is_dmarc(text: str) -> bool:
    """What does not begin so is another's record; it is not looked at (section 6.6.3)."""
    return re.match(r"v\s*=\s*DMARC1\s*(;|$)", text) is not None


def dmarc_record(text: str) -> DmarcRecord:
    """Raises ValueError with a sentence for what receivers would not take as it is meant."""
    tags = tags_of(text)
    policy = tags.get("p", "").lower()
    if "p" not in tags:
        raise ValueError("it has no policy (p=)")
    for name, words in (("p", _POLICIES), ("sp", _POLICIES), ("np", _POLICIES),
                        ("adkim", _ALIGNMENTS), ("aspf", _ALIGNMENTS)):  # fmt: skip
        _must_be_one_of(name, tags.get(name), words)
    _must_be_mailboxes("rua", tags.get("rua"))
    _must_be_mailboxes("ruf", tags.get("ruf"))
    return DmarcRecord(
        text=text,
        policy=policy,
        beneath=tags.get("sp", policy).lower(),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        percent=_percent(tags.get("pct", "100")),
        reports="rua" in tags,
    )


def _must_be_one_of(name: str, value: str | None, words: tuple[str, ...]) -> None:
    if value is not None and value.lower() not in words:
        raise ValueError(f"{name}={value} is none of {', '.join(words)}")


def _must_be_mailboxes(name: str, value: str | None) -> None:
    for uri in (value or "").split(",") if value is not None else ():
        if not _REPORT_URI.fullmatch(uri.strip()):
            raise ValueError(f"{name}={uri.strip()}: write mailto: and an address")


def _percent(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > 100:
        raise ValueError(f"pct={text} is no number from 0 to 100")
    return int(text)
