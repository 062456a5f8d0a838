"""One transaction over one connection: MAIL, RCPT, DATA, content; one result for each recipient.

Pipelined (RFC 2920) where the server offers it: the envelope is one write, and goes right behind
the final dot of the transaction before it, so that a message costs one round trip. Only the reply
behind its own final dot makes a recipient relayed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from relay.config.schema import Timeouts
from relay.deliver import classify
from relay.deliver.connection import Connection
from relay.deliver.wire import DismissedError, ProtocolError
from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.ports import StoreError
from relay.model.provider import ReplyRule
from relay.model.reply import Reply
from relay.model.result import Deferred, Failed, Relayed, Result, Trouble
from relay.model.value import value_class

_END = b".\r\n"
# Whose final replies take longer is not followed: who comes next may be served sooner elsewhere.
_QUICK_S = 1.0
# Nor is one waited for that was quick before, and is not any more.
_PATIENCE_S = 5.0
# A server that has thrown our envelope away with the end of the content says nothing to it.
_HEARD_WITHIN_S = 10.0


@value_class
class Handover:
    """What is to be handed over: an envelope, and content in wire form that can be read anew.

    ``smtputf8``: the header section needs it, whether an address does or not.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    size: int
    body_8bit: bool
    smtputf8: bool
    content: Callable[[], AsyncIterator[bytes]]

    @property
    def needs_smtputf8(self) -> bool:
        addresses = (self.reverse_path, *self.recipients)
        return self.smtputf8 or not all(address.isascii() for address in addresses)


_NO_SMTPUTF8 = Failed(Cause.SMTPUTF8_UNSUPPORTED, Scope.MESSAGE)
_NOT_HEARD = Deferred(Cause.REPLY_TIMEOUT, Scope.UPSTREAM)
_NO_SMTPUTF8_HERE = Failed(Cause.SMTPUTF8_UNSUPPORTED, Scope.RECIPIENT)


class _NotHeard(Exception):
    """The transaction ahead has no reply yet, or the server does not hear what is sent behind it:
    nothing has been tried."""


class Transaction:
    """``run`` once. ``began`` tells whether the server has answered anything of it; ``misled`` that
    it does not hear an envelope behind a final dot. ``began_at`` is when its turn to be answered
    came, by the monotonic clock.

    ``sending_end`` is called just before the final dot leaves. Where another transaction may follow
    on the connection it returns a future, which is True once the reply has come, or never will.
    """

    def __init__(
        self,
        connection: Connection,
        handover: Handover,
        timeouts: Timeouts,
        rules: Sequence[ReplyRule] = (),
        sending_end: Callable[[], asyncio.Future[bool] | None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._wire = connection.wire
        self._handover = handover
        self._timeouts = timeouts
        self._rules = rules
        self._sending_end = sending_end
        self._phase = Phase.MAIL
        # By position: who is asked for, and who of them was refused.
        self._asked = list(range(len(handover.recipients)))
        self._refused: dict[int, Result] = {}
        self._passed: asyncio.Future[bool] | None = None
        self._lets_pass = False
        self.began = self.misled = False
        self.began_at = time.monotonic()

    async def run(self) -> tuple[Result, ...]:
        """One result for each recipient. Raises nothing but cancellation; a connection that broke
        is unusable after."""
        unfit = self._unfit()
        if unfit or not self._asked:
            return self._for_all(unfit or _NO_SMTPUTF8)
        try:
            return self._for_all(await self._hand_over())
        except _NotHeard:
            return self._for_all(_NOT_HEARD)
        except DismissedError as dismissed:
            self._wire.abort()
            return self._for_all(self._meaning(self._phase, dismissed.reply))
        except StoreError as error:
            self._wire.abort()
            detail = f"the content could not be read from the store: {error}"
            return self._for_all(Deferred(Cause.LOCAL_ERROR, Scope.MESSAGE, detail=detail))
        except Exception as error:
            self._wire.abort()
            return self._for_all(classify.of_exception(self._phase, error))
        except BaseException:
            # The one ahead waits for its reply still.
            if not self._lets_pass:
                self._wire.abort()
            raise
        finally:
            if self._passed:
                _resolve(self._passed, True)

    def _for_all(self, result: Result) -> tuple[Result, ...]:
        """Each recipient's own refusal, or what holds for the others."""
        masked = self._connection.masking.masked_result
        result = masked(result)
        refused = {position: masked(refusal) for position, refusal in self._refused.items()}
        return tuple(refused.get(i, result) for i in range(len(self._handover.recipients)))

    def _unfit(self) -> Trouble | None:
        """What the server is known not to take is not even tried."""
        offers, handover = self._connection.offers, self._handover
        if offers.size and handover.size > offers.size:
            detail = f"{handover.size} octets, the server takes {offers.size}"
            return Failed(Cause.MESSAGE_TOO_LARGE, Scope.MESSAGE, detail=detail)
        if offers.smtputf8:
            return None
        if handover.smtputf8 or not handover.reverse_path.isascii():
            return _NO_SMTPUTF8
        foreign = {i for i, address in enumerate(handover.recipients) if not address.isascii()}
        self._refused |= dict.fromkeys(foreign, _NO_SMTPUTF8_HERE)
        self._asked = [i for i in self._asked if i not in foreign]
        return None

    async def _hand_over(self) -> Result:
        """What holds for every recipient that was not refused on its own."""
        connection = self._connection
        ahead, connection.ahead = connection.ahead, None
        if connection.unfinished:
            self._wire.send(b"RSET\r\n", replies=1)
            await self._reply()
        connection.transactions += 1
        connection.unfinished = True
        envelope = [self._mail(), *self._rcpts()]
        if not connection.offers.pipelining:
            trouble = await self._envelope_step_by_step(envelope)
        elif ahead is None or ahead.done():
            self._send_at_once(envelope)
            trouble = await self._replies_to_envelope(await self._reply())
        else:
            trouble = await self._envelope_behind(ahead, envelope)
        if trouble:
            return trouble
        return await self._content()

    def _send_at_once(self, envelope: list[bytes]) -> None:
        self._wire.send(b"".join([*envelope, b"DATA\r\n"]), replies=len(envelope) + 1)

    async def _envelope_behind(
        self, ahead: asyncio.Future[bool], envelope: list[bytes]
    ) -> Trouble | None:
        """Right behind the final dot of the one ahead. What the server has against MAIL there may
        be that it comes there: only what it says to a second MAIL is a verdict."""
        self._send_at_once(envelope)
        await self._let_pass(ahead)
        mail = await self._heard()
        if mail.code // 100 == 2:
            return await self._replies_to_envelope(mail)
        await self._skip_replies(len(envelope))
        self.began, self.misled = False, True
        self._send_at_once(envelope)
        mail = await self._reply()
        self.misled = mail.code // 100 == 2
        return await self._replies_to_envelope(mail)

    async def _let_pass(self, ahead: asyncio.Future[bool]) -> None:
        """Until the replies are ours. Raises _NotHeard where that takes too long: then this one
        goes elsewhere, and the connection, to which our envelope has gone, ends with the one
        ahead."""
        self._lets_pass = self._connection.spoiled = True
        timer = asyncio.get_running_loop().call_later(_PATIENCE_S, _resolve, ahead, False)
        try:
            passed = await ahead
        finally:
            timer.cancel()
        if not passed:
            raise _NotHeard
        self._lets_pass = self._connection.spoiled = False
        self.began_at = time.monotonic()

    async def _heard(self) -> Reply:
        """The reply to MAIL. Raises _NotHeard where none comes."""
        try:
            reply = await self._wire.reply(min(_HEARD_WITHIN_S, self._timeouts.reply))
        except TimeoutError:
            self.misled = True
            self._wire.abort()
            raise _NotHeard from None
        if reply.code == 421:
            raise DismissedError(reply)
        self.began = True
        return reply

    def _mail(self) -> bytes:
        handover, offers = self._handover, self._connection.offers
        parameters = ""
        if offers.size:
            parameters += f" SIZE={handover.size}"
        if handover.body_8bit and offers.eight_bit_mime:
            parameters += " BODY=8BITMIME"
        if handover.needs_smtputf8:
            parameters += " SMTPUTF8"
        return f"MAIL FROM:<{handover.reverse_path}>{parameters}\r\n".encode()

    def _rcpts(self) -> list[bytes]:
        addresses = self._handover.recipients
        return [f"RCPT TO:<{addresses[position]}>\r\n".encode() for position in self._asked]

    async def _replies_to_envelope(self, mail: Reply) -> Trouble | None:
        """``mail`` is the reply to MAIL; those to every RCPT and DATA are under way."""
        if mail.code // 100 != 2:
            await self._skip_replies(len(self._asked) + 1)
            return self._meaning(Phase.MAIL, mail)
        self._phase = Phase.RCPT
        trouble = self._judge([await self._reply() for _ in self._asked])
        if trouble:
            await self._skip_replies(1)
            return trouble
        self._phase = Phase.DATA
        data = await self._reply()
        return None if data.code == 354 else self._meaning(Phase.DATA, data)

    async def _skip_replies(self, count: int) -> None:
        """What the server says to commands that have lost their point, if it still says anything.

        One that asks for content although there is nobody to receive it (RFC 2920 section 3.1)
        gets none, on a connection that is not used again.
        """
        try:
            replies = [await self._wire.reply(self._timeouts.reply) for _ in range(count)]
        except (ProtocolError, OSError):
            self._wire.abort()
        else:
            if replies[-1].code == 354:
                self._wire.abort()

    async def _envelope_step_by_step(self, envelope: list[bytes]) -> Trouble | None:
        mail = await self._ask(envelope[0])
        if mail.code // 100 != 2:
            return self._meaning(Phase.MAIL, mail)
        self._phase = Phase.RCPT
        trouble = self._judge([await self._ask(command) for command in envelope[1:]])
        if trouble:
            return trouble
        self._phase = Phase.DATA
        data = await self._ask(b"DATA\r\n")
        return None if data.code == 354 else self._meaning(Phase.DATA, data)

    def _judge(self, rcpts: list[Reply]) -> Trouble | None:
        """Notes each recipient's refusal; a trouble where nobody is left."""
        for position, reply in zip(self._asked, rcpts, strict=True):
            if reply.code // 100 != 2:
                self._refused[position] = self._meaning(Phase.RCPT, reply)
        if all(position in self._refused for position in self._asked):
            return self._meaning(Phase.RCPT, rcpts[-1])
        return None

    async def _content(self) -> Result:
        self._phase = Phase.CONTENT
        # The last piece goes with the final dot: one TLS record and system call for most messages.
        last = b""
        async for piece in self._handover.content():
            if last:
                self._wire.send(last, replies=0)
                await self._wire.drained(self._timeouts.reply)
            last = piece
        self._passed = self._sending_end()
        # With the envelope that follows, if it does.
        self._wire.send(last + _END, replies=1, more=self._passed is not None, is_end=True)
        self._phase = Phase.AFTER_DOT
        self._connection.unfinished = False
        asked_at = time.monotonic()
        reply = await self._wire.reply(self._timeouts.data_reply)
        self._connection.quick = time.monotonic() - asked_at < _QUICK_S
        if reply.code // 100 == 2:
            return Relayed(reply)
        return self._meaning(Phase.AFTER_DOT, reply)

    def _meaning(self, phase: Phase, reply: Reply) -> Trouble:
        return classify.of_reply(phase, reply, self._rules)

    async def _ask(self, command: bytes) -> Reply:
        self._wire.send(command, replies=1)
        return await self._reply()

    async def _reply(self) -> Reply:
        reply = await self._wire.reply(self._timeouts.reply)
        if reply.code == 421:
            raise DismissedError(reply)
        self.began = True
        return reply


def _resolve(passed: asyncio.Future[bool], value: bool) -> None:
    if not passed.done():
        passed.set_result(value)
