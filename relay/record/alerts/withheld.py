"""The daily summary of suppressions: which addresses, for which tenant, how much was withheld.

To the tenant's owner, else to the operator, each morning (UTC) on which there is anything to tell.
The caller that feeds it from the trail at start loses nothing by a restart.
"""

from dataclasses import dataclass, field

from relay.model.notice import Incident
from relay.model.value import value_class
from relay.record.alerts.addressing import Addressee, Addressing

_DAY_S = 86400
_MORNING_S = 6 * 3600
# For each tenant and in all; what is beyond is counted.
_MOST_NAMED = 100
_MOST_NAMED_IN_ALL = 10_000


@value_class
class OfTenant:
    """``addresses``: how many messages were withheld from each, 0 where it was only suppressed;
    ``others`` counts what was withheld from addresses that are not named here."""

    tenant: str
    addresses: dict[str, int]
    others: int


@value_class
class Summary:
    """``since`` and ``at`` in Unix seconds."""

    addressee: Addressee
    tenants: tuple[OfTenant, ...]
    since: float
    at: float


@dataclass(slots=True)
class _Day:
    since: float
    addresses: dict[str, int] = field(default_factory=dict)
    others: int = 0


class Withheld:
    def __init__(self, addressing: Addressing) -> None:
        self._addressing = addressing
        self._days: dict[str, _Day] = {}
        self._named = 0
        self._next_at: float | None = None

    def configure(self, addressing: Addressing) -> None:
        self._addressing = addressing

    def note(self, incident: Incident, now: float) -> None:
        """A SUPPRESSED incident: of a message withheld from ``address``, or, where it has no
        queue_id, of the address having been put on the list."""
        day = self._days.setdefault(incident.tenant or "", _Day(now))
        withheld = 1 if incident.queue_id else 0
        address = incident.address
        if address not in day.addresses and self._has_room(day):
            self._named += 1
            day.addresses[address] = 0
        if address in day.addresses:
            day.addresses[address] += withheld
        else:
            day.others += withheld
        if self._next_at is None:
            self._next_at = _next_morning(now)

    @property
    def next_at(self) -> float | None:
        return self._next_at

    def due(self, now: float) -> list[Summary]:
        """One for each addressee."""
        if self._next_at is None or now < self._next_at:
            return []
        days, self._days, self._named, self._next_at = self._days, {}, 0, None
        told: dict[Addressee, list[tuple[str, _Day]]] = {}
        for tenant, day in sorted(days.items()):
            addressee = self._addressing.responsible(tenant)
            if addressee:
                told.setdefault(addressee, []).append((tenant, day))
        return [_summary(addressee, of_tenants, now) for addressee, of_tenants in told.items()]

    def _has_room(self, day: _Day) -> bool:
        return len(day.addresses) < _MOST_NAMED and self._named < _MOST_NAMED_IN_ALL


def _summary(addressee: Addressee, days: list[tuple[str, _Day]], now: float) -> Summary:
    tenants = tuple(OfTenant(tenant, day.addresses, day.others) for tenant, day in days)
    return Summary(addressee, tenants, min(day.since for _, day in days), now)


def _next_morning(now: float) -> float:
    morning = now // _DAY_S * _DAY_S + _MORNING_S
    return morning if morning > now else morning + _DAY_S
