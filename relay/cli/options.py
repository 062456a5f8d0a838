"""How the verbs look: groups of them, their examples, and the options that many have in common."""

import time
from typing import Annotated

import typer

from relay.cli.shell.verbs import Verbs


def _queue_id(text: str) -> str:
    """Upper or lower case: the store knows both."""
    from relay.model.identifiers import decode

    try:
        decode(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is no queue id') from None
    return text


def _queue_ids(texts: list[str] | None) -> list[str]:
    return [_queue_id(text) for text in texts or ()]


def _optional_queue_id(text: str | None) -> str | None:
    return text and _queue_id(text)


Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
OneTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.")
]
OneCause = Annotated[
    str | None, typer.Option("--cause", metavar="CAUSE", help="Only those with this cause.")
]
Everything = Annotated[bool, typer.Option("--all", help="All of them.")]
QueueId = Annotated[
    str, typer.Argument(metavar="QUEUE_ID", help="As the listings name it.", callback=_queue_id)
]
QueueIds = Annotated[
    list[str], typer.Argument(metavar="QUEUE_ID", show_default=False, callback=_queue_ids)
]
OneQueueId = Annotated[
    str | None,
    typer.Option(
        "--queue-id",
        metavar="QUEUE_ID",
        help="Only this message's.",
        callback=_optional_queue_id,
    ),
]


Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept in the trail.")]
Lasting = Annotated[
    str | None,
    typer.Option("--for", metavar="2h", help="How long: 30m, 2h, 30d. Default: until undone."),
]


def check_cause(name: str | None) -> None:
    """Wrong usage where it is no cause of the closed list."""
    from relay.config.problem import did_you_mean
    from relay.model.causes import Cause

    if name is not None and name not in list(Cause):
        advice = did_you_mean(name, Cause)
        raise typer.BadParameter(f'no cause "{name}"{advice}', param_hint="--cause")


def one_line(reason: str) -> str:
    """What the next admin reads in the trail."""
    text = " ".join(reason.split())
    if not text or not text.isprintable():
        raise typer.BadParameter("say why, in printable words", param_hint="--reason")
    return text


def one_line_or_none(reason: str) -> str:
    """As ``one_line``, where it may be left out."""
    return one_line(reason) if reason else ""


def ending(lasting: str | None) -> float | None:
    """When what begins now and lasts so long will end, in Unix seconds; None: nothing is said."""
    return None if lasting is None else time.time() + length_s(lasting, "--for")


def length_s(text: str, hint: str) -> float:
    """A duration that is longer than nothing; ``hint`` names what was given."""
    from relay.config.quantities import duration_s

    try:
        seconds = duration_s(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None
    if seconds <= 0:
        raise typer.BadParameter("say how long, like 2h", param_hint=hint)
    return seconds


def group(help_text: str) -> typer.Typer:
    """Verbs that go by a common word."""
    return typer.Typer(cls=Verbs, help=help_text, no_args_is_help=True)


def examples(*lines: str) -> str:
    """An epilog of examples; the mark on top keeps its lines apart."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
