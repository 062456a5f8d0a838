"""The table of DESIGN's failures: phase and reply to cause, scope, and whether it is final."""

import errno
import socket
import ssl

import pytest

from relay.deliver.classify import of_exception, of_reply, of_silence
from relay.model.causes import REMEDIES, Cause
from relay.model.phase import Phase
from relay.model.reply import Reply, reply_from_lines
from relay.model.result import Deferred, Failed


@pytest.mark.parametrize(
    ("phase", "reply", "cause", "scope", "permanent"),
    [
        (Phase.BANNER, "554 5.3.2 closed", "upstream_unavailable", "upstream", False),
        (Phase.EHLO, "502 no", "upstream_unavailable", "upstream", False),
        (Phase.TLS, "454 4.7.0 no TLS now", "starttls_unavailable", "upstream", False),
        (Phase.AUTH, "535 5.7.8 wrong", "authentication_failed", "upstream", False),
        (Phase.AUTH, "454 4.7.0 later", "authentication_failed", "upstream", False),
        (Phase.MAIL, "530 5.7.0 first AUTH", "authentication_required", "upstream", False),
        (Phase.MAIL, "553 5.7.1 not yours", "sender_refused", "tenant", False),
        (Phase.MAIL, "451 4.7.1 later", "sender_refused", "message", False),
        (Phase.RCPT, "550 5.1.1 no such user", "recipient_refused", "recipient", True),
        (Phase.RCPT, "450 4.2.0 greylisted", "recipient_refused", "recipient", False),
        (Phase.DATA, "554 5.6.0 no", "message_refused", "message", True),
        (Phase.AFTER_DOT, "554 5.7.1 spam", "message_refused", "message", True),
        (Phase.AFTER_DOT, "451 4.3.0 later", "message_refused", "message", False),
        (Phase.AFTER_DOT, "552 5.3.4 too big", "message_too_large", "message", True),
        (Phase.CONTENT, "552 5.3.4 too big", "message_too_large", "message", True),
        (Phase.AFTER_DOT, "421 4.3.2 going", "upstream_unavailable", "upstream", False),
        (Phase.MAIL, "421 4.7.0 going", "upstream_unavailable", "upstream", False),
        (Phase.RCPT, "220 what", "protocol_error", "upstream", False),
        (Phase.DATA, "250 what", "protocol_error", "upstream", False),
    ],
)
def test_replies(phase: Phase, reply: str, cause: str, scope: str, permanent: bool) -> None:
    trouble = of_reply(phase, reply_from_lines(int(reply[:3]), [reply[4:]]))
    assert (trouble.cause, trouble.scope) == (cause, scope)
    assert isinstance(trouble, Failed if permanent else Deferred)


@pytest.mark.parametrize(
    ("phase", "error", "cause"),
    [
        (Phase.CONNECT, ConnectionRefusedError("no"), "connection_refused"),
        (Phase.CONNECT, OSError("no route to host"), "connection_refused"),
        (Phase.CONNECT, TimeoutError(), "connect_timeout"),
        (Phase.CONNECT, socket.gaierror("no name"), "dns_failure"),
        (Phase.CONNECT, ssl.SSLCertVerificationError("expired"), "certificate_invalid"),
        (Phase.CONNECT, ssl.SSLError("wrong version"), "tls_handshake_failed"),
        (Phase.TLS, ConnectionResetError(), "tls_handshake_failed"),
        (Phase.TLS, TimeoutError(), "tls_handshake_failed"),
        (Phase.MAIL, ConnectionResetError(), "connection_lost"),
        (Phase.MAIL, TimeoutError(), "reply_timeout"),
        (Phase.AFTER_DOT, ConnectionResetError(), "outcome_unknown"),
        (Phase.AFTER_DOT, TimeoutError(), "outcome_unknown"),
        (Phase.MAIL, ValueError("odd"), "protocol_error"),
        (Phase.CONNECT, OSError(errno.EMFILE, "too many open files"), "local_error"),
        (Phase.CONNECT, OSError(errno.ENETUNREACH, "no network"), "connection_refused"),
        (Phase.BANNER, ConnectionResetError(), "connection_lost"),
        (Phase.EHLO, ssl.SSLError("record layer failure"), "tls_handshake_failed"),
        (Phase.TLS, ssl.SSLCertVerificationError("self-signed"), "certificate_invalid"),
        (Phase.CONTENT, BrokenPipeError(), "connection_lost"),
        (Phase.AFTER_DOT, ssl.SSLError("eof"), "outcome_unknown"),
        (Phase.AFTER_DOT, ValueError("odd"), "outcome_unknown"),
    ],
)
def test_exceptions_never_fail_a_message(phase: Phase, error: Exception, cause: str) -> None:
    trouble = of_exception(phase, error)
    assert isinstance(trouble, Deferred)
    assert trouble.cause == cause
    assert trouble.remedy == REMEDIES[trouble.cause]


@pytest.mark.parametrize(
    ("phase", "cause", "scope"),
    [
        (Phase.CONNECT, "connect_timeout", "upstream"),
        (Phase.BANNER, "reply_timeout", "upstream"),
        (Phase.EHLO, "reply_timeout", "upstream"),
        (Phase.TLS, "tls_handshake_failed", "upstream"),
        (Phase.AUTH, "reply_timeout", "upstream"),
        (Phase.MAIL, "reply_timeout", "upstream"),
        (Phase.RCPT, "reply_timeout", "upstream"),
        (Phase.DATA, "reply_timeout", "upstream"),
        (Phase.CONTENT, "reply_timeout", "upstream"),
        (Phase.AFTER_DOT, "outcome_unknown", "message"),
    ],
)
def test_silence(phase: Phase, cause: str, scope: str) -> None:
    trouble = of_silence(phase)
    assert isinstance(trouble, Deferred)
    assert (trouble.cause, trouble.scope) == (cause, scope)
    assert phase in trouble.detail


def test_the_remedy_of_silence_names_the_setting_that_bounds_it() -> None:
    """The library's connection spans the banner, so timeouts.reply has no say in that."""
    assert "timeouts.connect" in of_silence(Phase.BANNER).remedy
    assert "tls: implicit" in of_silence(Phase.BANNER).remedy
    for phase in (Phase.EHLO, Phase.AUTH, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT):
        assert "timeouts.reply" in of_silence(phase).remedy


@pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.RCPT])
@pytest.mark.parametrize("code", range(400, 600, 7))
def test_only_recipients_and_content_can_fail(phase: Phase, code: int) -> None:
    trouble = of_reply(phase, Reply(code, None, "x"))
    about_content = {Phase.DATA, Phase.CONTENT, Phase.AFTER_DOT}
    assert isinstance(trouble, Deferred) or (phase in about_content and code >= 500)


def test_every_cause_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Cause)
