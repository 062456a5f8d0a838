"""Gathers incidents into alerts: a broken provider makes one alert, not a thousand.

The first incident for an addressee opens a window of ``alerts.gather``; at its end one alert tells
all that has gathered. Memory is bounded, however many incidents come: beyond so many different
troubles the rest is summed up by kind. What was told is not remembered across a restart.
"""

from relay.model.notice import Incident, IncidentKind
from relay.model.value import value_class
from relay.record.alerts.addressing import Addressee, Addressing
from relay.record.alerts.concern import PAUSES, Concern, Key, Trouble

# About half a kilobyte each.
_MOST_OF_ONE = 100
_MOST_OF_ALL = 10_000

_GRAVITY = {kind: place for place, kind in enumerate(IncidentKind)}


@value_class
class Alert:
    """``concerns`` the gravest first. ``recoveries``: the tenants' own texts, where they have any.
    ``at`` in Unix seconds."""

    addressee: Addressee
    concerns: tuple[Concern, ...]
    recoveries: dict[str, str]
    at: float


class Alarm:
    """``gather_s`` in seconds; every ``now`` in Unix seconds."""

    def __init__(self, gather_s: float, addressing: Addressing) -> None:
        self._gather_s = gather_s
        self._addressing = addressing
        self._inboxes: dict[Addressee, _Inbox] = {}
        self._size = 0
        self._next_at: float | None = None

    def configure(self, gather_s: float, addressing: Addressing) -> None:
        """A new configuration: who isn't addressed any more hears no more, not even of the end."""
        self._gather_s = gather_s
        self._addressing = addressing
        for addressee in self._inboxes.keys() - addressing.everybody:
            del self._inboxes[addressee]
        self._look_around()

    def note(self, incident: Incident, now: float) -> None:
        """SUPPRESSED is the summary's (``Withheld``) and ignored here."""
        if incident.kind is IncidentKind.SUPPRESSED:
            return
        for addressee in self._addressing.addressees(incident):
            inbox = self._inboxes.setdefault(addressee, _Inbox())
            before = len(inbox.troubles)
            inbox.note(incident, now, has_room=self._size < _MOST_OF_ALL)
            self._size += len(inbox.troubles) - before
            self._next_at = _earliest(self._next_at, inbox.due_at(self._gather_s))

    @property
    def next_at(self) -> float | None:
        """When ``due`` has something to tell; None: not before another ``note``."""
        return self._next_at

    def due(self, now: float) -> list[Alert]:
        """What is to be told now: at most one alert for each addressee, and not before
        ``gather_s`` after their last."""
        if self._next_at is None or now < self._next_at:
            return []
        alerts = []
        for addressee, inbox in list(self._inboxes.items()):
            due_at = inbox.due_at(self._gather_s)
            if due_at is not None and due_at <= now:
                alerts.append(self._alert(addressee, inbox, now))
            inbox.forget(now)
            if not inbox.troubles:
                del self._inboxes[addressee]
        self._look_around()
        return alerts

    def _alert(self, addressee: Addressee, inbox: "_Inbox", now: float) -> Alert:
        concerns = []
        for key, trouble in inbox.taken(now, self._gather_s):
            concerns.append(trouble.tell(self._tenants(addressee, key), now))
        concerns.sort(key=_gravity)
        recoveries = {}
        for tenant in dict.fromkeys(tenant for c in concerns for tenant in c.tenants):
            if text := self._addressing.recovery(tenant):
                recoveries[tenant] = text
        return Alert(addressee, tuple(concerns), recoveries, now)

    def _tenants(self, addressee: Addressee, key: Key) -> tuple[str, ...]:
        if key.tenant is not None or key.upstream is None:
            return (key.tenant,) if key.tenant else ()
        return self._addressing.tenants(addressee, key.upstream)

    def _look_around(self) -> None:
        self._size, self._next_at = 0, None
        for inbox in self._inboxes.values():
            self._size += len(inbox.troubles)
            self._next_at = _earliest(self._next_at, inbox.due_at(self._gather_s))


class _Inbox:
    """What one addressee is to be told."""

    def __init__(self) -> None:
        self.troubles: dict[Key, Trouble] = {}
        self._last_alert_at = float("-inf")

    def note(self, incident: Incident, now: float, *, has_room: bool) -> None:
        if incident.kind is IncidentKind.UPSTREAM_RESUMED:
            self._end(incident, now)
            return
        key = Key(incident.kind, incident.tenant, incident.upstream, incident.cause)
        trouble = self.troubles.get(key)
        if trouble is None or trouble.is_over(now):
            trouble = self._new(key, now, has_room)
        trouble.note(incident, now)

    def _new(self, key: Key, now: float, has_room: bool) -> Trouble:
        if key not in self.troubles and not (has_room and len(self.troubles) < _MOST_OF_ONE):
            key = Key(key.kind)
            return self.troubles.setdefault(key, Trouble(key, now, others=True))
        trouble = self.troubles[key] = Trouble(key, now)
        return trouble

    def _end(self, incident: Incident, now: float) -> None:
        """Whatever the cause of the pause."""
        for key, trouble in self.troubles.items():
            same = (key.tenant, key.upstream) == (incident.tenant, incident.upstream)
            if same and key.kind in PAUSES:
                trouble.end(now)

    def due_at(self, gather_s: float) -> float | None:
        ripe = [at for t in self.troubles.values() if (at := t.ripe_at(gather_s)) is not None]
        return max(min(ripe), self._last_alert_at + gather_s) if ripe else None

    def taken(self, now: float, gather_s: float) -> list[tuple[Key, Trouble]]:
        """The ripe ones, and those that need not wait for an alert of their own."""
        self._last_alert_at = now
        return [
            (key, trouble)
            for key, trouble in self.troubles.items()
            if trouble.joins_any or ((at := trouble.ripe_at(gather_s)) is not None and at <= now)
        ]

    def forget(self, now: float) -> None:
        for key in [key for key, trouble in self.troubles.items() if trouble.is_over(now)]:
            del self.troubles[key]


def _gravity(concern: Concern) -> int:
    kind = IncidentKind.UPSTREAM_RESUMED if concern.ended_at is not None else concern.kind
    return _GRAVITY[kind]


def _earliest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
