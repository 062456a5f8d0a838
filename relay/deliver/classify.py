"""All failure policy: from the phase and what came, to cause, scope, and whether to try again.

Pure. What replies mean is data: the provider's own rows, then relay/providers/general.yaml. Unknown
means transient. DNS, TLS, certificate and AUTH trouble never fails a message; only a permanent
refusal of a recipient or of the content does. docs/failures.md is made from these tables.
"""

import errno
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from relay.config.providers import general_rules
from relay.model.causes import FINAL_SCOPES, Cause, Scope
from relay.model.phase import Phase
from relay.model.provider import ReplyRule
from relay.model.reply import Reply
from relay.model.result import Deferred, Failed, Trouble
from relay.model.value import value_class

# Read when the relay starts: what a failure means must not hang on a file that is gone by then.
GENERAL_RULES = general_rules()


def of_reply(phase: Phase, reply: Reply, rules: Sequence[ReplyRule] = ()) -> Trouble:
    """What a negative (or unexpected) reply means; ``rules`` are the provider's own."""
    if not 400 <= reply.code < 600:
        return Deferred(Cause.PROTOCOL_ERROR, Scope.UPSTREAM, reply)
    rule = rule_for(phase, reply, rules)
    result = Failed if rule.permanent and reply.permanent else Deferred
    return result(rule.cause, reach(rule, phase), reply, own_remedy=rule.remedy)


def rule_for(phase: Phase, reply: Reply, rules: Sequence[ReplyRule] = ()) -> ReplyRule:
    """The first row that fits; the last general one fits every reply."""
    bare = _without_addresses(reply)
    return next(rule for rule in chain(rules, GENERAL_RULES) if rule.matches(phase, bare))


def reach(rule: ReplyRule, phase: Phase) -> Scope:
    """A refusal at RCPT is the one recipient's; at any other phase it is everybody's in it."""
    if rule.scope not in FINAL_SCOPES:
        return rule.scope
    return Scope.RECIPIENT if phase is Phase.RCPT else Scope.MESSAGE


# An address is the application's text, not the server's: whoever may send to a recipient
# "daily limit exceeded"@x.example must not thereby pause the upstream.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"@\S*|<[^<>]*>')
_MOST_TEXT = 2000


def _without_addresses(reply: Reply) -> Reply:
    text = _QUOTED.sub(" ", reply.text[:_MOST_TEXT])
    return replace(reply, text=" ".join(word for word in text.split() if "@" not in word))


_NO_MAILBOX_STATUSES = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
# These say nothing of their own, or nothing beyond the code; then the text has to.
_VAGUE_STATUSES = frozenset({None, "5.0.0", "5.1.0", "5.5.0"})
_NO_MAILBOX = re.compile(
    r"(user|recipient|mailbox|account|address)\b.{0,40}\b(unknown|not found|does(n't| not) exist"
    r"|no longer (exists|valid|available|here))"
    r"|(unknown|no such|invalid|non-?existent) ((local|email) )?"
    r"(user|recipient|mailbox|account|address)"
    r"|no mailbox (here )?by that name|not a (known|valid) (user|recipient|mailbox)",
    re.IGNORECASE,
)
_ANOTHER_REASON = re.compile(
    r"\b(spam|polic(y|ies)|blocked|blacklist|reputation|quota|full|limit|rate|sender)\b"
    r"|too (many|quickly|fast)|receiving (mail|messages)|relay(ing)?( access)? denied",
    re.IGNORECASE,
)


def means_no_mailbox(reply: Reply) -> bool:
    """Whether a permanent refusal at RCPT says that there is no such mailbox.

    A bare "550 mailbox unavailable" does not: RFC 5321 section 4.2.3 gives it for policy too.
    """
    text = _without_addresses(reply).text
    if not reply.permanent or _ANOTHER_REASON.search(text):
        return False
    if reply.enhanced_status in _NO_MAILBOX_STATUSES:
        return True
    return reply.enhanced_status in _VAGUE_STATUSES and _NO_MAILBOX.search(text) is not None


@value_class
class Breakage:
    """A row of what can break below SMTP; ``words`` are for the operator. No phases are all."""

    words: str
    cause: Cause
    errors: tuple[type[BaseException], ...]
    phases: frozenset[Phase] = frozenset()
    errnos: frozenset[int] = frozenset()
    scope: Scope = Scope.UPSTREAM

    def matches(self, phase: Phase, error: BaseException) -> bool:
        return (
            isinstance(error, self.errors)
            and (not self.phases or phase in self.phases)
            and (not self.errnos or getattr(error, "errno", None) in self.errnos)
        )


_AFTER_DOT = frozenset({Phase.AFTER_DOT})
_CONNECT = frozenset({Phase.CONNECT})
_TLS = frozenset({Phase.TLS})
_OUT_OF_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

# The first row that fits decides; a time-out of the reply is of_silence's.
BREAKAGES = (
    Breakage(
        "the connection was lost behind the final dot",
        Cause.OUTCOME_UNKNOWN,
        (BaseException,),
        _AFTER_DOT,
        scope=Scope.MESSAGE,
    ),
    Breakage(
        "the certificate is expired, self-signed, or for another name",
        Cause.CERTIFICATE_INVALID,
        (ssl.SSLCertVerificationError,),
    ),
    Breakage("TLS failed: wrong mode or protocol", Cause.TLS_HANDSHAKE_FAILED, (ssl.SSLError,)),
    Breakage("hung up during the TLS handshake", Cause.TLS_HANDSHAKE_FAILED, (OSError,), _TLS),
    Breakage("the host's name was not found", Cause.DNS_FAILURE, (socket.gaierror,)),
    Breakage(
        "this machine has no sockets or memory left",
        Cause.LOCAL_ERROR,
        (OSError,),
        _CONNECT,
        _OUT_OF_MEANS,
    ),
    Breakage("refused, or no route", Cause.CONNECTION_REFUSED, (OSError,), _CONNECT),
    Breakage("the connection was lost", Cause.CONNECTION_LOST, (OSError,)),
    Breakage("what came is no SMTP", Cause.PROTOCOL_ERROR, (BaseException,)),
)


@value_class
class Silence:
    """A row of what silence means. ``remedy`` is said instead of the cause's own."""

    cause: Cause
    scope: Scope = Scope.UPSTREAM
    remedy: str | None = None


# By phase; at all others it is a reply_timeout of the upstream.
SILENCES = {
    Phase.CONNECT: Silence(Cause.CONNECT_TIMEOUT),
    # A port that speaks TLS from the first octet waits for ours, and a slow one looks just so.
    Phase.BANNER: Silence(
        Cause.REPLY_TIMEOUT,
        remedy="the server did not even greet: if the port wants TLS from the first octet, set "
        "tls: implicit; if it is only slow, raise timeouts.connect",
    ),
    Phase.TLS: Silence(Cause.TLS_HANDSHAKE_FAILED),
    Phase.AFTER_DOT: Silence(Cause.OUTCOME_UNKNOWN, Scope.MESSAGE),
}
OTHER_SILENCE = Silence(Cause.REPLY_TIMEOUT)


def of_silence(phase: Phase) -> Trouble:
    """No reply within its time-out."""
    row = SILENCES.get(phase, OTHER_SILENCE)
    detail = f"no answer in time ({phase})"
    return Deferred(row.cause, row.scope, detail=detail, own_remedy=row.remedy)


def of_exception(phase: Phase, error: BaseException) -> Trouble:
    """What broke below SMTP."""
    if isinstance(error, TimeoutError):
        return of_silence(phase)
    row = next(row for row in BREAKAGES if row.matches(phase, error))
    return Deferred(row.cause, row.scope, detail=f"{_words(error)[:300]} ({phase})")


def _words(error: BaseException) -> str:
    """Without the number, which says nothing that the words don't."""
    words = error.strerror if isinstance(error, OSError) else None
    plain = words if words and not isinstance(error, ssl.SSLError) else str(error)
    return plain or type(error).__name__
