"""Who is told of a trouble, and whether it reaches them: seen at the stand-ins, and held against
whom the configuration names.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.config.addresses import Mailbox
from relay.config.schema import Config, Tenant
from relay.model.address import canonical
from relay.rehearse.play import PATIENCE_S, Event, Play
from relay.rehearse.verdict import Finding, Telling

_WEBHOOK = "webhook"
# What nobody is to be told of has that long to be told all the same; what is to wait, to leave.
_LOOK_S = 2.0
# Others may hear of it too, in the same moment.
_SETTLES_WITHIN_S = 0.3


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is to hear of a trouble: addresses, and the webhook, which is "". ``nobody`` says why
    there is none, where there is none."""

    who: frozenset[str]
    nobody: str


def audience_of_upstream(config: Config, upstream: str) -> Audience:
    """The owners of the tenants that name it, the operator, the webhook."""
    owners = [one.owner for one in config.tenants.values() if upstream in _named_by(one)]
    return Audience(
        _everybody(config, [*owners, config.alerts.email]),
        f"no tenant that names {upstream} has an owner, and {_NO_ALERTS}",
    )


def audience_of_message(config: Config, tenant: Tenant | None) -> Audience:
    """The tenant's owner, else the operator, and the webhook."""
    person = (tenant and tenant.owner) or config.alerts.email
    whose = f"{tenant.name} has no owner" if tenant else "it is no tenant's mail"
    return Audience(_everybody(config, [person]), f"{whose}, and {_NO_ALERTS}")


_NO_ALERTS = "there is neither alerts.email nor alerts.webhook"


def _everybody(config: Config, persons: Iterable[Mailbox | None]) -> frozenset[str]:
    addresses = {canonical(person.address) for person in persons if person}
    return frozenset(addresses | ({""} if config.alerts.webhook else set()))


def _named_by(tenant: Tenant) -> set[str | None]:
    failover = tenant.failover.to if tenant.failover else ()
    return {tenant.upstream, *failover, tenant.pilot.upstream if tenant.pilot else None}


class Told:
    """Of what is told from its making on. ``broken`` is the upstream that is down meanwhile."""

    def __init__(self, play: Play, audience: Audience, broken: str | None = None) -> None:
        self.audience = audience
        self._play = play
        self._config = play.script.config
        self._broken = broken
        self._before = {name: len(play.seen(name)) for name in ("alert.sent", "alert.failed")}
        self._posts_before = len(play.webhook.posts)

    async def wait(self) -> tuple[Telling, ...]:
        """Those who are told, as soon as it is seen whether it reaches them."""
        stage = self._play.stage
        if self.audience.who:
            await stage.until(lambda: self._addressed >= self.audience.who, PATIENCE_S)
            await stage.until(lambda: False, _SETTLES_WITHIN_S)
        else:
            await stage.until(lambda: bool(self._addressed), _LOOK_S)
        missing = self.audience.who - self._addressed
        self._play.promised(not missing, f"{', '.join(map(_named, sorted(missing)))} is told of it")
        tellings = [await self._telling(event) for event in self._new("alert.sent")]
        return tuple(dict.fromkeys([*tellings, *map(self._failure, self._new("alert.failed"))]))

    @property
    def _addressed(self) -> set[str]:
        events = [*self._new("alert.sent"), *self._new("alert.failed")]
        return {canonical(event.get("to") or "") for event in events}

    def _new(self, name: str) -> list[Event]:
        return self._play.seen(name)[self._before[name] :]

    async def _telling(self, event: Event) -> Telling:
        if _WEBHOOK in event["ways"]:
            came = len(self._play.webhook.posts) > self._posts_before
            return Telling(_WEBHOOK, "", "" if came else "it did not arrive")
        to = str(event["to"])
        arrives = await self._arrives(event["queue_id_of_mail"], to)
        return Telling(self._role(to), to, "" if arrives else self._obstacle())

    async def _arrives(self, queue_id: str, to: str) -> bool:
        """By the trail, and at a stand-in."""
        patience_s = PATIENCE_S if self._has_open_way else _LOOK_S
        sent = await self._play.stage.until(
            lambda: any(e["queue_id"] == queue_id for e in self._play.seen("email.sent")),
            patience_s,
        )
        return sent and self._play.has_come_for(to)

    @property
    def _has_open_way(self) -> bool:
        """Whether an alert's mail has any way but the one that is broken."""
        default = self._config.default and self._config.default.upstream
        return bool({self._config.alerts.upstream, default} - {None, self._broken})

    def _obstacle(self) -> str:
        if self._has_open_way:
            return "it did not arrive"
        return f"it would wait behind {self._broken} itself, until that is mended"

    def _failure(self, event: Event) -> Telling:
        to = str(event.get("to") or "")
        return Telling(self._role(to) if to else _WEBHOOK, to, str(event["error"]))

    def _role(self, address: str) -> str:
        tenant = self._play.script.owner
        if tenant and _is(tenant.owner, address):
            return "owner"
        if _is(self._config.alerts.email, address):
            return "operator"
        tenants = self._config.tenants.values()
        return next((f"owner of {one.name}" for one in tenants if _is(one.owner, address)), "?")


def findings_of(told: Iterable[Telling], audience: Audience) -> tuple[Finding, ...]:
    """Where the news would reach nobody, that; else whom it would not reach in time."""
    told = list(told)
    if not told and not audience.who:
        return (Finding(f"nobody would be told: {audience.nobody}", grave=True),)
    late = [f"{one}: {one.obstacle}" for one in told if one.obstacle]
    if len(late) < len(told):
        return tuple(Finding(f"not told in time: {text}") for text in late)
    remedy = "set alerts.webhook, or alerts.upstream to another upstream"
    text = "nobody would be told in time: "
    return tuple(Finding(f"{text}{one}; {remedy}", grave=True) for one in late)


def _is(mailbox: Mailbox | None, address: str) -> bool:
    return mailbox is not None and canonical(mailbox.address) == canonical(address)


def _named(addressee: str) -> str:
    return addressee or "the webhook"
