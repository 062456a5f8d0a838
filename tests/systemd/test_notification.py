"""What the relay tells its service manager, and when it stops telling it that it is alive."""

import asyncio
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from support.configs import relay_config, upstream_entry
from support.mail import send
from support.ports import free_port
from support.supervisor import Supervisor
from support.upstream import ThreadedUpstream

from relay.service.manager import Manager
from relay.service.pulse import Pulse, status_line


@pytest.fixture
def hearing(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5)
        yield heard


def told(heard: socket.socket) -> list[str]:
    return heard.recv(4096).decode().split("\n")


def manager_at(heard: socket.socket, **more: str) -> Manager:
    return Manager.of({"NOTIFY_SOCKET": heard.getsockname()} | more)


def test_without_a_manager_nothing_is_said():
    manager = Manager.of({})
    manager.tell_ready()
    assert manager.watchdog_s is None
    assert not manager.listens


def test_a_manager_that_has_gone_is_no_trouble(tmp_path):
    Manager.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell_ready()


def fill(heard: socket.socket) -> None:
    """As a manager that has more to do than to read."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as telling,
        suppress(BlockingIOError),
    ):
        while True:
            telling.sendto(b"WATCHDOG=1", heard.getsockname())


def test_what_is_said_once_waits_for_a_manager_that_is_busy(hearing):
    """A READY=1 that was lost was a start that failed after five minutes."""
    fill(hearing)
    manager = manager_at(hearing)
    telling = threading.Thread(target=manager.tell_ready)
    telling.start()
    telling.join(0.3)
    assert telling.is_alive()
    lines = iter(partial(told, hearing), ["READY=1"])
    assert {line for (line,) in lines} == {"WATCHDOG=1"}
    telling.join(5)


def test_nobody_waits_for_ever_nor_for_what_is_said_again(hearing, monkeypatch):
    monkeypatch.setattr("relay.service.manager._PATIENCE_S", 0.3)
    fill(hearing)
    began = time.monotonic()
    manager_at(hearing).tell("WATCHDOG=1")
    assert time.monotonic() - began < 0.3
    manager_at(hearing).tell_stopping()
    assert 0.3 <= time.monotonic() - began < 4


def test_the_variables_are_not_left_to_children(hearing):
    environ = {"NOTIFY_SOCKET": hearing.getsockname(), "WATCHDOG_USEC": "2000000", "HOME": "/"}
    manager = Manager.of(environ)
    manager.tell_ready()
    assert told(hearing) == ["READY=1"]
    assert manager.watchdog_s == 2.0
    assert environ == {"HOME": "/"}


def test_the_watchdog_of_another_process_is_not_fed(hearing):
    assert manager_at(hearing, WATCHDOG_USEC="2000000", WATCHDOG_PID="1").watchdog_s is None
    own = str(os.getpid())
    assert manager_at(hearing, WATCHDOG_USEC="2000000", WATCHDOG_PID=own).watchdog_s == 2.0


def test_a_reload_tells_its_beginning_and_its_end_whatever_comes_of_it(hearing):
    before = time.monotonic_ns() // 1000
    with pytest.raises(ValueError, match="mistake"), manager_at(hearing).reloading():
        raise ValueError("mistake")
    reloading, moment = told(hearing)
    assert reloading == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert told(hearing) == ["READY=1"]


async def test_the_watchdog_is_fed_only_while_the_store_answers(hearing):
    answers = asyncio.Event()
    answers.set()
    hearing.setblocking(False)
    manager = manager_at(hearing, WATCHDOG_USEC="30000")
    pulse = asyncio.create_task(Pulse(manager, answers.wait, lambda: "").run())
    loop = asyncio.get_running_loop()
    for _ in range(5):
        assert await asyncio.wait_for(loop.sock_recv(hearing, 4096), 5) == b"WATCHDOG=1"
    answers.clear()
    await asyncio.sleep(0.05)  # one may be on its way
    while hearing in select.select([hearing], [], [], 0)[0]:
        hearing.recv(4096)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.sock_recv(hearing, 4096), 0.3)
    pulse.cancel()


def test_the_status_says_what_is_paused():
    assert status_line(12, 3, 0, []) == "12 sent, 3 queued"
    assert status_line(0, 0, 1, []) == "0 sent, 0 queued, 1 dead"


def test_a_life_as_the_manager_hears_it(tmp_path):
    with ThreadedUpstream() as upstream:
        port = free_port()
        config = relay_config(
            tmp_path,
            port,
            {"platform": upstream_entry(upstream)},
            default={"upstream": "platform"},
            retry={"first": "1m"},
        )
        with Supervisor(tmp_path, config) as manager:
            manager.start()
            manager.hear("STATUS=0 sent, 0 queued")
            send(port, "app@acme.example", "joe@recipient.example")
            manager.hear("STATUS=1 sent, 0 queued")
            upstream.script["mail"] = "530 5.7.0 authentication required"
            send(port, "app@acme.example", "joe@recipient.example")
            manager.hear("STATUS=1 sent, 1 queued; paused: platform")
            manager.told.clear()
            manager.signal(signal.SIGHUP)
            manager.hear("READY=1")
            assert manager.told.index("RELOADING=1") < manager.told.index("READY=1")
            assert manager.stop() == 0
            assert "STOPPING=1" in manager.told


def test_a_store_that_answers_with_an_error_feeds_the_watchdog(tmp_path):
    """The relay goes on saying 451; to start it anew would mend nothing."""
    config = relay_config(tmp_path, free_port(), {})
    with Supervisor(tmp_path, config, environment={"WATCHDOG_USEC": "600000"}) as manager:
        manager.start()
        manager.hear("WATCHDOG=1")
        (tmp_path / "relay.db").rename(tmp_path / "away.db")
        manager.listen(0.3)
        for _ in range(3):
            manager.told.clear()
            manager.hear("WATCHDOG=1")
        (tmp_path / "away.db").rename(tmp_path / "relay.db")


def test_a_loop_that_is_blocked_feeds_no_watchdog(tmp_path):
    config = relay_config(tmp_path, free_port(), {})
    with Supervisor(tmp_path, config, environment={"WATCHDOG_USEC": "300000"}) as manager:
        manager.start()
        manager.hear("WATCHDOG=1")
        manager.signal(signal.SIGSTOP)
        manager.listen(0.2)
        assert "WATCHDOG=1" not in manager.listen(0.5)
        manager.signal(signal.SIGCONT)
        manager.told.clear()
        manager.hear("WATCHDOG=1")
