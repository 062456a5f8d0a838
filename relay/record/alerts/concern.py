"""One trouble as one addressee follows it: what is new of it, and when it may be told again.

Told first when its news have been gathered, then at growing distances while it goes on. A pause
goes on until its end is noted; anything else, as long as there is news of it.
"""

from relay.model.causes import Cause
from relay.model.notice import Incident, IncidentKind
from relay.model.value import value_class

HOUR_S = 3600.0
DAY_S = 86400.0
# After the first telling, the second, and every further one.
_DISTANCES_S = (HOUR_S, 4 * HOUR_S, DAY_S)
# What has been quiet for so long is a new trouble when it comes again.
_FORGOTTEN_S = DAY_S
# Pauses that end before they would be told are nobody's concern, until there are so many.
_MOST_BLIPS = 3
_MOST_EXAMPLES = 5

PAUSES = frozenset({IncidentKind.UPSTREAM_PAUSED, IncidentKind.TENANT_WAY_PAUSED})


@value_class
class Key:
    """What makes incidents the same trouble."""

    kind: IncidentKind
    tenant: str | None = None
    upstream: str | None = None
    cause: Cause | None = None


@value_class
class Concern:
    """What an alert tells of one trouble. ``count`` incidents (of dead letters: messages) with
    ``recipients`` are new since the last telling, ``total`` there were in all; ``since`` the first,
    ``last_at`` the latest, ``ended_at`` if it is over. ``tenants`` are those it concerns: more than
    one of the same owner where an upstream is paused; none where nobody can be named.
    ``others``: incidents of many kinds of origin, summed up because there were too many.
    ``detail`` and ``own_remedy`` are of the same incident, the latest that had either.
    """

    kind: IncidentKind
    tenants: tuple[str, ...]
    upstream: str | None
    cause: Cause | None
    count: int
    recipients: int
    total: int
    queue_ids: tuple[str, ...]
    detail: str
    address: str
    since: float
    last_at: float
    ended_at: float | None
    others: bool
    own_remedy: str | None = None


class Trouble:
    """All times are Unix seconds."""

    __slots__ = (
        "_address",
        "_count",
        "_detail",
        "_ended_at",
        "_first_at",
        "_key",
        "_last_at",
        "_news_at",
        "_others",
        "_own_remedy",
        "_queue_ids",
        "_recipients",
        "_silent_until",
        "_times_told",
        "_told_as_open",
        "_total",
    )

    def __init__(self, key: Key, now: float, *, others: bool = False) -> None:
        self._key = key
        self._others = others
        self._first_at = self._last_at = now
        self._news_at: float | None = None
        self._ended_at: float | None = None
        self._count = self._recipients = self._total = self._times_told = 0
        self._queue_ids: list[str] = []
        self._detail = self._address = ""
        self._own_remedy: str | None = None
        self._silent_until = 0.0
        self._told_as_open = False

    def note(self, incident: Incident, now: float) -> None:
        if self._end_is_news:
            # Paused anew before its end was told: there is no end to tell of.
            self._news_at = None
        self._ended_at = None
        self._last_at = now
        self._count += incident.count
        self._total += incident.count
        self._recipients += incident.recipients
        if incident.detail or incident.own_remedy:
            self._detail, self._own_remedy = incident.detail, incident.own_remedy
        self._address = incident.address or self._address
        if incident.queue_id and len(self._queue_ids) < _MOST_EXAMPLES:
            self._queue_ids.append(incident.queue_id)
        if self._news_at is None:
            self._news_at = now

    def end(self, now: float) -> None:
        """Of a pause. Told if the pause was; if not, the pause itself isn't told any more."""
        if self._ended_at is not None:
            return
        self._ended_at = self._last_at = now
        if self._told_as_open:
            self._news_at = now
        elif self._total < _MOST_BLIPS:
            self._forget_news()

    def ripe_at(self, gather_s: float) -> float | None:
        """When it is to be told; None if there is nothing to tell."""
        if self._news_at is None:
            return self._silent_until if self._is_open else None
        gathered_at = self._news_at + gather_s
        return gathered_at if self._end_is_news else max(gathered_at, self._silent_until)

    @property
    def joins_any(self) -> bool:
        """Told for the first time, or told as over: it takes the next alert, whosever it is."""
        return self._news_at is not None and (not self._times_told or self._end_is_news)

    def tell(self, tenants: tuple[str, ...], now: float) -> Concern:
        concern = Concern(
            kind=self._key.kind,
            tenants=tenants,
            upstream=self._key.upstream,
            cause=self._key.cause,
            count=self._count,
            recipients=self._recipients,
            total=self._total,
            queue_ids=tuple(self._queue_ids),
            detail=self._detail,
            address=self._address,
            since=self._first_at,
            last_at=self._last_at,
            ended_at=self._ended_at,
            others=self._others,
            own_remedy=self._own_remedy,
        )
        if not self._end_is_news:
            distance = _DISTANCES_S[min(self._times_told, len(_DISTANCES_S) - 1)]
            self._silent_until = now + distance
            self._times_told += 1
        is_pause = self._key.kind in PAUSES and not self._others
        self._told_as_open = is_pause and self._ended_at is None
        self._forget_news()
        return concern

    def is_over(self, now: float) -> bool:
        """Nothing to tell, nothing open, and quiet for long."""
        quiet = self._news_at is None and not self._is_open
        return quiet and now - self._last_at >= _FORGOTTEN_S

    @property
    def _is_open(self) -> bool:
        """A pause that was told and goes on: it is told again by itself."""
        return self._told_as_open and self._ended_at is None

    @property
    def _end_is_news(self) -> bool:
        return self._told_as_open and self._ended_at is not None

    def _forget_news(self) -> None:
        self._news_at = None
        self._count = self._recipients = 0
        self._queue_ids = []
