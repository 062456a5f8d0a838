"""Pauses as people and programs are told of them, wherever a verb meets one."""

import time
from typing import TYPE_CHECKING, Any

from relay.cli import output

if TYPE_CHECKING:
    from relay.model.pause import Held, Pause

OPEN = "open"
_PAUSED = "paused"
# The next message is the probe; without one to send, nobody finds out.
_PROBE_DUE = "probe due"


def row(held: "Held", pause: "Pause | None") -> dict[str, Any]:
    """``tenant`` and ``sender`` are null where it is the whole upstream. ``until`` is when it is
    probed next, or when a pause by hand ends; null: when somebody resumes it."""
    from relay.record.audit import rfc3339

    return {
        "upstream": held.upstream,
        "tenant": held.tenant or None,
        "sender": held.sender or None,
        "state": state(pause) if pause else OPEN,
        "cause": pause.cause if pause else None,
        "detail": (pause.detail or None) if pause else None,
        "remedy": remedy(pause) if pause else None,
        "since": rfc3339(pause.since) if pause else None,
        "until": rfc3339(pause.until) if pause and pause.until is not None else None,
        "failures": pause.failures if pause else 0,
        "actor": pause.actor if pause else None,
        "reason": (pause.reason or None) if pause else None,
    }


def state(pause: "Pause") -> str:
    return _PAUSED if pause.until is None or pause.until > time.time() else _PROBE_DUE


def is_over(pause: "Pause", now: float) -> bool:
    """One by hand, with an end, that no relay was running to sweep away."""
    return pause.by_hand and pause.until is not None and pause.until <= now


def remedy(pause: "Pause") -> str | None:
    from relay.model.causes import REMEDIES

    return REMEDIES[pause.cause] if pause.cause else None


def why(pause: "Pause") -> str:
    """In a few words: the cause, or who has paused it with which reason."""
    if pause.by_hand:
        return f"{pause.reason} ({pause.actor})"
    return str(pause.cause or "-")


def end(pause: "Pause") -> str:
    """In a few words: when it will be tried again."""
    if pause.until is None:
        return "resumed by hand"
    return output.until(pause.until)


def sentence(pause: "Pause") -> str:
    """All of it: what is held back, since when, until when, why, and what to do about it."""
    text = f"{subject(pause.held)}, paused {output.since(pause.since)} ago"
    if pause.by_hand:
        text += f" by {pause.actor}: {pause.reason}"
        if pause.until is None:
            return f"{text}\nuntil somebody resumes it: relay upstream resume {pause.held.upstream}"
        return f"{text}\nuntil {output.moment(pause.until)}"
    detail = f" ({pause.detail})" if pause.detail else ""
    text += f": {pause.cause or 'unknown cause'}{detail}\nnext tried {end(pause)}"
    told = remedy(pause)
    return f"{text}\n{told}" if told else text


def subject(held: "Held") -> str:
    """upstream, the tenant's way through it, or the sender's mail on it."""
    if held.sender:
        return f"{held.sender} on {held.upstream}"
    return f"{held.tenant} on {held.upstream}" if held.tenant else held.upstream
