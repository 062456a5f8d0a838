"""Pauses as people and programs are told of them, wherever a verb meets one."""

import time
from typing import TYPE_CHECKING, Any

from relay.cli import output

if TYPE_CHECKING:
    from relay.model.pause import Held, Pause


def row(held: "Held", pause: "Pause | None") -> dict[str, Any]:
    from relay.record.rows import pause_row

    return pause_row(held, pause, time.time())


def state(pause: "Pause | None") -> str:
    return pause.state(time.time()) if pause else "open"


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
    return f"{text}\n{pause.remedy}" if pause.remedy else text


def subject(held: "Held") -> str:
    """upstream, the tenant's way through it, or the sender's mail on it."""
    if held.sender:
        return f"{held.sender} on {held.upstream}"
    return f"{held.tenant} on {held.upstream}" if held.tenant else held.upstream
