"""Notices when a tenant's share of attempts that fail rises well above its own usual.

The last hour is held against the counts of about a week before, which fade with time. A tenant
that fails much anyway can't triple it: there it is told when half of what usually goes out fails.
"""

import math
from array import array

from relay.model.notice import Incident, IncidentKind

_BUCKET_S = 600
_BUCKETS = 6
_MEMORY_S = 7 * 86400.0
_FEWEST_ATTEMPTS = 20
# What is taken for usual before anything is known: a tenth of so many attempts.
_ASSUMED_ATTEMPTS = 20.0
_ASSUMED_TROUBLED = 2.0
_TIMES_USUAL = 3.0
_POINTS_ABOVE = 0.10
# About 400 bytes each.
_MOST_TENANTS = 10_000
_FADE = math.exp(-_BUCKET_S / _MEMORY_S)


class FailureRate:
    """The tenants seen last are remembered, ``most_tenants`` of them."""

    def __init__(self, most_tenants: int = _MOST_TENANTS) -> None:
        self._most = most_tenants
        self._records: dict[str, _Record] = {}

    def note(self, tenant: str, relayed: int, troubled: int, now: float) -> Incident | None:
        """Attempts that relayed, and those that failed or were deferred, by recipient. An incident
        the moment the share has risen, and not again until it has come down halfway."""
        record = self._records.pop(tenant, None) or _Record(now)
        self._records[tenant] = record
        if len(self._records) > self._most:
            del self._records[next(iter(self._records))]
        record.add(relayed, troubled, now)
        if not record.has_just_risen():
            return None
        return Incident(
            IncidentKind.FAILURE_RATE, tenant=tenant or None, detail=record.description()
        )


class _Record:
    """One tenant's counts: a ring of buckets for the last hour, two fading sums for before."""

    __slots__ = ("_bucket", "_raised", "_relayed", "_troubled", "_usual_relayed", "_usual_troubled")

    def __init__(self, now: float) -> None:
        self._relayed = array("Q", bytes(8 * _BUCKETS))
        self._troubled = array("Q", bytes(8 * _BUCKETS))
        self._bucket = int(now // _BUCKET_S)
        self._usual_relayed = self._usual_troubled = 0.0
        self._raised = False

    def add(self, relayed: int, troubled: int, now: float) -> None:
        self._turn_to(int(now // _BUCKET_S))
        place = self._bucket % _BUCKETS
        self._relayed[place] += relayed
        self._troubled[place] += troubled

    def has_just_risen(self) -> bool:
        was_raised = self._raised
        usual, share = self._usual(), self._share()
        threshold = max(min(_TIMES_USUAL * usual, (1 + usual) / 2), usual + _POINTS_ABOVE)
        if share > threshold and self._attempts() >= _FEWEST_ATTEMPTS:
            self._raised = True
        elif share < (usual + threshold) / 2:
            self._raised = False
        return self._raised and not was_raised

    def description(self) -> str:
        return (
            f"{self._share():.0%} of {self._attempts()} in the last hour were not relayed; "
            f"usual are {self._usual():.0%}"
        )

    def _turn_to(self, bucket: int) -> None:
        """What leaves the hour becomes part of the usual. A clock set back changes nothing."""
        gone = bucket - self._bucket
        if gone <= 0:
            return
        for step in range(1, min(gone, _BUCKETS) + 1):
            place = (self._bucket + step) % _BUCKETS
            self._usual_relayed += self._relayed[place]
            self._usual_troubled += self._troubled[place]
            self._relayed[place] = self._troubled[place] = 0
        fade = _FADE**gone
        self._usual_relayed *= fade
        self._usual_troubled *= fade
        self._bucket = bucket

    def _attempts(self) -> int:
        return sum(self._relayed) + sum(self._troubled)

    def _share(self) -> float:
        attempts = self._attempts()
        return sum(self._troubled) / attempts if attempts else 0.0

    def _usual(self) -> float:
        troubled = self._usual_troubled + _ASSUMED_TROUBLED
        return troubled / (self._usual_relayed + self._usual_troubled + _ASSUMED_ATTEMPTS)
