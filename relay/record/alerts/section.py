"""The concerns of an alert, grouped as a person thinks of them: by upstream and cause."""

from relay.model.causes import Cause
from relay.model.notice import IncidentKind
from relay.model.value import value_class
from relay.record.alerts.alarm import Alert
from relay.record.alerts.concern import Concern
from relay.record.wording import clean

_MOST_EXAMPLES = 5


@value_class
class Section:
    """The concerns that have upstream and cause in common: one story."""

    concerns: tuple[Concern, ...]

    @property
    def first(self) -> Concern:
        return self.concerns[0]

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(t for c in self.concerns for t in c.tenants))

    @property
    def queue_ids(self) -> tuple[str, ...]:
        found = dict.fromkeys(q for c in self.concerns for q in c.queue_ids)
        return tuple(found)[:_MOST_EXAMPLES]

    @property
    def count(self) -> int:
        """Of the gravest kind."""
        return sum(c.count for c in self.concerns if c.kind is self.first.kind)

    @property
    def since(self) -> float:
        return min(c.since for c in self.concerns)

    @property
    def last_at(self) -> float:
        return max(c.last_at for c in self.concerns)

    @property
    def title(self) -> str:
        """ "authentication_failed at acme-sendgrid"."""
        if self.first.ended_at is not None:
            return clean(f"{self.first.upstream} works again")
        at = f" at {self.first.upstream}" if self.first.upstream else ""
        return clean(f"{self.first.cause or self.first.kind}{at}")


def sections(alert: Alert) -> list[Section]:
    """The gravest first; each pair of upstream and cause once."""
    grouped: dict[tuple[str | None, Cause | IncidentKind, bool], list[Concern]] = {}
    for concern in alert.concerns:
        key = (concern.upstream, concern.cause or concern.kind, concern.ended_at is not None)
        grouped.setdefault(key, []).append(concern)
    return [Section(tuple(concerns)) for concerns in grouped.values()]
