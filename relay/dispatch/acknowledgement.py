"""``acknowledge: relayed``: the application waits for what the first attempt comes to.

The message is committed before, so nothing hangs on it: a relayed message answers with the
upstream's words, one that was refused for good with the refusal, if the application is still there
to hear it. Anything else is a 250, and the queue goes on.
"""

import asyncio
from collections.abc import Sequence

from relay.model.causes import Cause
from relay.model.message import Recipient, State
from relay.model.ports import Client
from relay.model.reply import Reply
from relay.model.result import Failed, Result

# What the upstream is known not to take is not even offered to it, so it has said nothing.
_OWN_WORDS = {
    Cause.MESSAGE_TOO_LARGE: Reply(552, "5.3.4", "the upstream takes no message of this size"),
    Cause.SMTPUTF8_UNSUPPORTED: Reply(553, "5.6.7", "the upstream takes ASCII addresses alone"),
}


class Acknowledgement:
    def __init__(self, client: Client) -> None:
        self._client: Client | None = client
        self._answer: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._refused = False

    async def wait(self, within_s: float, *, otherwise: Reply) -> Reply | None:
        """The upstream's reply, where all recipients were relayed; None where the client has been
        refused. From its return on nothing is refused any more."""
        reply = None
        try:
            async with asyncio.timeout(within_s):
                reply = await self._answer
        except TimeoutError:
            pass
        finally:
            self._client = None
        return None if self._refused else reply or otherwise

    def refuse(self, results: Sequence[Result]) -> bool:
        """Every recipient's results; whether the client has been told of the failure of all."""
        if self._client is None or not all(isinstance(result, Failed) for result in results):
            return False
        replies = [r.reply or _OWN_WORDS.get(r.cause) for r in results if isinstance(r, Failed)]
        if not replies or None in replies:
            return False
        assert replies[-1] is not None
        self._refused = self._client.refuse(replies[-1])
        if self._refused:
            self._client = None
        return self._refused

    def settled(self, recipients: Sequence[Recipient]) -> None:
        """The attempt is stored, and this is what has become of all recipients."""
        states = {recipient.state for recipient in recipients}
        replies = [recipient.reply for recipient in recipients if recipient.reply]
        self._resolve(replies[-1] if states == {State.RELAYED} and replies else None)

    def over(self) -> None:
        """There is nothing more to wait for."""
        self._resolve(None)

    def _resolve(self, reply: Reply | None) -> None:
        if not self._answer.done():
            self._answer.set_result(reply)
