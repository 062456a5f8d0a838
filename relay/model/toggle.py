"""A tenant toggled on or off by an administrator; the store's word wins over the file's."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Toggle:
    """``at`` and ``until`` are in Unix seconds; ``until`` is None where it holds until changed."""

    tenant: str
    enabled: bool
    reason: str
    actor: str
    at: float
    until: float | None = None
