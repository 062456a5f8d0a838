"""How long ``relay serve`` takes until it is ready, with many upstreams and a backlog that waits.

    python bench/start.py [--tenants 100] [--backlog 100000] [--rounds 9]
    python bench/start.py --python OTHER/bin/python      a relay installed in another place

Each tenant has an upstream of its own, with one of the presets and a password in a file. They
share a host on loopback where nobody listens. From the starting of the program to READY=1; the CPU
time is that of all its threads until then, and says more where others use the machine.
"""

import argparse
import asyncio
import contextlib
import ctypes
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from programs import ended, free_port
from store import message

from relay.config.providers import provider, provider_names
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

_TOGETHER = 1000


def configure(folder: Path, tenants: int) -> Path:
    """config.yaml, and a file for each password."""
    nowhere, upstreams, owners = free_port(), [], []
    for number, preset in zip(range(tenants), itertools.cycle(provider_names())):
        password = folder / f"password-{number}"
        password.write_text(f"secret {number}")
        password.chmod(0o600)
        upstreams.append(
            f"  up-{number}: {{provider: {preset}, host: 127.0.0.1, port: {nowhere}, tls: implicit,"
            f" username: u{number}, password: 'file:{password}'{_region(preset)}}}"
        )
        owners.append(f"  tenant{number}: {{domains: [t{number}.example], upstream: up-{number}}}")
    file = folder / "config.yaml"
    heads = (
        f"hostname: relay.test\nlisten: [127.0.0.1:{free_port()}]",
        f"store: sqlite://{folder}/relay.db",
    )
    file.write_text("\n".join([*heads, "upstreams:", *upstreams, "tenants:", *owners, ""]))
    return file


def _region(preset: str) -> str:
    return ", region: eu" if any("{region}" in e.host for e in provider(preset).endpoints) else ""


async def fill(path: Path, tenants: int, backlog: int) -> None:
    store = SqliteStore(path, render=json_line, committed=lambda told: None)
    await store.open()
    for first in range(0, backlog, _TOGETHER):
        some = range(first, min(first + _TOGETHER, backlog))
        waiting = (message(f"tenant{n % tenants}", n % 3) for n in some)
        await asyncio.gather(*(store.add(m, claimed=False, events=()) for m in waiting))
    await store.close()


@contextlib.contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(60)
        yield heard
    path.unlink()


def start(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds until it is ready, and seconds of CPU."""
    with manager(folder) as heard, (folder / "trail").open("ab") as trail:
        began = time.perf_counter()
        environment = os.environ | {"NOTIFY_SOCKET": heard.getsockname()}
        with ended(command, stdout=trail, env=environment) as process:
            while b"READY=1" not in heard.recv(4096):
                pass
            return time.perf_counter() - began, cpu_s(process)


def cpu_s(process: "subprocess.Popen[bytes]") -> float:
    clock = ctypes.c_int()
    ctypes.CDLL(None).clock_getcpuclockid(process.pid, ctypes.byref(clock))
    return time.clock_gettime(clock.value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-start-", dir=Path.cwd()) as name:
        folder = Path(name)
        config = configure(folder, given.tenants)
        asyncio.run(fill(folder / "relay.db", given.tenants, given.backlog))
        command = [given.python, "-m", "relay", "--config", str(config), "serve"]
        report([start(command, folder) for _ in range(given.rounds)])


def report(rounds: list[tuple[float, float]]) -> None:
    for label, column in zip(("until ready", "CPU"), zip(*rounds, strict=True), strict=True):
        shown = " ".join(f"{seconds:.3f}" for seconds in sorted(column))
        print(f"{label:12s} {statistics.median(column):.3f} s  ({shown})")


if __name__ == "__main__":
    main()
