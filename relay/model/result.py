"""What one attempt at handing over came to, for one recipient, made where the command failed."""

from relay.model.causes import REMEDIES, Cause, Scope
from relay.model.reply import Reply
from relay.model.value import value_class


@value_class
class Relayed:
    """The upstream took responsibility."""

    reply: Reply


@value_class
class _Trouble:
    """Why a recipient was not relayed. ``reply`` is None where the upstream gave none.

    ``detail`` is the local reason (an exception's text) where there is no reply. ``own_remedy`` is
    said instead of the cause's, where this very reply has a better one.
    """

    cause: Cause
    scope: Scope
    reply: Reply | None = None
    detail: str = ""
    own_remedy: str | None = None

    @property
    def remedy(self) -> str:
        return self.own_remedy or REMEDIES[self.cause]


@value_class
class Deferred(_Trouble):
    """To be tried again."""


@value_class
class Failed(_Trouble):
    """Not to be tried again by itself."""


Trouble = Deferred | Failed
Result = Relayed | Trouble


@value_class
class Tls:
    mode: str
    version: str
    cipher: str


@value_class
class Attempt:
    """One transaction (or the failure to begin one) with an upstream.

    ``results`` has one entry for each recipient asked for, in their order. ``remote_mta`` is None
    where no connection came about. ``unchanged_8bit``: 8-bit content went to a server that does not
    offer 8BITMIME, as it was, since to re-encode it would break its signatures.
    """

    results: tuple[Result, ...]
    remote_mta: str | None
    tls: Tls | None
    duration_s: float
    unchanged_8bit: bool = False
