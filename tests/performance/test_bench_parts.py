"""The measuring parts of bench/ measure what they say."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.ports import free_port

_BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files can be imported, as they import one another."""
    monkeypatch.syspath_prepend(_BENCH)


@contextmanager
def running(code: str) -> Iterator["subprocess.Popen[str]"]:
    """A Python that runs the code, says "done", and waits for its input to end."""
    waiting = "print('done', flush=True)\nimport sys\nsys.stdin.read()"
    command = [sys.executable, "-c", f"{code}\n{waiting}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process
        process.communicate(timeout=20)


_BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_cpu_time_of_children_that_have_ended_counts() -> None:
    from processes import cpu_s, tree

    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BURN!r}])"
    with running(code) as process:
        assert tree(process.pid) == [process.pid]
        assert 0.25 <= cpu_s(process.pid) < 2


def test_memory_of_a_tree_is_more_than_that_of_its_root() -> None:
    from processes import memory_bytes, tree

    child = "x = b'1' * 50_000_000\nprint(1, flush=True)\nimport sys\nsys.stdin.read()"
    code = (
        "import subprocess, sys\n"
        f"c = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "c.stdout.readline()"
    )
    with running(code) as process:
        assert len(tree(process.pid)) == 2
        assert memory_bytes(process.pid) > 50_000_000


def test_a_peak_between_two_looks_is_seen() -> None:
    from processes import MemoryWatch, memory_bytes

    with running("x = b'1' * 80_000_000\ndel x") as process:
        with MemoryWatch(process.pid) as watch:
            pass
        assert memory_bytes(process.pid) < 60_000_000
        assert watch.peak > 80_000_000


def test_wake_ups_are_those_of_all_threads() -> None:
    from processes import wake_ups

    code = (
        "import threading, time\n"
        "def often():\n    while True: time.sleep(0.01)\n"
        "threading.Thread(target=often, daemon=True).start()"
    )
    with running("pass") as idle, running(code) as busy:
        before_idle, before_busy = wake_ups(idle.pid), wake_ups(busy.pid)
        deadline = time.monotonic() + 20
        while wake_ups(busy.pid) - before_busy < 10:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert wake_ups(idle.pid) - before_idle <= 1


def test_the_long_way_is_late_and_in_order() -> None:
    listen, to = free_port(), free_port()
    command = [sys.executable, str(_BENCH / "delay.py"), str(listen), str(to), "30"]
    with socket.create_server(("127.0.0.1", to)) as server, subprocess.Popen(command) as way:
        try:
            near = connected(listen)
            far, _ = server.accept()
            numbers = [f"{number:04}\n".encode() for number in range(300)]
            sent_at = time.monotonic()
            for number in numbers:
                near.sendall(number)
            assert far.recv(1) == b"0"
            assert time.monotonic() - sent_at >= 0.03
            near.shutdown(socket.SHUT_WR)
            with far.makefile("rb") as arriving:
                assert b"0" + arriving.read() == b"".join(numbers)
            near.close()
            far.close()
        finally:
            way.terminate()


def connected(port: int) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 10)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
