"""The command line: a file or a package for each group of verbs; each imports what it needs when it
runs. Beside them `access`, `options`, `output`, `progress`, what many have in common.

Status 0: fine; 1: the thing asked about is wrong; 2: usage; 78: configuration.
"""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from relay.cli.access import Trouble

if TYPE_CHECKING:
    import typer

# One file or package each, in the order of --help. Only the one that is asked for is read: all of
# them take longer than most verbs.
_FILES = ("serve", "reload", "demo", "check", "test", "doctor", "drill", "route", "status",
          "health", "queue", "dead", "tenant", "upstream", "suppress", "audit", "providers",
          "config", "completion", "secret")  # fmt: skip
_ELSEWHERE = {"completion": "shell.completion"}
_INTERRUPTED = 130  # as shells say it of SIGINT
_GROUPS = frozenset({"queue", "dead", "tenant", "upstream", "suppress", "config", "secret"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb and exits with its status; ``arguments`` default to the command line's."""
    if hasattr(sys.stdout, "reconfigure"):
        # A letter that the terminal's encoding lacks must not end a listing.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        if _is_plain_serve(words):
            _serve(words)
        program(_verb_in(words))(words, prog_name="relay")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Trouble as trouble:
        _complain(str(trouble))
    except OSError as error:
        if error.filename is None:
            _drop_output()
        _complain(_in_words(error))
    finally:
        _flush()


def _is_plain_serve(words: Sequence[str]) -> bool:
    """As a service manager has it: there is nothing to parse, and what parses would be an eighth of
    the time until the relay is ready."""
    return words[-1:] == ["serve"] and (len(words) == 1 or words[:-2] == ["--config"])


def _serve(words: Sequence[str]) -> NoReturn:
    from relay.cli import serving

    sys.exit(serving.serve(words[-2] if len(words) == 3 else None))


def program(verb: str | None = None) -> "typer.Typer":
    """All that there is, or no more than what ``verb`` needs, where that is one."""
    import typer

    from relay.cli.shell.root import relay
    from relay.cli.shell.verbs import Verbs

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
