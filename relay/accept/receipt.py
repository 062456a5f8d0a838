"""What DATA brings: the content of one transaction, from its first octet to the reply behind its
final dot.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.accept import paths, replies
from relay.accept.content import STORE_TROUBLE, Incoming
from relay.accept.data import DataReader, LineTooLong
from relay.accept.stamp import Hop, stamped
from relay.model.message import Content, Message, Recipient
from relay.model.ports import Client, StoreError
from relay.model.reply import Reply

if TYPE_CHECKING:
    from relay.accept.listener import Listener

_NORMAL_PRIORITY = 1


@dataclass(slots=True)
class Transaction:
    """From MAIL to DATA."""

    mail: paths.MailCommand
    recipients: dict[str, Recipient] = field(default_factory=dict)


class Receipt:
    """``feed`` it until ``done``, then ask for its ``promise``; ``release`` it in any case.

    ``rest`` is what came behind the end of the content.
    """

    def __init__(
        self, listener: "Listener", transaction: Transaction, hop: Hop, *, lf_mode: bool
    ) -> None:
        self._listener = listener
        self._transaction = transaction
        self._hop = hop
        self._eight_bit = False
        self._reader = DataReader(lf_mode=lf_mode, line_length=listener.line_length)
        self._incoming = Incoming(
            lambda header: stamped(header, hop),
            listener.keeper,
            listener.budget,
            listener.message_size,
        )

    @property
    def done(self) -> bool:
        return self._reader.done

    @property
    def rest(self) -> bytes:
        return self._reader.rest

    async def feed(self, octets: bytes) -> None:
        # Old applications send 8-bit content without saying so.
        self._eight_bit = self._eight_bit or not octets.isascii()
        try:
            await self._incoming.take(self._reader.feed(octets))
        except LineTooLong:
            self._incoming.refuse(replies.LINE_TOO_LONG)

    async def promise(self, client: Client) -> Reply | None:
        """The reply behind the final dot: 250 once the message would survive power loss. None
        where ``client`` has had it."""
        incoming = self._incoming
        content = await incoming.finish()
        if content is None:
            return incoming.refusal or STORE_TROUBLE
        message = self._message(content)
        if isinstance(message, Reply):
            return message
        assert incoming.stamped is not None
        incoming.entrust()
        try:
            reply = await self._listener.keeper.keep(message, incoming.stamped.header, client)
        except StoreError:
            incoming.take_back()
            return STORE_TROUBLE
        if isinstance(reply, Reply):
            if not reply.positive:
                incoming.take_back()
            return reply
        incoming.release()
        return await reply

    def release(self) -> None:
        self._incoming.release()

    def _message(self, content: Content) -> Message | Reply:
        mail, stamp, hop = self._transaction.mail, self._incoming.stamped, self._hop
        assert stamp is not None
        tenant = self._listener.tenancy.admit(
            mail.reverse_path, stamp.header_from, hop.origin.bound
        )
        if isinstance(tenant, Reply):
            return tenant
        now = time.time()
        return Message(
            queue_id=hop.queue_id,
            arrived_at=now,
            expires_from=now,
            tenant=tenant,
            priority=_NORMAL_PRIORITY,
            reverse_path=mail.reverse_path,
            header_from=stamp.header_from,
            message_id=stamp.message_id,
            # A declared SMTPUTF8 is only insisted on where the header section needs it (RFC 6531
            # section 3.6); whether an address does is asked when it leaves.
            smtputf8=mail.smtputf8 and not stamp.header.isascii(),
            body_8bit=mail.body_8bit or self._eight_bit,
            origin=hop.origin,
            recipients=tuple(self._transaction.recipients.values()),
            content=content,
        )
