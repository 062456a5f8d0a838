"""What is known of a provider: its endpoints, limits, and the replies whose code misleads."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from relay.model.causes import FINAL_CAUSES, FINAL_SCOPES, Cause, Scope
from relay.model.phase import Phase
from relay.model.reply import Reply
from relay.model.value import value_class

FROM_MAIL_ON = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT, Phase.AFTER_DOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRule:
    """One row of a reply table. Every condition that is given must hold, and one of its values.

    ``codes`` are whole codes ("550") or their beginnings ("5"); ``statuses`` enhanced status codes,
    or their beginnings up to a dot ("5.7"); ``text`` are regular expressions, searched for in the
    reply's text; no ``phases`` are all of them. ``permanent``: a 5yz of this row ends the
    recipient's waiting; a 4yz never does. ``remedy`` is said instead of the cause's own.
    ``example`` is a reply as it arrives, ``source`` who says so, and when.

    Raises ValueError for a row that would blame a message or a sender for what is said before MAIL,
    or end a message for what is not its own fault.
    """

    cause: Cause
    scope: Scope
    example: str
    source: str
    codes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    phases: frozenset[Phase] = frozenset()
    permanent: bool = False
    remedy: str | None = None

    def __post_init__(self) -> None:
        if self.scope is not Scope.UPSTREAM and not (self.phases and self.phases <= FROM_MAIL_ON):
            raise ValueError(f"{self.example!r}: scope {self.scope} needs phases from mail on")
        final = self.cause in FINAL_CAUSES and self.scope in FINAL_SCOPES
        if self.permanent and not final:
            raise ValueError(
                f"{self.example!r}: {self.cause} at {self.scope} never fails a message"
            )

    def matches(self, phase: Phase, reply: Reply) -> bool:
        if self.phases and phase not in self.phases:
            return False
        if self.codes and not str(reply.code).startswith(self.codes):
            return False
        status = reply.enhanced_status or ""
        if self.statuses and not any(_begins(status, wanted) for wanted in self.statuses):
            return False
        return not self.text or _any_of(self.text).search(reply.text) is not None


@cache
def _any_of(text: tuple[str, ...]) -> re.Pattern[str]:
    """What finds any of them, regardless of case. Not made before a reply asks for it: for all rows
    that would be a twentieth of the time until the relay is ready."""
    return re.compile("|".join(f"(?:{item})" for item in text), re.IGNORECASE)


def _begins(status: str, beginning: str) -> bool:
    return f"{status}.".startswith(f"{beginning}.")


@value_class
class Endpoint:
    """``host`` may hold ``{region}``."""

    host: str
    port: int
    tls: Literal["implicit", "starttls"]


Counts = Literal["messages", "recipients"]


@value_class
class ProviderLimits:
    """What the provider bears; None where it names no limit.

    ``counts`` says what per_second, per_minute and per_hour count, ``per_day_counts`` what per_day
    does: Microsoft 365 counts messages a minute, but recipients a day.
    """

    connections: int = 2
    messages_per_connection: int = 100
    idle_s: float = 30.0
    recipients: int | None = None
    message_bytes: int | None = None
    per_second: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    counts: Counts = "messages"
    per_day_counts: Counts = "messages"


@value_class
class ProviderSpf:
    """``include`` is the domain by which an SPF record authorises the provider's servers; None
    where the provider asks for none. ``keeps_reverse_path`` is false where it puts one of its own
    in the place of ours, unless the account says otherwise."""

    include: str | None
    keeps_reverse_path: bool


@value_class
class ProviderDkim:
    """``selectors`` are those of every account (``fixed``), or those that most have; none where the
    provider makes them for each. ``where`` says in which place it shows the records. ``cname`` is
    what a selector's name points to, with ``{selector}`` and ``{domain}``, where that is known."""

    selectors: tuple[str, ...]
    fixed: bool
    where: str
    cname: str | None = None


@value_class
class Provider:
    """``endpoints`` in order of preference, the first is the preset's. ``username`` is the literal
    user name, where there is one (apikey); ``username_form`` says in words what it is otherwise.
    ``regions`` are the known ones, not all of them. ``sources`` tell of each figure who says so.
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
    spf: ProviderSpf | None = None
    dkim: ProviderDkim | None = None
