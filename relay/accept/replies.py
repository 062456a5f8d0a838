"""What a session says: its refusals, and the enhanced status (RFC 3463) on every reply."""

import re

from relay.model.reply import Reply

LINE_TOO_LONG = Reply(500, "5.6.0", "a line is longer than limits.line_length")
COMMAND_TOO_LONG = Reply(500, "5.5.2", "the command line is too long")
BAD_SYNTAX = Reply(500, "5.5.2", "syntax error")
UNKNOWN_COMMAND = Reply(500, "5.5.1", "command not known")
NO_TRANSACTION = Reply(503, "5.5.1", "MAIL comes first")
NO_RECIPIENTS = Reply(503, "5.5.1", "RCPT comes first")
NESTED_MAIL = Reply(503, "5.5.1", "a MAIL command was already given")
OUT_OF_ORDER = Reply(503, "5.5.1", "not now")
AUTH_REQUIRED = Reply(530, "5.7.0", "authentication required")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "too many recipients, send the others separately")
NO_DOMAIN = Reply(550, "5.1.3", "the address has no domain, and no alias of that name exists")
OUR_FAULT = Reply(421, "4.3.0", "an error in the relay, try again later")
IDLE = Reply(421, "4.4.2", "idle for too long")
TOO_MANY_LOGINS = Reply(454, "4.7.0", "too many logins at once, try again later")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "too many errors")
RULES_CHANGED = Reply(421, "4.7.0", "the rules have changed, log in again")
NOT_SMTP = Reply(421, "4.7.0", "this is SMTP")
WHO_ARE_YOU = Reply(501, "5.5.4", "say who you are: EHLO hostname")
NO_AUTH = Reply(502, "5.5.1", "AUTH is not offered here")
ENCRYPTION_REQUIRED = Reply(538, "5.7.11", "encryption required")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "PLAIN and LOGIN are offered")
WRONG_PASSWORD = Reply(535, "5.7.8", "wrong user name or password")
AUTHENTICATED = Reply(235, "2.7.0", "authenticated")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
SENDER_OK = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Ok")
OK = Reply(250, "2.0.0", "Ok")
SEND_CONTENT = Reply(354, None, "End data with <CR><LF>.<CR><LF>")
HELP = Reply(214, "2.0.0", "RFC 5321 has it all")
CANT_SAY = Reply(252, "2.1.5", "can't say, but send it and see")
NO_LISTS = Reply(502, "5.5.1", "there are no lists here")
BYE = Reply(221, "2.0.0", "Bye")

_HAS_ENHANCED_STATUS = re.compile(r"[245]\d\d [245]\.\d{1,3}\.\d{1,3} ")
# RFC 3463 for the replies that aiosmtpd writes without one; RFC 2034 wants none on 220 and 3yz.
_ENHANCED_STATUS = {
    "221": "2.0.0", "250": "2.0.0", "252": "2.1.5", "421": "4.3.2", "450": "4.2.0",
    "451": "4.3.0", "452": "4.3.1", "454": "4.7.0", "500": "5.5.2", "501": "5.5.4",
    "502": "5.5.1", "503": "5.5.1", "504": "5.5.4", "530": "5.7.0", "535": "5.7.8",
    "538": "5.7.11", "550": "5.0.0", "552": "5.3.4", "553": "5.1.3", "554": "5.5.0",
    "555": "5.5.4",
}  # fmt: skip


def with_enhanced_status(text: str) -> str:
    """The reply as it is, or with the enhanced status that its code has as a rule."""
    if _HAS_ENHANCED_STATUS.match(text):
        return text
    enhanced_status = _ENHANCED_STATUS.get(text[:3])
    if enhanced_status is None or text[3:4] != " ":
        return text
    return f"{text[:3]} {enhanced_status} {text[4:]}"
