"""What replies mean, word by word: at any server, and at each provider."""
# ruff: noqa: E501 - a row of a table is a line

import pytest

from relay.config.providers import provider, providers
from relay.deliver.classify import GENERAL_RULES, means_no_mailbox, of_reply, rule_for
from relay.model.causes import FINAL_CAUSES
from relay.model.phase import Phase
from relay.model.provider import FROM_MAIL_ON, ReplyRule
from relay.model.reply import Reply, reply_from_lines
from relay.model.result import Failed, Trouble

CONNECT, BANNER, EHLO, TLS, AUTH = Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH
MAIL, RCPT, DATA, CONTENT, DOT = Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT, Phase.AFTER_DOT

AUTHENTICATION = "authentication_failed upstream waits"
REQUIRED = "authentication_required upstream waits"
QUOTA = "quota_exceeded upstream waits"
RATE = "rate_limited upstream waits"
SENDER = "sender_refused tenant waits"
UNAVAILABLE = "upstream_unavailable upstream waits"
RECIPIENT = "recipient_refused recipient waits"
NO_RECIPIENT = "recipient_refused recipient fails"
TOO_LARGE = "message_too_large message fails"
REFUSED = "message_refused message fails"
LATER = "message_refused message waits"


def parsed(text: str) -> Reply:
    return reply_from_lines(int(text[:3]), [text[4:]])


def said(trouble: Trouble) -> str:
    return f"{trouble.cause} {trouble.scope} {'fails' if isinstance(trouble, Failed) else 'waits'}"


ANYWHERE = [
    # Before MAIL nothing is about a message.
    (BANNER, "554 5.3.2 No service", UNAVAILABLE, "by itself"),
    (BANNER, "550 5.1.1 No such user", UNAVAILABLE, ""),
    (BANNER, "421 4.3.2 Service not available", UNAVAILABLE, ""),
    (BANNER, "421 Too many concurrent SMTP connections", RATE, "limits"),
    (BANNER, "554 5.7.1 Client host [192.0.2.1] blocked", UNAVAILABLE, "hostname"),
    (BANNER, "554 Your IP 192.0.2.1 is not allowed", UNAVAILABLE, "address or name"),
    (CONNECT, "554 no", UNAVAILABLE, ""),
    (EHLO, "502 5.5.1 Unknown command", UNAVAILABLE, ""),
    (EHLO, "501 5.5.4 Invalid domain name", UNAVAILABLE, ""),
    (EHLO, "450 4.7.1 Helo command rejected: Host not found", UNAVAILABLE, "hostname"),
    (EHLO, "554 Your account has been suspended", AUTHENTICATION, "suspended"),
    (TLS, "454 4.7.0 TLS not available", "starttls_unavailable upstream waits", "tls: implicit"),
    (TLS, "502 5.5.1 Unknown command", "starttls_unavailable upstream waits", "port"),
    (TLS, "421 4.7.0 Too many connections", RATE, ""),
    # AUTH.
    (AUTH, "535 5.7.8 Authentication credentials invalid", AUTHENTICATION, "username and password"),
    (AUTH, "535 Incorrect authentication data", AUTHENTICATION, "password"),
    (AUTH, "534 5.7.9 Mechanism too weak", AUTHENTICATION, "app password"),
    (AUTH, "538 5.7.11 Encryption required", AUTHENTICATION, ""),
    (AUTH, "504 5.5.4 Unrecognized authentication type", AUTHENTICATION, ""),
    (AUTH, "503 5.5.1 AUTH not available", AUTHENTICATION, ""),
    (AUTH, "550 5.1.1 no", AUTHENTICATION, ""),
    (AUTH, "454 4.7.0 Temporary authentication failure", AUTHENTICATION, "if it lasts"),
    (AUTH, "451 4.3.0 Try again later", AUTHENTICATION, "if it lasts"),
    (AUTH, "421 4.7.0 Try again later", UNAVAILABLE, ""),
    (AUTH, "530 5.7.0 Must issue a STARTTLS command first", REQUIRED, "upstream's tls"),
    (AUTH, "454 4.7.1 Rate limit exceeded", RATE, ""),
    (MAIL, "530 5.7.0 Authentication required", REQUIRED, "username and password"),
    (RCPT, "530 5.7.1 Relaying denied", REQUIRED, ""),
    (DOT, "530 5.7.0 Authentication required", REQUIRED, ""),
    (MAIL, "550 5.7.1 Authentication required", REQUIRED, ""),
    (MAIL, "503 5.5.4 Error: SMTP auth required", REQUIRED, ""),
    (RCPT, "550 SMTP AUTH is required for message submission", REQUIRED, ""),
    # MAIL: the sender's, and never the end of a message but for its size.
    (MAIL, "553 5.7.1 Not yours", SENDER, "rewrite_from"),
    (MAIL, "550 5.1.8 Bad sender", SENDER, "verify"),
    (MAIL, "501 5.1.7 Bad sender address syntax", SENDER, ""),
    (MAIL, "550 no", SENDER, ""),
    (MAIL, "451 4.7.1 Later", "sender_refused message waits", "later"),
    (MAIL, "452 4.3.1 Insufficient system storage", "sender_refused message waits", "later"),
    (MAIL, "450 4.1.8 Sender address rejected: Domain not found", SENDER, ""),
    (MAIL, "450 Sender not verified", SENDER, ""),
    (MAIL, "421 4.4.2 Bye", UNAVAILABLE, ""),
    (MAIL, "503 5.5.1 Bad sequence of commands", "protocol_error message waits", "host and port"),
    (MAIL, "552 5.3.4 Message size exceeds fixed limit", TOO_LARGE, "smaller"),
    (MAIL, "552 Message size exceeds maximum permitted", TOO_LARGE, ""),
    (MAIL, "452 4.3.4 Message size exceeds what is free", "sender_refused message waits", ""),
    (MAIL, "550 5.6.7 SMTPUTF8 needed", "smtputf8_unsupported message fails", "SMTPUTF8"),
    # Senders, wherever it is said.
    (RCPT, "554 5.7.1 <bob@b.example>: Relay access denied", SENDER, "set username"),
    (RCPT, "550 5.7.1 Relaying denied", SENDER, ""),
    (RCPT, "550 relay not permitted", SENDER, ""),
    (RCPT, "550 5.7.1 Unable to relay", SENDER, ""),
    (RCPT, "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", SENDER, "username"),
    (RCPT, "550 I cannot deliver mail for <bob@b.example>", SENDER, "username"),
    (RCPT, "550 Cannot deliver mail for unknown users", NO_RECIPIENT, ""),
    # A Postfix that wants a login, or one recipient that it refuses; Microsoft's is no mailbox.
    (RCPT, "554 5.7.1 <bob@b.example>: Recipient address rejected: Access denied", RECIPIENT, "username"),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", NO_RECIPIENT, ""),
    (RCPT, "553 5.7.1 <a@a.example>: Sender address rejected: not owned by user x", SENDER, ""),
    (RCPT, "550 Sender verify failed", SENDER, ""),
    (DOT, "550 5.7.1 Sender not verified", SENDER, ""),
    (DOT, "550 5.7.60 You may not", SENDER, "verify"),
    (DOT, "554 You are not authorised to send as a@a.example", SENDER, ""),
    (DOT, "550 Client does not have permissions to send as this sender", SENDER, ""),
    (DOT, "550 The acme.example domain is not verified", SENDER, ""),
    (DOT, "550 From address does not match the login", SENDER, ""),
    (DOT, "550 5.7.26 This mail is unauthenticated", SENDER, "DMARC"),
    (DOT, "550 5.7.1 Email rejected per DMARC policy for a.example", SENDER, "relay doctor"),
    (DOT, "550 SPF check failed", SENDER, "SPF"),
    # RCPT.
    (RCPT, "550 5.1.1 <bob@b.example>: User unknown", NO_RECIPIENT, "address"),
    (RCPT, "550 5.7.1 No", NO_RECIPIENT, ""),
    (RCPT, "550 5.7.1 You are not allowed to send mail to this group", NO_RECIPIENT, ""),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied", NO_RECIPIENT, ""),
    (RCPT, "550 5.1.2 Recipient domain not allowed", NO_RECIPIENT, ""),
    (RCPT, "501 5.1.3 Bad recipient address syntax", NO_RECIPIENT, ""),
    (RCPT, "450 4.2.0 Greylisted, you come back too quickly", RECIPIENT, "tried again"),
    (RCPT, "451 4.1.1 unverified address", RECIPIENT, "later"),
    (RCPT, "452 4.2.2 The email account that you tried to reach is over quota", RECIPIENT, "full"),
    (RCPT, "552 5.2.2 Quota exceeded (mailbox for user is full)", NO_RECIPIENT, "full"),
    (RCPT, "552 Mailbox full", NO_RECIPIENT, "full"),
    (RCPT, "452 Mailbox has exceeded its quota", RECIPIENT, "full"),
    (RCPT, "552 Quota exceeded", RECIPIENT, "full"),
    (RCPT, "550 User over quota", NO_RECIPIENT, "full"),
    (RCPT, "452 4.5.3 Too many recipients", RECIPIENT, "limits.recipients"),
    (RCPT, "552 5.5.3 Too many recipients", RECIPIENT, "limits.recipients"),
    (RCPT, "552 Too many recipients", RECIPIENT, "limits.recipients"),
    (RCPT, "452 4.3.1 Insufficient storage", RECIPIENT, ""),
    (RCPT, "450 4.2.1 The user you are trying to contact is receiving mail too quickly", RECIPIENT, ""),
    (RCPT, "550 5.2.1 The user you are trying to contact is receiving mail at a rate", RECIPIENT, ""),
    (RCPT, "552 5.2.3 Too long for this mailbox", "message_too_large recipient fails", ""),
    (RCPT, "503 5.5.1 Need MAIL first", "protocol_error recipient waits", ""),
    (RCPT, "554 5.7.1 Client host [192.0.2.1] blocked using a list", UNAVAILABLE, ""),
    # Rates and quotas, even as a 5yz.
    (RCPT, "554 5.7.1 <b@b.example>: Recipient address rejected: You are over your quota", QUOTA, ""),
    (RCPT, "450 4.7.1 <b@b.example>: Recipient address rejected: Rate limit exceeded", RATE, ""),
    (RCPT, "550 5.1.90 You've reached your daily limit for message recipients", QUOTA, ""),
    (RCPT, "550 Domain a.example has exceeded the max emails per hour (5/5)", QUOTA, "window"),
    (RCPT, "452 Too many recipients this hour", QUOTA, ""),
    (MAIL, "452 4.7.0 Too many messages", RATE, ""),
    (MAIL, "450 Too frequent connects, slow down", RATE, ""),
    (MAIL, "550 5.4.5 No more today", QUOTA, "plan"),
    (DATA, "451 Message rate exceeded", RATE, ""),
    (DOT, "550 5.4.5 Daily sending limit exceeded", QUOTA, ""),
    (DOT, "550 Monthly quota reached", QUOTA, ""),
    (DOT, "554 Sender quota exceeded", QUOTA, ""),
    (DOT, "550 Sending limit exceeded", QUOTA, ""),
    (DOT, "550 Out of credits", QUOTA, ""),
    (DOT, "421 4.7.28 Unusual rate of mail", RATE, ""),
    (DOT, "450 4.7.28 no", RATE, ""),
    (DOT, "550 Request was throttled", RATE, ""),
    (DOT, "550 5.7.1 Sending rate too high", RATE, ""),
    (DOT, "554 Sending suspended for this account", AUTHENTICATION, "support"),
    # Content.
    (DATA, "554 5.6.0 No", REFUSED, "content"),
    (DATA, "451 4.3.0 Later", LATER, "later"),
    (CONTENT, "552 5.3.4 Too big", TOO_LARGE, ""),
    (DOT, "552 5.2.3 Message exceeds administrative limit", TOO_LARGE, ""),
    (DOT, "554 Message too large", TOO_LARGE, ""),
    (DOT, "552 Maximum message size exceeded: size limit exceeded", TOO_LARGE, ""),
    (DOT, "452 4.3.1 Message too large for now", LATER, ""),
    (DOT, "554 5.7.1 Spam message rejected", REFUSED, "reply"),
    (DOT, "550 5.7.1 Corporate policy", REFUSED, ""),
    (DOT, "554 Contains a link on a blocklist", REFUSED, ""),
    (DOT, "554 5.4.6 Too many hops", REFUSED, ""),
    (DOT, "500 5.5.2 Line too long", REFUSED, ""),
    (DOT, "552 5.2.2 Mailbox full", "recipient_refused message fails", "full"),
    (DOT, "550 5.2.1 The account that you tried to reach is disabled", "recipient_refused message fails", ""),
    (DOT, "552 Recipient limit exceeded", "recipient_refused message waits", "limits.recipients"),
    (DOT, "421 4.3.2 Going", UNAVAILABLE, ""),
    # No negative reply at all.
    (MAIL, "220 what", "protocol_error upstream waits", "host and port"),
    (DATA, "250 what", "protocol_error upstream waits", "host and port"),
]  # fmt: skip

BY_PROVIDER = [
    ("gmail", DOT, "550 5.4.5 Daily user sending limit exceeded", QUOTA, ""),
    ("gmail", RCPT, "550 5.4.5 Daily sending quota exceeded", QUOTA, ""),
    ("gmail", AUTH, "454 4.7.0 Cannot authenticate due to temporary problem", AUTHENTICATION, "waits"),
    ("gmail", BANNER, "421 4.7.0 Try again later, closing connection", UNAVAILABLE, ""),
    ("gmail", DOT, "421 4.4.5 Server busy, try again later", UNAVAILABLE, ""),
    ("gmail", AUTH, "534 5.7.9 Application-specific password required", AUTHENTICATION, "app password"),
    ("gmail", AUTH, "535 5.7.8 Username and Password not accepted", AUTHENTICATION, "Gmail address"),
    ("gmail", RCPT, "452 4.2.2 The email account is over quota", RECIPIENT, "full"),
    ("google-relay", DOT, "550 5.7.1 Daily SMTP relay limit exceeded for customer", QUOTA, ""),
    ("google-relay", MAIL, "550 5.4.5 Daily SMTP relay limit exceeded for user", QUOTA, ""),
    ("google-relay", DOT, "450 4.2.1 Peak SMTP relay limit exceeded for customer", RATE, ""),
    ("google-relay", EHLO, "421 4.7.0 Try again later, closing connection", UNAVAILABLE, "hostname"),
    ("microsoft365", AUTH, "432 4.3.2 Concurrent connections limit exceeded", RATE, "connections"),
    ("microsoft365", DOT, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", QUOTA, ""),
    ("microsoft365", DOT, "554 5.2.2 mailbox full; STOREDRV.Submission", QUOTA, "Sent Items"),
    ("microsoft365", RCPT, "554 5.2.2 mailbox full", NO_RECIPIENT, "recipient's mailbox"),
    ("microsoft365", DOT, "550 5.2.252 Sender throttled due to continuous send as denied errors", RATE, "again"),
    ("microsoft365", AUTH, "535 5.7.139 SmtpClientAuthentication is disabled", AUTHENTICATION, "Authenticated SMTP"),
    ("microsoft365", AUTH, "535 5.7.3 Authentication unsuccessful", AUTHENTICATION, "password"),
    ("microsoft365", MAIL, "530 5.7.57 Client not authenticated to send mail", REQUIRED, "AUTH was not sent"),
    ("microsoft365", MAIL, "550 5.7.60 SMTP; Client does not have permissions", SENDER, "Send As"),
    ("microsoft365", DOT, "550 5.7.60 SMTP; Client does not have permissions", SENDER, "Send As"),
    ("microsoft365", AUTH, "550 5.7.30 Basic authentication is not supported", AUTHENTICATION, "XOAUTH2"),
    ("microsoft365", DOT, "430 4.2.0 STOREDRV; later", "upstream_unavailable message waits", "by itself"),
    ("ses", DOT, "454 Throttling failure: Maximum sending rate exceeded", RATE, "limits.per_second"),
    ("ses", AUTH, "454 Throttling failure: Maximum sending rate exceeded", RATE, "limits.per_second"),
    ("ses", AUTH, "454 Temporary authentication failure", AUTHENTICATION, "if it lasts"),
    ("ses", DOT, "454 Throttling failure: Daily message quota exceeded", QUOTA, "window"),
    ("ses", DOT, "554 Message rejected: Email address is not verified", SENDER, "region"),
    ("ses", DOT, "554 Access denied: User is not authorized to perform ses:SendRawEmail", SENDER, "IAM"),
    ("ses", DOT, "554 Transaction failed: Invalid content", REFUSED, ""),
    ("ses", AUTH, "535 Authentication Credentials Invalid", AUTHENTICATION, "AWS access keys"),
    ("ses", MAIL, "530 Authentication required", REQUIRED, "username and password"),
    ("ses", AUTH, "530 Must issue a STARTTLS command first", REQUIRED, "tls"),
    ("sendgrid", AUTH, "451 Authentication failed: Maximum credits exceeded", QUOTA, ""),
    ("sendgrid", MAIL, "403 You are not authorized to send from that email address", SENDER, "verify"),
    ("sendgrid", DOT, "403 You are not authorized to send from that email address", SENDER, "verify"),
    ("sendgrid", DOT, "550 The from address does not match a verified Sender Identity.", SENDER, "verify"),
    ("sendgrid", RCPT, "452 Too many recipients received this hour (throttled)", RATE, ""),
    ("sendgrid", RCPT, "452 Too many recipients", RECIPIENT, "limits.recipients"),
    ("sendgrid", AUTH, "535 Authentication failed: Bad username / password", AUTHENTICATION, "apikey"),
    ("sendgrid", RCPT, "550 Requested action not taken: mailbox unavailable", NO_RECIPIENT, ""),
    ("mailgun", AUTH, "535 5.7.0 No", AUTHENTICATION, "eu.mailgun.org"),
    ("brevo", AUTH, "535 5.7.8 Authentication failed", AUTHENTICATION, "SMTP key"),
    ("mailjet", MAIL, "550 Sender not allowed", SENDER, "Mailjet"),
    ("mailjet", DOT, "550 Sender address rejected", SENDER, "Mailjet"),
    ("sparkpost", AUTH, "535 5.7.8 Sorry.", AUTHENTICATION, "Send via SMTP"),
    ("zoho", MAIL, "553 Relaying disallowed as <a@a.example>", SENDER, "Zoho"),
    ("zoho", DOT, "552 Relaying disallowed as a@a.example", SENDER, "Zoho"),
    ("zoho", DOT, "554 5.1.8 Sender Address Blocked", SENDER, "unblock"),
    ("zoho", AUTH, "554 5.1.8 Sender Address Blocked", AUTHENTICATION, "unblock"),
    ("yahoo", BANNER, "421 4.7.0 Messages temporarily deferred", UNAVAILABLE, ""),
    ("yahoo", DOT, "451 Try again later", "upstream_unavailable message waits", "by itself"),
    ("yahoo", RCPT, "451 Try again later", "upstream_unavailable recipient waits", "by itself"),
    ("postmark", AUTH, "535 5.7.8 No", AUTHENTICATION, "username and password"),
    ("mandrill", AUTH, "535 5.7.8 No", AUTHENTICATION, "username and password"),
    ("resend", DOT, "550 The acme.example domain is not verified", SENDER, "verify"),
    ("resend", DOT, "451 Too many requests. You can only make 2 requests per second", RATE, ""),
    ("fastmail", RCPT, "550 5.1.1 No such user", NO_RECIPIENT, ""),
    ("icloud", AUTH, "535 5.7.8 No", AUTHENTICATION, "app password"),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "reply", "meaning", "remedy"), ANYWHERE)
def test_at_any_server(phase: Phase, reply: str, meaning: str, remedy: str) -> None:
    trouble = of_reply(phase, parsed(reply))
    assert said(trouble) == meaning
    assert remedy in trouble.remedy
    assert trouble.reply == parsed(reply)


@pytest.mark.parametrize(("name", "phase", "reply", "meaning", "remedy"), BY_PROVIDER)
def test_at_a_provider(name: str, phase: Phase, reply: str, meaning: str, remedy: str) -> None:
    trouble = of_reply(phase, parsed(reply), provider(name).replies)
    assert said(trouble) == meaning
    assert remedy in trouble.remedy


def every_row() -> list[tuple[str, ReplyRule]]:
    rows = [(name, rule) for name, known in providers().items() for rule in known.replies]
    return [*rows, *(("", rule) for rule in GENERAL_RULES)]


@pytest.mark.parametrize(("name", "rule"), every_row())
def test_every_row_decides_its_own_example(name: str, rule: ReplyRule) -> None:
    """Where a row stands in the shadow of one above it, its example shows it."""
    rules = provider(name).replies if name else ()
    reply = parsed(rule.example)
    # Of phases it doesn't name, those where no other row has a meaning of its own.
    for phase in rule.phases or [Phase.BANNER]:
        assert rule_for(phase, reply, rules) is rule, phase


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("name", ["", *providers()])
def test_no_reply_is_without_a_meaning(name: str, phase: Phase) -> None:
    rules = provider(name).replies if name else ()
    for code in range(400, 600):
        for status in (None, f"{code // 100}.0.0", f"{code // 100}.7.1"):
            trouble = of_reply(phase, Reply(code, status, "x"), rules)
            if isinstance(trouble, Failed):
                assert code >= 500
                assert phase in FROM_MAIL_ON - {Phase.MAIL}
                assert trouble.cause in FINAL_CAUSES


@pytest.mark.parametrize(
    "recipient",
    ['"daily limit exceeded"@b.example', '"rate limit \\" <"@b.example', "throttled@b.example"],
)
@pytest.mark.parametrize("form", ["550 5.1.1 <{}>: no", "550 {} no", "550 no ({})", "550 no <{}>"])
def test_a_recipients_address_can_not_pause_an_upstream(recipient: str, form: str) -> None:
    assert said(of_reply(RCPT, parsed(form.format(recipient)))) == NO_RECIPIENT


def test_a_text_of_any_length_is_soon_judged() -> None:
    for piece in ("<", '"', '\\"@', "sender ", "exceed quota limit rate "):
        of_reply(DOT, Reply(550, None, piece * 100_000))


@pytest.mark.parametrize(
    ("reply", "meant"),
    [
        ("550 5.1.1 <bob@b.example>: Recipient address rejected: User unknown in table", True),
        ("550 5.1.1 The email account that you tried to reach does not exist.", True),
        ("550 5.1.1", True),
        ("551 5.1.6 Moved", True),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found", True),
        ("550 5.2.1 The email account that you tried to reach is disabled", True),
        ("550 No such user here", True),
        ("550 User unknown", True),
        ("550 Unknown user", True),
        ("550 5.1.0 Address unknown", True),
        ("550 5.0.0 Mailbox does not exist", True),
        ("550 Invalid recipient", True),
        ("553 sorry, no mailbox here by that name", True),
        ("550 5.5.0 Requested action not taken: mailbox unavailable", False),
        ("550 mailbox unavailable", False),
        ("450 4.1.1 User unknown", False),
        ("550 5.7.1 User unknown", False),
        ("550 5.2.1 The user you are trying to contact is receiving mail at a rate", False),
        ("552 5.2.2 Mailbox full", False),
        ("550 5.1.1 Sender rate limit exceeded", False),
        ("550 5.1.1 Blocked as spam", False),
        ("550 Sender address rejected: User unknown", False),
        ("550 5.7.1 Relay access denied", False),
        ("550 5.4.1 Recipient address rejected: Access denied", False),
        ("550 5.1.2 Host not found", False),
        ("550 5.1.8 Bad sender", False),
        ("554 5.7.1 Rejected by policy: unknown user", False),
        ("550 rejected <no.such.user@b.example>", False),
        ("550 no", False),
    ],
)
def test_which_refusals_mean_no_mailbox(reply: str, meant: bool) -> None:
    assert means_no_mailbox(parsed(reply)) is meant
