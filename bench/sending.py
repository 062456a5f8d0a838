"""Mail for a contestant, sent by Postfix's smtp-source: it costs little beside what is measured."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from subprocess import PIPE

from figures import Failed
from programs import ended

# For what has been accepted to arrive.
TIMEOUT_S = 900
_PATIENCE_S = 900
_SLOWEST_PER_S = 50


@dataclass(frozen=True)
class Load:
    """``kept`` sessions take one message after the other; else each message has one of its own."""

    messages: int
    sessions: int = 20
    size_bytes: int = 4096
    kept: bool = False


def send(load: Load, port: int, sender: str = "app@t0.example") -> None:
    """Returns when all has been accepted. Raises Failed where some was refused."""
    send_as([sender], load, port)


def send_as(senders: Sequence[str], load: Load, port: int) -> None:
    """The same load from each of the senders at once: smtp-source knows but one."""
    patience_s = _PATIENCE_S + load.messages * len(senders) / _SLOWEST_PER_S
    with ExitStack() as started:
        commands = [_command(load, port, sender) for sender in senders]
        sources = [started.enter_context(ended(it, stderr=PIPE)) for it in commands]
        for source in sources:
            _, said = source.communicate(timeout=patience_s)
            if source.returncode:
                raise Failed(said.decode(errors="replace").strip()[-200:])


def _command(load: Load, port: int, sender: str) -> list[str]:
    numbers = ["-s", load.sessions, "-m", load.messages, "-l", load.size_bytes]
    envelope = ["-f", sender, "-t", "someone@recipient.example"]
    kept = ["-d"] if load.kept else []
    return ["smtp-source", *map(str, numbers), *envelope, *kept, f"127.0.0.1:{port}"]
