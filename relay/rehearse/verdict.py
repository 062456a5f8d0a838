"""What a drill comes to: a scene for each thing that was broken, for each tenant."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from relay.rehearse.reckoning import Delay


class Outcome(StrEnum):
    """What became of the mail of a scene."""

    RELAYED = "relayed"
    WAITS = "waits"
    FAILOVER = "failover"
    DEFAULT = "default"
    DEAD_LETTER = "dead_letter"
    REFUSED = "refused"
    NOT_REHEARSED = "not_rehearsed"


@dataclass(frozen=True, slots=True)
class Telling:
    """``who`` is the owner, the operator, or the webhook; ``to`` an address, "" for the webhook.
    ``obstacle`` says why it would not arrive; "" where it did."""

    who: str
    to: str
    obstacle: str = ""

    def __str__(self) -> str:
        return f"{self.to} ({self.who})" if self.to else f"the {self.who}"


@dataclass(frozen=True, slots=True)
class Finding:
    """``grave``: nobody would be told."""

    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """``broken`` and ``mail`` are sentences. ``told_after`` is reckoned, all else was seen.
    ``not_kept`` are promises that did not come true."""

    tenant: str
    name: str
    broken: str
    outcome: Outcome
    mail: str
    cause: str | None = None
    remedy: str | None = None
    told: tuple[Telling, ...] = ()
    told_after: Delay | None = None
    findings: tuple[Finding, ...] = ()
    not_kept: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.not_kept and not any(finding.grave for finding in self.findings)

    @property
    def reached(self) -> tuple[Telling, ...]:
        """Those whom the telling would reach."""
        return tuple(telling for telling in self.told if not telling.obstacle)

    def also(self, *findings: Finding) -> "Scene":
        return replace(self, findings=(*self.findings, *findings))

    def row(self) -> dict[str, Any]:
        """For programs."""
        after = self.told_after if self.reached else None
        return {
            "tenant": self.tenant or None,
            "scene": self.name,
            "ok": self.ok,
            "broken": self.broken,
            "outcome": self.outcome,
            "mail": self.mail,
            "cause": self.cause,
            "remedy": self.remedy,
            "told": [
                {"who": one.who, "to": one.to or None, "obstacle": one.obstacle or None}
                for one in self.told
            ],
            "told_after_s": after.seconds if after else None,
            "told_after_because": after.because if after else None,
            "findings": [{"text": one.text, "grave": one.grave} for one in self.findings],
            "not_kept": list(self.not_kept),
        }
