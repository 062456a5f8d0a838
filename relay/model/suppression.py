"""Addresses that are not written to any more, because they are known not to exist."""

from enum import StrEnum

from relay.model.value import value_class


class Source(StrEnum):
    """Who put an address on the list; priority high passes over automatic entries alone."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    IMPORT = "import"


@value_class
class Suppression:
    """``tenant`` is "" for all tenants; ``address`` is canonical (model.address). ``at`` and
    ``until`` are in Unix seconds; ``until`` None: for ever. ``reason``: the upstream's words, or
    the person's."""

    tenant: str
    address: str
    source: Source
    reason: str
    actor: str
    at: float
    until: float | None = None


@value_class
class Strike:
    """A permanent refusal that means "no such mailbox". ``after`` of them on different days (UTC)
    suppress the address for the tenant; ``expire_s`` is how long."""

    tenant: str
    address: str
    reason: str
    at: float
    after: int
    expire_s: float
