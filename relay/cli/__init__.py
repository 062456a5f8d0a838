"""The command line: a file or a package for each group of verbs; each imports what it needs when it
runs. Beside them `access`, `options`, `output`, `progress`, what many have in common.

Status 0: fine; 1: the thing asked about is wrong; 2: usage; 78: configuration.
"""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from relay import __version__
from relay.cli.access import Trouble
from relay.cli.shell.verbs import Verbs

# One file or package each, in the order of --help. Only the one that is asked for is read: all of
# them take longer than most verbs.
_FILES = ("serve", "reload", "demo", "check", "test", "doctor", "drill", "route", "status", "queue",
          "dead", "tenant", "upstream", "suppress", "audit", "providers", "config", "completion",
          "secret")  # fmt: skip
_ELSEWHERE = {"completion": "shell.completion"}
_GROUPS = frozenset({"queue", "dead", "tenant", "upstream", "suppress", "config", "secret"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb and exits with its status; ``arguments`` default to the command line's."""
    if hasattr(sys.stdout, "reconfigure"):
        # A letter that the terminal's encoding lacks must not end a listing.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        program(_verb_in(words))(words, prog_name="relay")
    except Trouble as trouble:
        _complain(str(trouble))
    except OSError as error:
        if error.filename is None:
            _drop_output()
        _complain(_in_words(error))
    finally:
        _flush()


def program(verb: str | None = None) -> typer.Typer:
    """All that there is, or no more than what ``verb`` needs, where that is one."""
    app = typer.Typer(
        cls=Verbs,
        no_args_is_help=True,
        add_completion=False,
        # Plain help and plain tracebacks: rich takes longer to import than most verbs to run.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(relay)
    for name in [verb] if verb in _FILES else _FILES:
        group = import_module(f"relay.cli.{_ELSEWHERE.get(name, name)}").app
        app.add_typer(group, name=name if name in _GROUPS else None)
    return app


def _verb_in(words: Iterable[str]) -> str | None:
    remaining = iter(words)
    for word in remaining:
        if word == "--config":
            next(remaining, None)
        elif not word.startswith("-"):
            return word
    return None


def _show_version(asked: bool) -> None:
    if asked:
        print(f"relay {__version__}")
        raise typer.Exit


def relay(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The configuration. Default: $RELAY_CONFIG, then /etc/relay/config.yaml, "
            "then ./config.yaml.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """A local SMTP relay: takes mail on localhost, keeps it, hands it to each tenant's upstream."""
    context.obj = config


def _complain(text: str) -> NoReturn:
    print(f"relay: {text}", file=sys.stderr)
    sys.exit(1)


def _in_words(error: OSError) -> str:
    """What has no name is standard output: the verbs name every file that they open."""
    return f"{error.filename or 'standard output'}: {error.strerror or error}"


def _flush() -> None:
    """Here rather than at the interpreter's end, which would complain of a reader that has gone."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if error.errno != errno.EPIPE:
            _complain(_in_words(error))


def _drop_output() -> None:
    """What could not be written would be tried again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
