"""The relay's own messages as messages of the queue: reports to senders, alerts to owners.

They cause no DSN, no alert and no suppression themselves.
"""

import time
from collections.abc import Callable, Sequence

from relay.config.schema import Config
from relay.model.identifiers import new_identifier
from relay.model.message import Content, Kind, Message, Origin, Recipient
from relay.model.notice import Notice

_HIGH, _NORMAL = 0, 1


def message_of(
    config: Config, make: Callable[[str], Notice | None], about: Message | None
) -> Message | None:
    """``make`` gets the Message-ID. With ``about`` it is a report on that message, and takes its
    way; else an alert."""
    queue_id = new_identifier()
    notice = make(f"<{queue_id}@{config.hostname}>")
    if notice is None:
        return None
    now = time.time()
    tenant = about.tenant if about else ""
    return Message(
        queue_id=queue_id,
        arrived_at=now,
        expires_from=now,
        tenant=tenant,
        priority=_NORMAL if about else _HIGH,
        reverse_path="",
        header_from=notice.header_from,
        message_id=notice.message_id,
        smtputf8=notice.smtputf8,
        body_8bit=False,
        origin=Origin("relay", config.hostname, bound=(tenant,) if tenant else None),
        recipients=(Recipient(0, notice.recipient, notify=False),),
        content=Content(len(notice.content), notice.header_size, chunks=(notice.content,)),
        kind=Kind.DSN if about else Kind.ALERT,
        # By which a class of its own upstream takes it, too.
        message_class=about.message_class if about else "",
        classes_key=about.classes_key if about else "",
        expires_at=now + config.retry.give_up_after,
    )


def dsn_for(
    config: Config, message: Message, dead: Sequence[Recipient], header: bytes
) -> Message | None:
    """A report to the reverse-path, where the tenant wants one and there is anybody to tell."""
    from relay.record.dsn import Reporter, dsn

    hosts = {name: upstream.host for name, upstream in config.upstreams.items()}
    reporter = Reporter(config.hostname, hosts)
    now = time.time()

    def make(message_id: str) -> Notice | None:
        return dsn(message, dead, header, reporter=reporter, message_id=message_id, now=now)

    return message_of(config, make, message)


def wants_dsn(config: Config, message: Message) -> bool:
    tenant = config.tenants.get(message.tenant)
    return message.kind is Kind.MAIL and bool(message.reverse_path) and bool(tenant and tenant.dsn)
