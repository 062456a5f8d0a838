"""Reads the arguments of MAIL and RCPT as leniently as old devices need it, and no further.

Angle brackets may be missing, a space may stand behind the colon (RFC 5321 section 4.1.2 has
neither). What could reach another command line, a log or a header as more than an address is
refused: control characters, white space outside quotes, a second angle bracket.
"""

import re

from relay.model.reply import Reply
from relay.model.value import value_class

# RFC 5321 section 4.5.3.1: 64 + 1 + 255 octets; local parts longer than that are seen in the wild.
_LONGEST_ADDRESS = 320
_SOURCE_ROUTE = re.compile(r"@[^:<>@\s]+(?:,@[^:<>@\s]+)*:")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"@')
_DOMAIN = re.compile(r"(?:[\w-]+(?:\.[\w-]+)*\.?|\[[0-9A-Za-z.:]+\])", re.UNICODE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")

SYNTAX_MAIL = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
SYNTAX_RCPT = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_SENDER = Reply(553, "5.1.7", "that is no address")
BAD_RECIPIENT = Reply(553, "5.1.3", "that is no address")
BAD_PARAMETER = Reply(501, "5.5.4", "a parameter is malformed")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "a parameter is not known here")

_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"})
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})


class CommandRefused(Exception):
    """Carries the reply for the client."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@value_class
class MailCommand:
    """``size`` is what the client declared, 0 if it did not."""

    reverse_path: str
    size: int
    body_8bit: bool
    smtputf8: bool


@value_class
class RcptCommand:
    address: str
    notify: bool


def read_mail(argument: str) -> MailCommand:
    """The argument of MAIL, from FROM: on. Raises CommandRefused."""
    path, rest = _split(_behind("FROM:", argument, SYNTAX_MAIL), SYNTAX_MAIL)
    parameters = _parameters(rest, _MAIL_PARAMETERS)
    size = parameters.get("SIZE", "0")
    body = parameters.get("BODY", "7BIT").upper()
    if not size.isdigit() or len(size) > 20 or body not in {"7BIT", "8BITMIME"}:
        raise CommandRefused(BAD_PARAMETER)
    # Senders without a domain are let pass: old devices have them, and the tenant's `from` or the
    # header From mend that.
    if path and not _is_address(path):
        raise CommandRefused(BAD_SENDER)
    return MailCommand(path, int(size), body == "8BITMIME", "SMTPUTF8" in parameters)


def read_rcpt(argument: str) -> RcptCommand:
    """The argument of RCPT, from TO: on; the address may lack a domain. Raises CommandRefused."""
    path, rest = _split(_behind("TO:", argument, SYNTAX_RCPT), SYNTAX_RCPT)
    parameters = _parameters(rest, _RCPT_PARAMETERS)
    if not path:
        raise CommandRefused(SYNTAX_RCPT)
    if not _is_address(path):
        raise CommandRefused(BAD_RECIPIENT)
    return RcptCommand(path, parameters.get("NOTIFY", "").upper() != "NEVER")


def _behind(keyword: str, argument: str, refusal: Reply) -> str:
    if argument[: len(keyword)].upper() != keyword:
        raise CommandRefused(refusal)
    return argument[len(keyword) :].strip()


def _split(text: str, refusal: Reply) -> tuple[str, str]:
    """The path without brackets and source route, and the parameters behind it."""
    if text.startswith("<"):
        end = _closing_bracket(text)
        if end < 0:
            raise CommandRefused(refusal)
        path, rest = text[1:end].strip(), text[end + 1 :]
        if rest and not rest[0].isspace():
            raise CommandRefused(refusal)
        return _SOURCE_ROUTE.sub("", path, count=1) if path.startswith("@") else path, rest
    path, _, rest = text.partition(" ")
    if not path:
        raise CommandRefused(refusal)
    return path, rest


def _closing_bracket(text: str) -> int:
    quoted = _QUOTED.match(text, 1)
    return text.find(">", quoted.end() if quoted else 1)


def _parameters(text: str, known: frozenset[str]) -> dict[str, str]:
    found = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise CommandRefused(BAD_PARAMETER)
        name = match[1].upper()
        if name not in known:
            raise CommandRefused(UNKNOWN_PARAMETER)
        found[name] = match[2] or ""
    return found


def _is_address(address: str) -> bool:
    """The domain may be missing."""
    if not address.isprintable() or len(address.encode()) > _LONGEST_ADDRESS:
        return False
    local, at, domain = address.rpartition("@")
    if not at:
        return not set(address) & set(' <>"@,;:\\')
    if not local or not _DOMAIN.fullmatch(domain) or len(domain) > 255:
        return False
    if local.startswith('"'):
        return _QUOTED.fullmatch(local + "@") is not None
    return not set(local) & set(' <>()"@,;:\\[]')
