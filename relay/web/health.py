"""Whether the relay lives, and whether it takes mail.

It lives while the event loop answers and the store's writer turns: an error of the store is an
answer, since the relay goes on saying 451. It is ready while mail is taken and the store can keep
it.
"""

import asyncio
import time

from relay.model.ports import StoreError
from relay.web.observed import Observed

# Longer than the store waits for another process that has it locked.
PATIENCE_S = 10.0
# The disk is not asked more often, however many ask us.
_ASKED_EVERY_S = 1.0


class Health:
    def __init__(self, observed: Observed, patience_s: float = PATIENCE_S) -> None:
        self._observed = observed
        self._patience_s = patience_s
        self._trying = asyncio.Lock()
        self._tried_at = float("-inf")
        self._trouble: str | None = None
        self._stuck: str | None = None

    async def why_dead(self) -> str | None:
        """None while it lives."""
        await self._try_store()
        return self._stuck

    async def why_unready(self) -> str | None:
        """None while it is ready."""
        refusal = self._observed.refusal()
        if refusal:
            return refusal
        await self._try_store()
        return self._stuck or self._trouble

    async def _try_store(self) -> None:
        async with self._trying:
            if time.monotonic() - self._tried_at < _ASKED_EVERY_S:
                return
            self._trouble = self._stuck = None
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._observed.try_store()
            except StoreError as error:
                self._trouble = f"the store failed: {error}"
            except TimeoutError:
                self._stuck = f"the store's writer gives no answer for {self._patience_s:g} s"
            self._tried_at = time.monotonic()
