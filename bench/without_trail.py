"""The relay without its audit trail, for bench/rows/trail.py alone: what the trail costs is what
this one saves.

    python bench/without_trail.py --config FILE serve

Events are made, since the sums of `relay status` come of them, but not rendered, stored or
mirrored. It replaces three functions of the relay by name, and stops where one is not there.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from sqlite3 import Connection, IntegrityError
from typing import Any

from relay.model.events import Event
from relay.queue.sqlite import changes, tallying
from relay.queue.sqlite.ledger import Ledger, charge_ledger
from relay.queue.sqlite.rows import Line


def _unrendered(event: Event) -> bytes:
    return b"{}"


def _unmirrored(*_: Any) -> Callable[[Sequence[Line]], None]:
    return lambda lines: None


def _unstored(connection: Connection, lines: Sequence[Line]) -> Ledger:
    """The sums alone. A way that is new is learnt by storing its first events after all."""
    try:
        tallying.charge(connection, [event for event, _ in lines])
    except IntegrityError as error:
        raise changes.Unforeseen from error
    return charge_ledger(connection, 0)


_INSTEAD: dict[tuple[str, str], Callable[..., Any]] = {
    ("relay.app", "json_line"): _unrendered,
    ("relay.app", "_mirrored"): _unmirrored,
    ("relay.queue.sqlite.changes", "_add_new_events"): _unstored,
}


def main() -> None:
    for (module, name), instead in _INSTEAD.items():
        if not hasattr(import_module(module), name):
            sys.exit(f"without_trail.py: {module} has no {name} any more")
        setattr(import_module(module), name, instead)
    from relay.cli import main as relay

    relay()


if __name__ == "__main__":
    main()
