"""How much an upstream may be given in a second, a minute, an hour, a day, and a tenant of the
default.

Short windows are kept in memory to the event; an hour and a day in slots of six minutes, which the
store keeps too, so that a restart forgets nothing. They err on the side of the provider: a slot
counts as long as any of it is within the window. It knows no clock: ``now`` is in Unix seconds.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from relay.config.schema import Config, Rates, UpstreamLimits
from relay.model.ports import Spent
from relay.model.value import value_class

SLOT_S = 360
_DAY_SLOTS = 86400 // SLOT_S


@value_class
class Limit:
    """One cap: ``name`` is its setting; ``per_recipient`` where recipients are counted."""

    name: str
    most: float
    window_s: float
    per_recipient: bool

    def count(self, recipients: int) -> int:
        return recipients if self.per_recipient else 1

    @property
    def is_quota(self) -> bool:
        """Long enough for mail to be sent away for it, and to tell of it."""
        return self.window_s >= 3600


@value_class
class Wait:
    """A limit is used up until ``until``."""

    limit: Limit
    subject: str
    until: float


class _Log:
    """A sliding window over what was spent, entry by entry; at most as many as the limit."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        # Half a message a second is one in two.
        scale = max(1.0, 1.0 / limit.most)
        self._most = limit.most * scale
        self._window_s = limit.window_s * scale
        self._entries: deque[tuple[float, int]] = deque()
        self._sum = 0

    def free_at(self, count: int, now: float) -> float:
        while self._entries and self._entries[0][0] <= now - self._window_s:
            self._sum -= self._entries.popleft()[1]
        left = self._sum
        if left + count <= self._most or not left:
            return now
        for at, spent in self._entries:
            left -= spent
            if left + count <= self._most or not left:
                return at + self._window_s
        return now

    def spend(self, count: int, now: float) -> None:
        if count > 0:
            self._entries.append((now, count))
            self._sum += count
        elif self._entries:
            # What is given back may have left the window already.
            at, spent = self._entries.pop()
            self._entries.append((at, max(spent + count, 0)))
            self._sum -= min(-count, spent)

    def move(self, by_s: float) -> None:
        self._entries = deque((at + by_s, count) for at, count in self._entries)


class _Slots:
    """A window over six-minute slots, shared by the hour's and the day's limit of a subject."""

    def __init__(self, limit: Limit, spent: dict[int, int]) -> None:
        self.limit = limit
        self._slots = int(limit.window_s) // SLOT_S
        self._spent = spent

    def free_at(self, count: int, now: float) -> float:
        current = slot_of(now)
        # One slot more than the window has, since its first and last are but partly within.
        inside = sorted(slot for slot in self._spent if slot >= current - self._slots)
        left = sum(self._spent[slot] for slot in inside)
        if left + count <= self.limit.most or not left:
            return now
        for slot in inside:
            left -= self._spent[slot]
            if left + count <= self.limit.most or not left:
                return float((slot + self._slots + 1) * SLOT_S)
        return now


class Subject:
    """All limits of one upstream, or of one tenant on the default."""

    def __init__(self, name: str, rates: Rates, counts: str, day_counts: str) -> None:
        self.name = name
        self.setting = (rates, counts, day_counts)
        self._spent: dict[bool, dict[int, int]] = {False: {}, True: {}}
        self._logs: list[_Log] = []
        self._quotas: list[_Slots] = []
        for setting, window_s, counted in (
            ("per_second", 1.0, counts),
            ("per_minute", 60.0, counts),
            ("per_hour", 3600.0, counts),
            ("per_day", 86400.0, day_counts),
        ):
            most = getattr(rates, setting)
            if most is not None:
                limit = Limit(setting, most, window_s, counted == "recipients")
                if limit.is_quota:
                    self._quotas.append(_Slots(limit, self._spent[limit.per_recipient]))
                else:
                    self._logs.append(_Log(limit))

    @property
    def windows(self) -> Sequence["_Log | _Slots"]:
        return [*self._logs, *self._quotas]

    @property
    def most_recipients(self) -> int | None:
        """More in one transaction would break a limit by themselves."""
        counted = [w.limit.most for w in self.windows if w.limit.per_recipient]
        return max(1, int(min(counted))) if counted else None

    @property
    def has_quota(self) -> bool:
        return bool(self._quotas)

    def spend(self, recipients: int, now: float) -> None:
        """A negative number gives back."""
        messages = 1 if recipients > 0 else -1
        for log in self._logs:
            log.spend(recipients if log.limit.per_recipient else messages, now)
        if self._quotas:
            slot = slot_of(now)
            for per_recipient, count in ((False, messages), (True, recipients)):
                spent = self._spent[per_recipient]
                spent[slot] = spent.get(slot, 0) + count
                if len(spent) > _DAY_SLOTS + 2:
                    del spent[min(spent)]

    def move(self, by_s: float) -> None:
        for log in self._logs:
            log.move(by_s)
        for spent in self._spent.values():
            # In place, since the quotas look at it.
            moved = {slot + round(by_s / SLOT_S): count for slot, count in spent.items()}
            spent.clear()
            spent.update(moved)

    def load(self, spent: Spent, *, per_recipient: bool) -> None:
        self._spent[per_recipient][spent.slot] = spent.count

    def succeeding(self, former: "Subject | None") -> "Subject":
        """Goes on counting where that of a former configuration stopped; the short windows begin
        anew where the limits are others."""
        if former is None:
            return self
        if former.setting == self.setting:
            return former
        for per_recipient, slots in former._spent.items():
            self._spent[per_recipient].update(slots)
        return self


def slot_of(now: float) -> int:
    return int(now // SLOT_S)


class RateLimits:
    """``subjects`` says which limits a way has; they are asked together."""

    def __init__(self, config: Config) -> None:
        self._tenants: dict[str, Subject] = {}
        self._subjects: dict[str, Subject] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Other limits; what was spent stays spent."""
        self._per_tenant = config.default.per_tenant if config.default else Rates()
        self._subjects = {
            name: _of_upstream(name, upstream.limits).succeeding(self._subjects.get(name))
            for name, upstream in config.upstreams.items()
        }
        self._tenants = {
            name: self._new(name).succeeding(former) for name, former in self._tenants.items()
        }
        self._caps_tenants = bool(self._on_default("").windows)

    def subjects(self, upstream: str, tenant: str, *, by_default: bool) -> Sequence[Subject]:
        own = self._subjects[upstream]
        found = [own] if own.windows else []
        if by_default and tenant and self._caps_tenants:
            found.append(self._on_default(tenant))
        return found

    def _on_default(self, tenant: str) -> Subject:
        subject = self._tenants.get(tenant)
        if subject is None:
            subject = self._tenants[tenant] = self._new(tenant)
        return subject

    def _new(self, tenant: str) -> Subject:
        # One message to many is no way around a tenant's cap, whatever the provider counts.
        return Subject(f"default/{tenant}", self._per_tenant, "recipients", "recipients")

    def move(self, by_s: float) -> None:
        """The clock was set by so much: what was spent is as long ago as before."""
        for subject in (*self._subjects.values(), *self._tenants.values()):
            subject.move(by_s)

    def load(self, spent: Iterable[Spent]) -> None:
        """What was spent in a former life. Recipients are stored under the subject's name with
        "#recipients" behind it."""
        for entry in spent:
            name, mark, _ = entry.subject.partition("#")
            kind, _, tenant = name.partition("/")
            if kind == "default" and "/" in name:
                subject: Subject | None = self._on_default(tenant)
            else:
                subject = self._subjects.get(name)
            if subject:
                subject.load(entry, per_recipient=bool(mark))


def longest_wait(subjects: Sequence[Subject], recipients: int, now: float) -> Wait | None:
    """The limit that is used up for the longest; None: it may go now."""
    waits = [
        Wait(window.limit, subject.name, at)
        for subject in subjects
        for window in subject.windows
        if (at := window.free_at(window.limit.count(recipients), now)) > now
    ]
    return max(waits, key=lambda wait: wait.until, default=None)


def spend(subjects: Sequence[Subject], recipients: int, now: float) -> None:
    for subject in subjects:
        subject.spend(recipients, now)


def spent(subjects: Sequence[Subject], recipients: int, now: float) -> tuple[Spent, ...]:
    """What the store has to keep of it."""
    slot = slot_of(now)
    kept = [subject.name for subject in subjects if subject.has_quota]
    return tuple(
        entry
        for name in kept
        for entry in (Spent(name, slot, 1), Spent(f"{name}#recipients", slot, recipients))
    )


def _of_upstream(name: str, limits: UpstreamLimits) -> Subject:
    return Subject(name, limits, limits.counts, limits.per_day_counts)
