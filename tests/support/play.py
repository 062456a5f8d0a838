"""A page's console blocks and files, played on a machine, with what happens between them."""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from support.console import INTERRUPT, REWRITES, Reader, Step, difference, rewrite, steps
from support.document import Block, Document
from support.machine import Machine

Event = Callable[[Machine], object]

# Long work that changes nothing: it runs beside the other steps.
_SLOW = re.compile(r"relay (drill|demo)\b")


def nothing(_: Machine) -> None:
    """No event."""


@dataclass
class Scene:
    """``before`` has the events before a command, in the order of its appearances; ``typed`` what
    its standard input has; ``environment`` what the relay and the verbs have beside the file;
    ``elsewhere`` the messages that the page itself gives another end than to be relayed."""

    before: dict[str, list[Event]] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    at_first: Event = nothing
    elsewhere: frozenset[str] = frozenset()


class Play:
    """``block`` by ``block``, then ``end``. The first output that is not as the page says ends it,
    unless the page is being rewritten."""

    def __init__(self, page: Document, machine: Machine, scene: Scene) -> None:
        self._page = page
        self._machine = machine
        self._typed = scene.typed
        self._events = {command: list(events) for command, events in scene.before.items()}
        self._reader = Reader()
        self._chapter = ""
        self._taken: list[Step] = []
        self._differing: dict[int, str] = {}
        self._slow: dict[int, Future[str]] = {}
        self._aside = ThreadPoolExecutor()

    def block(self, block: Block) -> None:
        self._chapter = self._chapter or block.chapter
        file, _, text = block.text.partition("\n")
        if block.language == "console":
            for step in steps(block.text):
                self._take(step)
        elif block.language == "diff":
            lines = [line[1:] for line in text.splitlines(keepends=True)]
            self._machine.take_out(file.removeprefix("# "), "".join(lines))
        elif file.startswith("# /"):
            self._machine.write(file.removeprefix("# "), self._reader.named(text))
        else:
            raise AssertionError(f"what is to be done with this?\n{block.text}")

    def end(self) -> None:
        """What takes long has run beside the rest, and is looked at now."""
        with self._aside:
            for number, printed in self._slow.items():
                self._compare(number, printed.result())
        assert REWRITES or not any(self._events.values()), f"never came: {self._events}"
        if self._differing:
            outputs = map(self._differing.get, range(len(self._taken)))
            rewrite(self._page, self._chapter, list(zip(self._taken, outputs, strict=True)))

    def _take(self, step: Step) -> None:
        if events := self._events.get(step.command):
            events.pop(0)(self._machine)
        number = len(self._taken)
        self._taken.append(step)
        command = self._reader.named(step.command)
        if _SLOW.match(command):
            self._slow[number] = self._aside.submit(self._machine.run, command)
        else:
            self._compare(number, self._printed(step, command))

    def _printed(self, step: Step, command: str) -> str:
        expected = step.expected.removesuffix(INTERRUPT)

        def is_as_told(printed: str) -> bool:
            return self._reader.is_as_told(expected, printed)

        if expected != step.expected:
            return self._machine.interrupt(command, is_as_told)
        return self._machine.run(command, self._typed.get(step.command, ""), until=is_as_told)

    def _compare(self, number: int, printed: str) -> None:
        step = self._taken[number]
        if self._reader.is_as_told(step.expected.removesuffix(INTERRUPT), printed):
            return
        assert REWRITES, difference(step, printed)
        self._differing[number] = self._reader.told(printed)
