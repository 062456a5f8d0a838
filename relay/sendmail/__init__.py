"""``relay-sendmail``: takes mail from cron, PHP's mail() and mailx, and hands it to the listener.

It knows nothing of the relay but its port: what it says there is SMTP. It may be started for every
single mail, so it imports few modules, all of the standard library, and none of the larger ones
(argparse, email, smtplib, dataclasses).
"""

import os
import select
import socket
import sys
from collections.abc import Callable

from relay.sendmail.addresses import with_domain
from relay.sendmail.errors import EX_DATAERR, EX_IOERR, EX_UNAVAILABLE, SendError
from relay.sendmail.listener import Session, connect
from relay.sendmail.mail import Input, Mail
from relay.sendmail.options import HELP, Options

_BLOCK_BYTES = 64 * 1024


def main() -> int:
    """Exit status by sysexits.h; a failure is told in one line on standard error."""
    try:
        options = Options(sys.argv[1:], _NAMES.get(os.path.basename(sys.argv[0]), "m"))
        return _MODES[options.mode](options)
    except SendError as error:
        print(f"relay-sendmail: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"relay-sendmail: nothing was sent: {error}", file=sys.stderr)
        return EX_IOERR
    except KeyboardInterrupt:
        return EX_IOERR


def _submit(options: Options) -> int:
    sender = with_domain(options.sender)
    with open(0, "rb", closefd=False) as stdin:
        mail = Mail(Input(stdin, options.dot_ends), options, sender)
    if not mail.recipients:
        raise SendError(EX_DATAERR, "the message names no recipient in To, Cc or Bcc")
    with connect() as connection:
        Session(connection).hand_over(sender, mail.recipients, mail.content)
    return 0


def _speak_smtp(_: Options) -> int:
    """Connect standard input and output to the listener, until it hangs up."""
    with connect() as connection, open(1, "wb", buffering=0, closefd=False) as stdout:
        connection.settimeout(None)
        sources: list[int | socket.socket] = [connection, 0]
        while True:
            ready = select.select(sources, [], [])[0]
            if 0 in ready:
                octets = os.read(0, _BLOCK_BYTES)
                # A client that has gone is ended properly, so that its last replies still come.
                connection.sendall(octets or b"QUIT\r\n")
                if not octets:
                    sources.remove(0)
            if connection in ready:
                octets = connection.recv(_BLOCK_BYTES)
                if not octets:
                    return 0
                stdout.write(octets)


def _nothing_to_do(_: Options) -> int:
    return 0


def _list_queue(_: Options) -> int:
    """The store is the verbs' matter: ``relay``, which is installed beside this program."""
    relay = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "relay")
    try:
        os.execv(relay, ("relay", "queue", "list"))  # noqa: S606 - no shell is wanted
    except OSError as error:
        text = f"ask `relay queue list` what waits; {relay}: {error.strerror}"
        raise SendError(EX_UNAVAILABLE, text) from None


def _help(_: Options) -> int:
    print(HELP)
    return 0


_MODES: dict[str, Callable[[Options], int]] = {
    "m": _submit,
    "s": _speak_smtp,
    "i": _nothing_to_do,  # newaliases: the relay reads its aliases by itself
    "q": _nothing_to_do,  # the relay runs its queue by itself
    "p": _list_queue,
    "help": _help,
}

# Links to this program, as other programs expect them.
_NAMES = {"mailq": "p", "newaliases": "i"}
