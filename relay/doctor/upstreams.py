"""An upstream's own: its certificate and its secrets, as they were found by those who may look."""

from datetime import UTC, datetime

from relay.config.files import EXPIRES_SOON_S
from relay.doctor.finding import Finding, Verdict


def certificate_finding(upstream: str, expires_at: float, now: float) -> Finding:
    """Of a server whose certificate was verified; ``expires_at`` in Unix seconds."""
    day = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d")
    days = int((expires_at - now) / 86400)
    if expires_at <= now:
        text = f"the certificate expired on {day}; its owner has to renew it"
        return Finding("tls", Verdict.RED, text, upstream=upstream)
    text = f"the certificate holds until {day}"
    if expires_at - now < EXPIRES_SOON_S:
        text += f", for {days} days only: its owner should renew it now"
    return Finding("tls", Verdict.GREEN, text, upstream=upstream)


def unreached_finding(upstream: str, why: str) -> Finding:
    """No certificate was seen, or none that may be trusted."""
    return Finding("tls", Verdict.RED, why, upstream=upstream)


def plaintext_finding(upstream: str) -> Finding:
    return Finding("tls", Verdict.GREEN, "no TLS, which is for loopback only", upstream=upstream)


def secrets_finding(upstream: str, references: list[str], troubles: list[str]) -> Finding:
    """``references`` say where each secret is kept, ``troubles`` why one can't be read."""
    if troubles:
        return Finding("secrets", Verdict.RED, "; ".join(troubles), upstream=upstream)
    text = f"readable: {', '.join(references)}" if references else "it has none, and needs none"
    return Finding("secrets", Verdict.GREEN, text, upstream=upstream)
