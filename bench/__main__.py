"""The relay beside a tuned Postfix: the same work, the same upstream, the same disk, the same run.

    python bench [--only ROW] [--rounds R] [--messages N] [--quick] [--write docs/performance.md]
    python bench --contestant relay --only small      the relay alone: no root, no Postfix server

Each round starts a contestant afresh, in alternating order. Printed are the medians. What is
measured, and how to read it, is in docs/performance.md. An installed Postfix is not touched.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from contestants import CONTESTANTS
from figures import Effort
from machine import described
from programs import missing
from report import goal_table, row_table, write_into
from rounds import in_rounds
from rows import ROWS

_AMOUNTS = {
    "messages": "of 4 KiB; the large and the far rows take a share of it",
    "rounds": "of which the median is shown",
    "large_sessions": "at once, of the row many-large",
    "backlog": "messages that wait",
    "tenants": "on up to 100 upstreams",
    "seconds": "of the rows idle and latency",
}
# About three minutes for everything: to see it work, not to believe the figures.
_QUICK = Effort(messages=600, rounds=1, large_sessions=20, backlog=2000, tenants=1000, seconds=5)


def main() -> None:
    chosen = _arguments()
    _check_it_can_run(chosen.contestants)
    effort = _effort(chosen)
    found = find_spec("relay")
    print(f"measuring the relay of {found and found.origin}", file=sys.stderr)
    machine = described(chosen.folder)
    head = [f"`python {shlex.join(['bench', *sys.argv[1:]])}`", *machine]
    text = "\n".join(f"- {line}" for line in head) + "\n"
    print(text, flush=True)
    measured, began = [], time.monotonic()
    for row in chosen.rows:
        measured.append(in_rounds(row, chosen.contestants, effort, chosen.folder))
        print(row_table(measured[-1]), flush=True)
    goals = goal_table(measured)
    print(goals)
    print(f"It took {(time.monotonic() - began) / 60:.0f} minutes.", file=sys.stderr)
    if chosen.write:
        write_into(chosen.write, "\n".join([text, goals, *map(row_table, measured)]))
    sys.exit(any(row.failures for row in measured))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n")[0])
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--contestant", action="append", choices=list(CONTESTANTS))
    parser.add_argument("--quick", action="store_true", help="see it work, in three minutes")
    for name, what in _AMOUNTS.items():
        usual = getattr(Effort(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"{what}; {usual:,}")
    parser.add_argument("--folder", type=Path, default="/var/tmp", help="on the disk to measure")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="between the page's marks")
    chosen = parser.parse_args()
    if chosen.write and (chosen.only or chosen.contestant):
        parser.error("--write is for the whole table")
    chosen.rows = [row for row in ROWS if row.name in (chosen.only or names)]
    chosen.contestants = chosen.contestant or list(CONTESTANTS)
    return chosen


def _check_it_can_run(contestants: Sequence[str]) -> None:
    wanted = ["smtp-source", "smtp-sink", "stunnel"]
    if any(name.startswith("postfix") for name in contestants):
        wanted.append("postfix")
        if os.geteuid() != 0:
            sys.exit("bench: Postfix needs root; --contestant relay does not")
    if absent := missing(wanted):
        sys.exit(f"bench: not installed: {', '.join(absent)} (Debian: postfix, stunnel4)")


def _effort(chosen: argparse.Namespace) -> Effort:
    given = {name: value for name in _AMOUNTS if (value := getattr(chosen, name)) is not None}
    return replace(_QUICK if chosen.quick else Effort(), **given)


if __name__ == "__main__":
    main()
