"""What is known of a provider: its endpoints, limits, and the replies whose code misleads."""

import re
from dataclasses import dataclass
from typing import Literal

from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.reply import Reply


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """One row of a reply table. Every condition that is not None must hold.

    ``code`` is a whole code ("550") or its beginning ("5"); ``enhanced_status`` a whole one or its
    beginning up to a dot ("5.7"); ``text`` is searched for in the reply's text, regardless of case.
    """

    cause: Cause
    scope: Scope
    permanent: bool
    source: str
    code: str | None = None
    enhanced_status: str | None = None
    text: re.Pattern[str] | None = None
    phases: frozenset[Phase] | None = None

    def matches(self, phase: Phase, reply: Reply) -> bool:
        if self.phases is not None and phase not in self.phases:
            return False
        if self.code is not None and not str(reply.code).startswith(self.code):
            return False
        if self.enhanced_status is not None and not _begins(
            reply.enhanced_status or "", self.enhanced_status
        ):
            return False
        return self.text is None or self.text.search(reply.text) is not None


def _begins(status: str, beginning: str) -> bool:
    return status == beginning or status.startswith(f"{beginning}.")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host`` may hold ``{region}``."""

    host: str
    port: int
    tls: Literal["implicit", "starttls"]


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """What the provider bears; None where it names no limit. ``counts``: what the rates count."""

    connections: int = 2
    messages_per_connection: int = 100
    idle_s: float = 30.0
    recipients: int | None = None
    message_bytes: int | None = None
    per_second: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    counts: Literal["messages", "recipients"] = "messages"


@dataclass(frozen=True, slots=True)
class Provider:
    """``endpoints`` in order of preference, the first is the preset's. ``username`` is the literal
    user name, where there is one (apikey); ``username_form`` says in words what it is otherwise.
    ``idempotency_header`` names the field by which it tells a message it has taken before."""

    name: str
    title: str
    endpoints: tuple[Endpoint, ...]
    username: str | None
    username_form: str
    limits: ProviderLimits
    replies: tuple[ReplyRule, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    regions: tuple[str, ...] = ()
    idempotency_header: str | None = None
