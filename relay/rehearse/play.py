"""A relay with the operator's configuration on a stage of its own, its upstreams and its webhook
played by stand-ins; what goes in, and what comes of it.
"""

import asyncio
import smtplib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any

from relay.config.schema import Config, Tenant
from relay.rehearse.reckoning import pace
from relay.rehearse.rehearsed import Casting, Endpoint, rehearsed
from relay.rehearse.stage import Stage, StageError, free_port, stage
from relay.rehearse.upstream import Fault, Received, Upstream
from relay.rehearse.webhook import Webhook

Event = dict[str, Any]

# How long anything that is to happen may take on a busy machine.
PATIENCE_S = 20.0
_RECIPIENT = "drill@recipient.example"
_BYSTANDER = "drill-bystander"


@dataclass(frozen=True, slots=True)
class Script:
    """What is rehearsed, and for whom: ``written`` as the file and the variables have it,
    ``config`` as it comes out. ``tenant`` is "" for mail of no tenant."""

    config: Config
    written: Mapping[str, Any]
    tenant: str

    @property
    def owner(self) -> Tenant | None:
        """The tenant itself, where it is one."""
        return self.config.tenants.get(self.tenant)


@dataclass(frozen=True, slots=True)
class Mail:
    """``refusal`` is the reply of a relay that did not take it; "" where it did."""

    subject: str
    message_id: str
    refusal: str = ""


@dataclass(slots=True)
class Play:
    """``started`` with its relay. Scenes ask it to send, to break and to mend, and look at what is
    on record."""

    script: Script
    stage: Stage
    webhook: Webhook
    upstreams: dict[str, Upstream]
    ports: tuple[int, int]
    sent: list[Mail] = field(default_factory=list)
    not_kept: list[str] = field(default_factory=list)

    # -- what is done

    async def send(self, subject: str) -> Mail:
        """As an application of the tenant would."""
        return await self._hand_in(self.ports[0], _sender(self.script.owner), subject)

    async def send_of_bystander(self, subject: str) -> Mail:
        return await self._hand_in(self.ports[1], "drill@bystander.invalid", subject)

    async def strike(self, upstream: str, fault: Fault) -> None:
        await self.upstreams[upstream].suffer(fault)

    async def mend(self, upstream: str) -> None:
        await self.upstreams[upstream].suffer(None)

    async def _hand_in(self, port: int, sender: str, subject: str) -> Mail:
        message_id = make_msgid(domain="drill.invalid")
        try:
            refusal = await asyncio.to_thread(_hand_in, port, sender, subject, message_id)
        except OSError as error:
            raise StageError(f"the relay did not take {subject!r}: {error}") from error
        mail = Mail(subject, message_id, refusal)
        self.sent.append(mail)
        return mail

    # -- what is seen

    def seen(self, name: str, mail: Mail | None = None) -> list[Event]:
        """The audit events of that name, of one message or of all."""
        events = self.stage.events(name)
        return [e for e in events if mail is None or e["message_id"] == mail.message_id]

    async def first(self, name: str, mail: Mail, within_s: float = PATIENCE_S) -> Event | None:
        """The first event of that name about the message, as soon as there is one."""
        await self.stage.until(lambda: bool(self.seen(name, mail)), within_s)
        return next(iter(self.seen(name, mail)), None)

    async def until(self, name: str, count: int, within_s: float = PATIENCE_S) -> bool:
        return await self.stage.until(lambda: len(self.stage.events(name)) >= count, within_s)

    def copies(self, mail: Mail) -> list[Received]:
        """What the stand-ins have received of it."""
        everything = [one for upstream in self.upstreams.values() for one in upstream.received]
        return [one for one in everything if one.field("Message-ID") == mail.message_id]

    def has_come_for(self, address: str) -> bool:
        """Whether a stand-in has received anything for that recipient."""
        return any(
            address in one.recipients
            for upstream in self.upstreams.values()
            for one in upstream.received
        )

    def promised(self, kept: bool, text: str) -> bool:
        """Takes down what did not come true."""
        if not kept:
            self.not_kept.append(text)
        return kept

    async def account(self) -> None:
        """Each message that the relay took is with an upstream, or in the queue, or a dead letter;
        and with one upstream, once."""
        taken = [mail for mail in self.sent if not mail.refusal]
        missing = [mail for mail in taken if not self.copies(mail)]
        lost = []
        if missing:
            kept = await self.stage.verb("queue", "list", "--json")
            kept += await self.stage.verb("dead", "list", "--json")
            lost = [mail for mail in missing if not self._is_kept(mail, kept)]
        self.promised(not lost, f"{len(lost)} of {len(taken)} messages were lost")
        doubled = sum(len(self.copies(mail)) > 1 for mail in taken)
        self.promised(not doubled, f"{doubled} of {len(taken)} messages arrived twice")

    def _is_kept(self, mail: Mail, listings: str) -> bool:
        accepted = self.seen("email.accepted", mail)
        return bool(accepted) and f'"{accepted[0]["queue_id"]}"' in listings


@asynccontextmanager
async def play(
    script: Script, *, reply_s: float | None = None, prefix: str = "relay-drill-"
) -> AsyncIterator[Play]:
    """With its relay running; all of it ends with the block."""
    webhook = Webhook()
    async with stage(prefix) as built:
        try:
            await webhook.start()
            made = await _cast(script, built, webhook, reply_s)
            yield made
        finally:
            await webhook.stop()


async def _cast(script: Script, built: Stage, webhook: Webhook, reply_s: float | None) -> Play:
    bystander = _BYSTANDER
    while bystander in script.config.upstreams or bystander in script.config.tenants:
        bystander += "-"
    upstreams = {name: await _stand_in(script.config, built, name) for name in _named(script)} | {
        bystander: await built.upstream(bystander, "implicit", (bystander,))
    }
    ports = (built.port, free_port())
    casting = Casting(
        tenant=script.tenant,
        bystander=bystander,
        ports=ports,
        folder=built.folder,
        ca_file=built.authority.ca_file,
        endpoints={
            name: Endpoint(one.port, one.tls, built.secret(name) if one.users else None)
            for name, one in upstreams.items()
        },
        webhook_url=webhook.url,
        pace=pace(script.config, script.owner),
        reply_s=reply_s,
    )
    await built.start_relay(rehearsed(script.written, script.config, casting))
    return Play(script, built, webhook, upstreams, ports)


async def _stand_in(config: Config, built: Stage, name: str) -> Upstream:
    """Of the same TLS mode, and with a login where the real one has one."""
    upstream = config.upstreams[name]
    return await built.upstream(name, upstream.tls, (name,) if upstream.username else ())


def _named(script: Script) -> list[str]:
    """The upstreams that the tenant's mail and the alerts may take."""
    config, tenant = script.config, script.owner
    names = [one.upstream for one in config.classes.values()]
    names += [config.default.upstream if config.default else None, config.alerts.upstream]
    if tenant:
        names += [tenant.upstream, *(tenant.failover.to if tenant.failover else ())]
    return list(dict.fromkeys(name for name in names if name))


def _sender(tenant: Tenant | None) -> str:
    """An address of the tenant's own, under which nobody gets mail."""
    if tenant is None:
        return "drill@unrouted.invalid"
    for pattern in tenant.domains:
        return f"drill@{pattern.replace('*', 'drill', 1)}"
    return next((one for one in tenant.senders if one.isascii()), "drill@tenant.invalid")


def _hand_in(port: int, sender: str, subject: str, message_id: str) -> str:
    """The reply of a relay that does not take it, else ""."""
    code: int
    text: bytes | str
    message = EmailMessage()
    message["From"] = sender
    message["To"] = _RECIPIENT
    message["Subject"] = subject
    message["Message-ID"] = message_id
    message.set_content("Hello,\n\nthis is a drill, on loopback. Nobody gets it.\n")
    try:
        with smtplib.SMTP("127.0.0.1", port, "localhost", timeout=PATIENCE_S) as client:
            client.send_message(message)
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = next(iter(refused.recipients.values()))
    except smtplib.SMTPResponseException as refused:
        code, text = refused.smtp_code, refused.smtp_error
    else:
        return ""
    return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
