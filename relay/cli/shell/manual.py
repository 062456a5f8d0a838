"""The man page: ``python -m relay.cli.shell.manual > docs/relay.8``.

What each verb takes and does is what its --help says; what no verb can say of itself stands here.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from typer.main import get_command

from relay.cli import program

# In the macros of man(7). Lines that begin with a dot are macros.
_HEAD = r"""
.\" Made by python -m relay.cli.shell.manual; edit that.
.TH RELAY 8 "" "relay" "System Manager's Manual"
.SH NAME
relay \- takes mail on localhost, keeps it, hands it to each tenant's upstream
.SH SYNOPSIS
.B relay
.RB [ \-\-config
.IR FILE ]
.I VERB
.RI [ ARGUMENT .\|.\|.]
.br
.B relay
.I VERB
.B \-\-help
.SH DESCRIPTION
Applications hand their mail to the relay on localhost.
It keeps each message safely, chooses an upstream provider by the sender's
domain, hands the message over under verified TLS, and can always say what
became of it.
.PP
.B relay serve
is the relay itself.
All other verbs look at its store, or change it, whether it runs or not; a
running relay notices before its next attempt.
.PP
At first: write the configuration, then
.BR "relay check \-\-connect" ,
.BR "relay test" ,
.BR "relay doctor" .
When something is wrong:
.BR "relay status" ,
then
.B relay audit
with the queue id, the tenant or the address; each failure stands there with
its cause and what to do about it.
"""

_TAIL = r"""
.SH EXIT STATUS
.TP
.B 0
Fine.
.TP
.B 1
The thing asked about is wrong; one line on standard error says what, and what
to do about it.
.TP
.B 2
Wrong usage.
.TP
.B 78
The configuration is wrong; every problem is told with its line.
From serve also: the store is refused.
.SH ENVIRONMENT
.TP
.B RELAY_CONFIG
The configuration, where
.B \-\-config
is not given.
.TP
.B RELAY_*
Every setting can be overridden, as in
.BR RELAY_UPSTREAMS__ACME_SENDGRID__PASSWORD ;
the variables
.BR RELAY_SMTP_HOST ,
.BR _PORT ,
.BR _TLS ,
.BR _USERNAME ,
.BR _PASSWORD ,
.B _FROM_EMAIL
and
.B _FROM_NAME
make a default upstream, also without a file.
.TP
.B NO_COLOR
No colours, also on a terminal.
.SH FILES
.TP
.I /etc/relay/config.yaml
The configuration; else
.I ./config.yaml
is read.
.TP
.I /var/lib/relay/relay.db
The store, unless
.B store
names another: queue, toggles, suppressions and the trail.
.SH NOTES
Completion of verbs, options and names:
.BR "relay completion" .
Programs read what
.B \-\-json
prints, one JSON object a line.
No verb shows a secret.
.SH SEE ALSO
.BR relay\-sendmail (1),
.BR systemctl (1),
.BR journalctl (1)
"""

_MACRO = re.compile(r"^([.'])")
# The backslash first, since the others make more of it.
_ESCAPES = {
    "\\": r"\e",
    "-": r"\-",
    "~": r"\(ti",
    "^": r"\(ha",
    "'": r"\(aq",
    "`": r"\(ga",
}


def manual() -> str:
    """The page, in the macros of man(7)."""
    root: Any = get_command(program())
    lines = [_HEAD.strip(), ".SH OPTIONS", *_options(root), ".SH VERBS"]
    for path, verb in _verbs(root, ()):
        lines += _verb(path, verb)
    return "\n".join([*lines, _TAIL.strip(), ""])


def _verbs(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, verb in group.commands.items():
        if verb.hidden:
            continue
        if getattr(verb, "commands", None):
            yield from _verbs(verb, (*path, name))
        else:
            yield (*path, name), verb


def _verb(path: Sequence[str], verb: Any) -> Iterator[str]:
    arguments = [_asked(one) for one in verb.params if _is_argument(one)]
    options = any(not _is_argument(one) for one in verb.params)
    takes = " ".join([*(["[OPTION]..."] if options else []), *arguments])
    yield f".SS {_text(' '.join(['relay', *path]))} {_text(takes)}".rstrip()
    for number, paragraph in enumerate(_paragraphs(verb.help)):
        yield from [".PP"] if number else []
        yield _filled(paragraph)
    for argument in filter(_is_argument, verb.params):
        if argument.help:
            yield from _entry(rf"\fI{_text(argument.metavar or argument.name)}\fP", argument.help)
    yield from _options(verb)
    yield from _examples(verb.epilog or "")


def _options(verb: Any) -> Iterator[str]:
    for option in verb.params:
        if not _is_argument(option):
            names = ", ".join(rf"\fB{_text(name)}\fP" for name in option.opts)
            value = "" if option.is_flag else rf" \fI{_text(option.metavar or option.name)}\fP"
            yield from _entry(names + value, option.help or "")


def _entry(title: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield title
    yield _filled(text)


def _examples(epilog: str) -> Iterator[str]:
    examples = [line.strip() for line in epilog.splitlines()[2:]]
    if examples:
        yield from (".PP", "Examples:", ".PP", ".RS 4", ".nf")
        yield from map(_text, examples)
        yield from (".fi", ".RE")


def _paragraphs(text: str | None) -> list[str]:
    """Each without its line ends; a form feed, or a backspace before it, is not for reading."""
    return [" ".join(one.split()) for one in (text or "").replace("\b", "").split("\n\n")]


def _asked(argument: Any) -> str:
    name: str = (argument.metavar or argument.name).strip("[].")
    several = "..." if argument.nargs == -1 else ""
    return f"{name}{several}" if argument.required else f"[{name}]{several}"


def _filled(text: str) -> str:
    return "\n".join(
        _MACRO.sub(r"\\&\1", line)
        for line in textwrap.wrap(
            _escaped(text), 78, break_long_words=False, break_on_hyphens=False
        )
    )


def _text(text: str) -> str:
    """Letter for letter, on a line of its own."""
    return _MACRO.sub(r"\\&\1", _escaped(text))


def _escaped(text: str) -> str:
    """No escape, and a minus that can be copied."""
    for letter, code in _ESCAPES.items():
        text = text.replace(letter, code)
    return text


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


if __name__ == "__main__":
    print(manual(), end="")
