"""sendmail's command line, as programs have always used it."""

import os

from relay.sendmail.addresses import addresses, user
from relay.sendmail.errors import EX_USAGE, SendError, shown

HELP = """\
usage: relay-sendmail [-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT...] < message
       relay-sendmail -bs
  -t         take the recipients from To, Cc and Bcc too, and remove Bcc
  -i, -oi    a line with a lone dot does not end the message
  -f SENDER  the sender of the envelope; <> for none
  -F NAME    the name to show where the message has no From
  -bs        speak SMTP on standard input and output
  -bp        what waits (relay queue list); so, too, under the name mailq
RELAY_SENDMAIL_SERVER=HOST:PORT says where the relay listens; localhost:25 if unset.
The other options of sendmail are accepted and change nothing."""


class Options:
    """sendmail's command line. Those with no meaning here are taken, since programs pass them."""

    _WITH_VALUE = "ABCFLNORVXbefhopr"
    _WITH_VALUE_IF_ATTACHED = "dq"
    _IGNORED = "GUmnvx" + "ABCLNORVXdehop"

    def __init__(self, arguments: list[str], mode: str = "m") -> None:
        self.mode = mode
        self.recipients_from_header = False
        self.dot_ends = True
        self.sender = user()
        self.name = b""
        self.recipients: list[bytes] = []
        self._take_all(list(arguments))
        if self.mode == "m" and not (self.recipients or self.recipients_from_header):
            raise SendError(EX_USAGE, "no recipient: name one, or say -t (see --help)")

    def _take_all(self, waiting: list[str]) -> None:
        while waiting:
            argument = waiting.pop(0)
            if argument == "--":
                self._take_recipients(waiting)
                break
            if argument == "--help":
                self.mode = "help"
            elif argument.startswith("-") and argument != "-":
                self._take_letters(argument[1:], waiting)
            else:
                self._take_recipients([argument])

    def _take_letters(self, letters: str, waiting: list[str]) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            value = ""
            if letter in self._WITH_VALUE and not letters:
                if not waiting:
                    raise SendError(EX_USAGE, f"-{letter} wants a value (see --help)")
                value = waiting.pop(0)
            elif letter in self._WITH_VALUE + self._WITH_VALUE_IF_ATTACHED:
                value, letters = letters, ""
            self._take(letter, value)

    def _take(self, letter: str, value: str) -> None:
        if letter == "t":
            self.recipients_from_header = True
        elif letter == "i" or (letter == "o" and value == "i"):
            self.dot_ends = False
        elif letter in "fr":
            self.sender = _sender(os.fsencode(value))
        elif letter == "F":
            self.name = os.fsencode(value)
        elif letter == "b":
            self._take_mode(value)
        elif letter == "q":
            self.mode = "q"
        elif letter not in self._IGNORED:
            raise SendError(EX_USAGE, f"unknown option -{letter} (see --help)")

    def _take_mode(self, value: str) -> None:
        if value not in ("m", "s", "i", "p"):
            raise SendError(EX_USAGE, f"-b{value}: not here; `relay` does the rest (see --help)")
        self.mode = value

    def _take_recipients(self, arguments: list[str]) -> None:
        for argument in arguments:
            self.recipients += addresses(os.fsencode(argument))


def _sender(text: bytes) -> bytes:
    """The one address in ``text``, or b"" for the null reverse-path."""
    found = addresses(text)
    if len(found) > 1:
        raise SendError(EX_USAGE, f"-f names more than one address: {shown(text)}")
    return found[0] if found else b""
