"""Programs that a benchmark starts and ends, and free loopback ports for them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

TIMEOUT_S = 30


def missing(wanted: Sequence[str]) -> list[str]:
    return [name for name in wanted if program(name) == name]


def program(name: str) -> str:
    """Its path; Debian keeps servers where a person's PATH does not reach."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or name


@contextlib.contextmanager
def ended(command: list[str], **files: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program in a session of its own; on leaving, end all that is left of it."""
    command = [program(command[0]), *command[1:]]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **files)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Raises OSError where nobody listens in time, or the process that should has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline or (process and process.poll() is not None):
                raise
            time.sleep(0.02)
