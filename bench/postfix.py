"""The relay beside a tuned Postfix: the same work, the same upstream, the same disk, the same run.

    python bench/postfix.py [--messages N] [--rounds R] [--only small]

It needs root and Debian's postfix and stunnel4; it touches nothing of an installed Postfix. Each
round starts both afresh, in alternating order. The clock runs from the first connection until the
upstream has the last message; CPU and memory are those of all processes of each, without those of
source, stunnel and sink. Printed is the median of the rounds.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import MemoryWatch, cpu_s, memory_bytes
from programs import Contestant, Postfix, Relay, Upstream, missing_programs, program

_MIB = 1024 * 1024
_WARM_UP = 200
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Case:
    """``share`` scales the number of messages asked for."""

    name: str
    what: str
    size_bytes: int
    share: float = 1
    options: tuple[str, ...] = ()


CASES = (
    Case("small", "4 KiB, one message a session", 4096),
    Case("persist", "4 KiB, sessions kept", 4096, options=("-d",)),
    Case("large", "10 MB, one message a session", 10_000_000, share=0.01),
)

# The relay's limits.connections is 20.
CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    "postfix-20": lambda: Postfix(20),
    "postfix-100": lambda: Postfix(100),
    "relay": Relay,
}


@dataclass(frozen=True)
class Figures:
    """Of one round: seconds until all were accepted and until all had arrived."""

    messages: int
    accepted_s: float
    arrived_s: float
    cpu_s: float
    idle_bytes: int
    peak_bytes: int

    @property
    def rate(self) -> float:
        return self.messages / self.arrived_s

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s / self.messages * 1000


def main() -> None:
    arguments = _arguments()
    if os.geteuid() != 0:
        sys.exit("bench/postfix.py: Postfix needs root")
    if absent := missing_programs():
        sys.exit(f"bench/postfix.py: not installed: {', '.join(absent)}")
    cases = [case for case in CASES if arguments.only in (None, case.name)]
    busy = f"load average at the start {os.getloadavg()[0]:.1f}"
    print(f"`python {shlex.join(sys.argv)}`, {os.cpu_count()} cores, {busy}\n")
    print("| work | | messages/s | accepted/s | CPU ms/message | idle MiB | peak MiB |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for case in cases:
        messages = max(20, round(arguments.messages * case.share))
        _print_rows(case, _rounds(case, messages, arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--only", choices=[case.name for case in CASES])
    parser.add_argument("--contestant", choices=list(CONTESTANTS), help="one alone")
    parser.add_argument("--folder", type=Path, default="/var/tmp", help="on the disk to measure")
    return parser.parse_args()


def _rounds(case: Case, messages: int, arguments: argparse.Namespace) -> dict[str, list[Figures]]:
    names = [name for name in CONTESTANTS if arguments.contestant in (None, name)]
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-") as folder:
                contestant = CONTESTANTS[name]()
                measured = _measure(contestant, case, messages, arguments.sessions, Path(folder))
            figures[name].append(measured)
            print(f"{case.name} {name}: {measured}", file=sys.stderr)
        names.reverse()
    return figures


def _measure(
    contestant: Contestant, case: Case, messages: int, sessions: int, folder: Path
) -> Figures:
    folder.chmod(0o755)  # Postfix's processes have another user
    home = folder / "contestant"
    home.mkdir()
    upstream = Upstream(folder)
    with upstream.running(), contestant.running(home, upstream):
        time.sleep(2)
        idle = memory_bytes(contestant.pid)
        warm = _WARM_UP if messages > _WARM_UP else sessions
        _send(case, warm, sessions, contestant.port)
        upstream.wait_for(warm, _TIMEOUT_S)
        with MemoryWatch(contestant.pid) as watch:
            cpu_before, started = cpu_s(contestant.pid), time.monotonic()
            _send(case, messages, sessions, contestant.port)
            accepted = time.monotonic()
            upstream.wait_for(warm + messages, _TIMEOUT_S)
            arrived = time.monotonic()
            time.sleep(1)  # what is settled after the arrival is work too, and so are duplicates
            cpu = cpu_s(contestant.pid) - cpu_before
        if upstream.count() != warm + messages:
            raise RuntimeError(f"{upstream.count()} arrived of {warm + messages} sent")
    return Figures(messages, accepted - started, arrived - started, cpu, idle, watch.peak)


def _send(case: Case, messages: int, sessions: int, port: int) -> None:
    load = ["-s", str(sessions), "-m", str(messages), "-l", str(case.size_bytes)]
    envelope = ["-f", "app@acme.example", "-t", "someone@recipient.example"]
    server = f"127.0.0.1:{port}"
    subprocess.run(
        [program("smtp-source"), *load, *envelope, *case.options, server],
        check=True,
        timeout=_TIMEOUT_S,
    )


def _print_rows(case: Case, figures: dict[str, list[Figures]]) -> None:
    medians = {name: _medians(rounds) for name, rounds in figures.items()}
    for name, row in medians.items():
        print(f"| {case.what} | {name} | " + " | ".join(f"{value:,.2f}" for value in row) + " |")
    if "relay" not in medians:
        return
    ours = medians.pop("relay")
    for name, theirs in medians.items():
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        print(f"| | relay / {name} | " + " | ".join(f"{value:.2f}" for value in ratios) + " |")


def _medians(rounds: Sequence[Figures]) -> list[float]:
    columns = (
        [it.rate for it in rounds],
        [it.messages / it.accepted_s for it in rounds],
        [it.cpu_ms for it in rounds],
        [it.idle_bytes / _MIB for it in rounds],
        [it.peak_bytes / _MIB for it in rounds],
    )
    return [statistics.median(column) for column in columns]


if __name__ == "__main__":
    main()
