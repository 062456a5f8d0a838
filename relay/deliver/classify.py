"""All failure policy: from the phase and what came, to cause, scope, and whether to try again.

Pure and table-driven. Unknown means transient. Authentication, TLS and DNS troubles never fail a
message; only a permanent refusal of a recipient or of the content does.
"""

import socket
import ssl

from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.reply import Reply
from relay.model.result import Deferred, Failed, Trouble

_BEFORE_MAIL = frozenset({Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH})
_ABOUT_CONTENT = frozenset({Phase.DATA, Phase.CONTENT, Phase.AFTER_DOT})

# (phase, permanent) -> (cause, scope); what is not named here is upstream_unavailable.
_BY_PHASE: dict[tuple[Phase, bool], tuple[Cause, Scope]] = {
    (Phase.AUTH, True): (Cause.AUTHENTICATION_FAILED, Scope.UPSTREAM),
    (Phase.AUTH, False): (Cause.AUTHENTICATION_FAILED, Scope.UPSTREAM),
    (Phase.TLS, True): (Cause.STARTTLS_UNAVAILABLE, Scope.UPSTREAM),
    (Phase.TLS, False): (Cause.STARTTLS_UNAVAILABLE, Scope.UPSTREAM),
    (Phase.MAIL, True): (Cause.SENDER_REFUSED, Scope.TENANT),
    (Phase.MAIL, False): (Cause.SENDER_REFUSED, Scope.MESSAGE),
    (Phase.RCPT, True): (Cause.RECIPIENT_REFUSED, Scope.RECIPIENT),
    (Phase.RCPT, False): (Cause.RECIPIENT_REFUSED, Scope.RECIPIENT),
    (Phase.DATA, True): (Cause.MESSAGE_REFUSED, Scope.MESSAGE),
    (Phase.DATA, False): (Cause.MESSAGE_REFUSED, Scope.MESSAGE),
    (Phase.CONTENT, True): (Cause.MESSAGE_REFUSED, Scope.MESSAGE),
    (Phase.CONTENT, False): (Cause.MESSAGE_REFUSED, Scope.MESSAGE),
    (Phase.AFTER_DOT, True): (Cause.MESSAGE_REFUSED, Scope.MESSAGE),
    (Phase.AFTER_DOT, False): (Cause.MESSAGE_REFUSED, Scope.MESSAGE),
}
# Of replies, only these may end a recipient's waiting; besides, what an upstream is known not to
# take (transaction.py) is not even tried.
_FAILING = frozenset({Cause.RECIPIENT_REFUSED, Cause.MESSAGE_REFUSED, Cause.MESSAGE_TOO_LARGE})
_TOO_LARGE_STATUS = frozenset({"5.3.4", "5.2.3"})


def of_reply(phase: Phase, reply: Reply) -> Trouble:
    """What a negative (or unexpected) reply means."""
    if reply.code == 421:
        return Deferred(Cause.UPSTREAM_UNAVAILABLE, Scope.UPSTREAM, reply)
    if reply.code == 530:
        return Deferred(Cause.AUTHENTICATION_REQUIRED, Scope.UPSTREAM, reply)
    if not 400 <= reply.code < 600:
        return Deferred(Cause.PROTOCOL_ERROR, Scope.UPSTREAM, reply)
    if phase in _ABOUT_CONTENT and reply.enhanced_status in _TOO_LARGE_STATUS:
        return Failed(Cause.MESSAGE_TOO_LARGE, Scope.MESSAGE, reply)
    cause, scope = _BY_PHASE.get(
        (phase, reply.permanent), (Cause.UPSTREAM_UNAVAILABLE, Scope.UPSTREAM)
    )
    if reply.permanent and cause in _FAILING:
        return Failed(cause, scope, reply)
    return Deferred(cause, scope, reply)


def of_silence(phase: Phase) -> Trouble:
    """No reply within its time-out."""
    if phase is Phase.CONNECT:
        return Deferred(Cause.CONNECT_TIMEOUT, Scope.UPSTREAM)
    if phase is Phase.TLS:
        return Deferred(Cause.TLS_HANDSHAKE_FAILED, Scope.UPSTREAM, detail="no answer in time")
    if phase is Phase.AFTER_DOT:
        return Deferred(Cause.OUTCOME_UNKNOWN, Scope.MESSAGE, detail="no reply in time")
    return Deferred(Cause.REPLY_TIMEOUT, Scope.UPSTREAM, detail=f"waiting at {phase}")


def of_exception(phase: Phase, error: BaseException) -> Trouble:
    """What broke below SMTP."""
    detail = _text(error)
    if phase is Phase.AFTER_DOT:
        return Deferred(Cause.OUTCOME_UNKNOWN, Scope.MESSAGE, detail=detail)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Deferred(Cause.CERTIFICATE_INVALID, Scope.UPSTREAM, detail=detail)
    if isinstance(error, ssl.SSLError) or (phase is Phase.TLS and isinstance(error, OSError)):
        return Deferred(Cause.TLS_HANDSHAKE_FAILED, Scope.UPSTREAM, detail=detail)
    if isinstance(error, socket.gaierror):
        return Deferred(Cause.DNS_FAILURE, Scope.UPSTREAM, detail=detail)
    if isinstance(error, TimeoutError):
        return of_silence(phase)
    if phase is Phase.CONNECT and isinstance(error, OSError):
        return Deferred(Cause.CONNECTION_REFUSED, Scope.UPSTREAM, detail=detail)
    if isinstance(error, OSError):
        return Deferred(Cause.CONNECTION_LOST, Scope.UPSTREAM, detail=f"at {phase}: {detail}")
    return Deferred(Cause.PROTOCOL_ERROR, Scope.UPSTREAM, detail=f"at {phase}: {detail}")


def _text(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:300]
