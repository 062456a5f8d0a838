"""Sees to it that people hear of troubles: incidents in, alerts out, as mail of the relay's own and
to the webhook. What there is to tell and when is the record room's; this is the doing of it.

Dead letters that nobody was told of are remembered in the store, so that a restart between a death
and its alert keeps nothing silent.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from relay.config.addresses import Mailbox, web_url
from relay.config.schema import Config
from relay.config.secrets import SecretError
from relay.dispatch import notices
from relay.model import events
from relay.model.message import Message
from relay.model.notice import Incident, IncidentKind, Notice
from relay.model.ports import Also, Stage, Store, StoreError, Told
from relay.model.suppression import Source
from relay.record.alerts.addressing import Addressing, Contact
from relay.record.alerts.alarm import Alarm, Alert
from relay.record.alerts.failure_rate import FailureRate
from relay.record.alerts.withheld import Summary, Withheld

if TYPE_CHECKING:
    from relay.record.alerts.rendering import Envoy

diagnostics = structlog.get_logger("relay.dispatch")

_LOOK_EVERY_S = 1.0
_SUMMARY_REACH_S = 2 * 86400.0
_MOST_SUMMED_UP = 20_000
_LOOK_FOR_PURGES_EVERY_S = 3600.0
# The owner hears of a dead letter's end a week before it.
_PURGE_NOTICE_S = 7 * 86400.0
_INCIDENT_OF = {
    Stage.DEAD: IncidentKind.DEAD_LETTER,
    Stage.PURGE_SOON: IncidentKind.PURGE_SOON,
}


class Herald:
    """Implements situation.Watchman."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        addressing = addressing_of(config)
        self._alarm = Alarm(config.alerts.gather, addressing)
        self._withheld = Withheld(addressing)
        self._rates = FailureRate()
        self._next_purge_look = 0.0
        self._posting: set[asyncio.Task[None]] = set()
        self._unsent: list[Alert | Summary] = []
        # Told when there is a message in the queue.
        self.wake: Callable[[], None] = lambda: None

    def configure(self, config: Config) -> None:
        """Others are told, or by other ways."""
        self._config = config
        addressing = addressing_of(config)
        self._alarm.configure(config.alerts.gather, addressing)
        self._withheld.configure(addressing)

    # -- situation.Watchman

    def note(self, incident: Incident) -> None:
        now = time.time()
        if incident.kind is IncidentKind.SUPPRESSED:
            self._withheld.note(incident, now)
        else:
            self._alarm.note(incident, now)

    def note_attempt(self, tenant: str, relayed: int, troubled: int) -> None:
        now = time.time()
        incident = self._rates.note(tenant, relayed, troubled, now)
        if incident:
            self._alarm.note(incident, now)

    # -- its life

    async def run(self) -> None:
        """Until cancelled. What has gathered and was not told is taken up at the next start."""
        await self._guarded(self._take_up(Stage.DEAD))
        await self._guarded(self._take_up_withheld())
        while True:
            await self._guarded(self._look(time.time()))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _guarded(self, doing: Awaitable[None]) -> None:
        """Whatever goes wrong, alerting goes on."""
        try:
            await doing
        except StoreError as error:
            diagnostics.warning("the store failed, so alerts may be late", error=str(error))
        except Exception:
            diagnostics.exception("alerting failed")

    async def _look(self, now: float) -> None:
        if now >= self._next_purge_look:
            self._next_purge_look = now + _LOOK_FOR_PURGES_EVERY_S
            await self._guarded(self._take_up(Stage.PURGE_SOON))
        self._unsent += [*self._alarm.due(now), *self._withheld.due(now)]
        while self._unsent:
            # What the store can't take now is told later.
            try:
                await self._send(self._unsent[0])
            except StoreError:
                raise
            except Exception:
                # One that can't be told must not keep the others silent.
                diagnostics.exception("an alert is lost")
            del self._unsent[0]

    async def _take_up(self, stage: Stage) -> None:
        """Dead letters whose owner is to be told this, but was not yet."""
        untold = await self._store.untold(self._purge_soon(time.time()))
        for group in untold:
            if group.stage is stage:
                self.note(
                    Incident(
                        _INCIDENT_OF[stage],
                        group.tenant or None,
                        cause=group.cause,
                        queue_id=group.queue_id,
                        count=group.messages,
                        own_remedy=group.own_remedy,
                    )
                )

    async def _take_up_withheld(self) -> None:
        """What a former life suppressed and had not summed up yet, out of the trail."""
        names = ("email.suppressed", "suppression.added", "alert.sent")
        lines = await self._store.told(names, time.time() - _SUMMARY_REACH_S, _MOST_SUMMED_UP)
        told = [json.loads(line) for line in lines]
        summed_up = [i for i, event in enumerate(told) if event.get("kind") == "summary"]
        for event in told[summed_up[-1] + 1 if summed_up else 0 :]:
            for incident in _suppressions_in(event):
                at = datetime.fromisoformat(event["ts"]).timestamp()
                self._withheld.note(incident, at)

    def _purge_soon(self, now: float) -> float:
        """What died before this has a week left."""
        return now - max(self._config.queue.keep_dead - _PURGE_NOTICE_S, 0.0)

    # -- alerts

    async def _send(self, telling: Alert | Summary) -> None:
        if isinstance(telling, Summary):
            await self._send_summary(telling)
        else:
            await self._send_alert(telling)

    async def _send_alert(self, alert: Alert) -> None:
        from relay.record.alerts.rendering import alert_json, alert_mail

        body = alert_json(alert, hostname=self._config.hostname)
        # The journal has it in any case, also where no way is left for mail.
        diagnostics.warning("alert", text=body["text"], to=_to(alert.addressee.mailbox))
        if alert.addressee.mailbox is None:
            task = asyncio.create_task(self._post(alert, body))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)
            return
        message = self._mail(lambda i: alert_mail(alert, envoy=self._envoy(), message_id=i))
        await self._queue(message, alert, body["text"])

    async def _send_summary(self, summary: Summary) -> None:
        from relay.record.alerts.rendering import summary_mail

        message = self._mail(lambda i: summary_mail(summary, envoy=self._envoy(), message_id=i))
        fields = {"to": _to(summary.addressee.mailbox), "queue_id_of_mail": message.queue_id}
        event = events.alert_sent("summary", None, ["email"], fields)
        await self._store.settle((), (event,), Also(messages=(message,)))
        self.wake()

    async def _queue(self, message: Message, alert: Alert, text: str) -> None:
        fields = {"to": _to(alert.addressee.mailbox), "text": text}
        if self._config.alerts.upstream is None and self._config.default is None:
            error = "there is no way for alerts: set alerts.upstream, or a default"
            self._store.tell(events.alert_failed("alert", None, "email", error, fields))
            return
        fields["queue_id_of_mail"] = message.queue_id
        event = events.alert_sent("alert", None, ["email"], fields)
        also = Also(messages=(message,), told=tuple(self._told_by(alert)))
        await self._store.settle((), (event,), also)
        self.wake()

    async def _post(self, alert: Alert, body: dict[str, object]) -> None:
        from relay.record.webhook import WebhookError, post

        webhook = self._config.alerts.webhook
        assert webhook is not None
        fields = {"text": body["text"]}
        try:
            url = webhook.reveal()
            web_url(url)
            await post(url, body)
        except (WebhookError, SecretError, ValueError) as error:
            self._store.tell(events.alert_failed("alert", None, "webhook", str(error), fields))
            return
        event = events.alert_sent("alert", None, ["webhook"], fields)
        try:
            await self._store.settle((), (event,), Also(told=tuple(self._told_by(alert))))
        except StoreError as error:
            diagnostics.warning("can't store that an alert was sent", error=str(error))

    def _told_by(self, alert: Alert) -> Iterable[Told]:
        for concern in alert.concerns:
            tenants = concern.tenants or ("",)
            if concern.kind is IncidentKind.DEAD_LETTER:
                yield Told(tenants, alert.at, Stage.DEAD)
            elif concern.kind is IncidentKind.PURGE_SOON:
                yield Told(tenants, self._purge_soon(alert.at), Stage.PURGE_SOON)

    def _mail(self, make: Callable[[str], Notice]) -> Message:
        message = notices.message_of(self._config, make, None)
        assert message is not None
        return message

    def _envoy(self) -> "Envoy":
        from relay.record.alerts.rendering import Envoy

        config = self._config
        own = Mailbox("relay", f"relay@{config.hostname}")
        sender = config.default.from_ if config.default and config.default.from_ else own
        return Envoy(config.hostname, sender)


def _suppressions_in(event: dict[str, Any]) -> list[Incident]:
    kind, tenant = IncidentKind.SUPPRESSED, event.get("tenant")
    if event["event"] == "email.suppressed":
        queue_id = event["queue_id"]
        return [Incident(kind, tenant, address=a, queue_id=queue_id) for a in event["recipients"]]
    if event.get("source") == Source.AUTOMATIC:
        return [Incident(kind, tenant, address=event["address"])]
    return []


def addressing_of(config: Config) -> Addressing:
    contacts = []
    for tenant in config.tenants.values():
        upstreams = {tenant.upstream, tenant.pilot and tenant.pilot.upstream}
        upstreams |= set(tenant.failover.to if tenant.failover else ())
        named = frozenset(upstream for upstream in upstreams if upstream)
        contacts.append(Contact(tenant.name, tenant.owner, tenant.recovery, named))
    alerts = config.alerts
    return Addressing(contacts, alerts.email, webhook=alerts.webhook is not None)


def _to(mailbox: Mailbox | None) -> str:
    return mailbox.address if mailbox else "webhook"
