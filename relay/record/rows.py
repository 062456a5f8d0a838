"""What there is, as rows of JSON: the same wherever it is asked for, by a verb or over HTTP."""

from typing import Any

from relay.model.figures import Figures
from relay.model.pause import Held, Pause
from relay.model.toggle import Switch, Toggle
from relay.record.audit import rfc3339

Row = dict[str, Any]


def pause_row(held: Held, pause: Pause | None, now: float) -> Row:
    """``tenant`` and ``sender`` are null where it is the whole upstream. ``until`` is when it is
    probed next, or when a pause by hand ends; null: when somebody resumes it."""
    return {
        "upstream": held.upstream,
        "tenant": held.tenant or None,
        "sender": held.sender or None,
        "state": pause.state(now) if pause else "open",
        "cause": pause.cause if pause else None,
        "detail": (pause.detail or None) if pause else None,
        "remedy": pause.remedy if pause else None,
        "since": rfc3339(pause.since) if pause else None,
        "until": rfc3339(pause.until) if pause and pause.until is not None else None,
        "failures": pause.failures if pause else 0,
        "actor": pause.actor if pause else None,
        "reason": (pause.reason or None) if pause else None,
    }


def toggle_row(toggle: Toggle | None) -> Row:
    """Nulls where the configuration alone counts."""
    return {
        "actor": toggle.actor if toggle else None,
        "reason": toggle.reason if toggle else None,
        "since": rfc3339(toggle.at) if toggle else None,
        "until": rfc3339(toggle.until) if toggle and toggle.until else None,
    }


def switch_row(switch: Switch) -> Row:
    return {
        "tenant": switch.tenant,
        "enabled": switch.enabled,
        "enabled_in_file": switch.enabled_in_file,
    } | toggle_row(switch.toggle)


def figures_row(figures: Figures) -> Row:
    return {
        "sent": figures.sent,
        "deferred": figures.deferred,
        "failed": figures.failed,
        "expired": figures.expired,
        "mean_ms": _rounded(figures.mean_ms),
        "p95_ms": _rounded(figures.p95_ms),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
