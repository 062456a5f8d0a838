"""tenant disable, enable and reset for a time, and waiting until nothing goes the old way any more.
A test stands for the relay: it holds its lock and says what it has reached.
"""

import asyncio
import re
import select
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config
from support.program import RELAY
from support.verbs import Relay, command_line

from relay.queue.lock import ServeLock
from relay.queue.sqlite.admin import Administration
from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    upstreams = {"acme-mail": {"host": "mail.acme.example"}, "platform": {"host": "localhost"}}
    tenants = {
        "acme": {"domains": ["acme.example"], "upstream": "acme-mail"},
        "globex": {"domains": ["globex.example"], "upstream": "acme-mail", "enabled": False},
    }
    file = tmp_path / "config.yaml"
    file.write_text(relay_config(tmp_path, 2525, upstreams, tenants, {"upstream": "platform"}))
    return file


@pytest.fixture
def relay(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    return command_line(config_file, capsys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that no relay serves."""

    async def serve_once() -> None:
        store = SqliteStore(path, render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    path = tmp_path / "relay.db"
    asyncio.run(serve_once())
    return path


# -- for a time


@pytest.mark.usefixtures("path")
def test_a_toggle_for_a_time_is_told_everywhere(relay: Relay):
    done = relay("tenant", "disable", "acme", "--reason", "maintenance", "--for", "2h")
    assert done.out.startswith("acme is disabled until 20")
    assert done.out.endswith(" UTC: its mail leaves by platform\n")
    [row] = relay("tenant", "show", "acme", "--json").rows
    assert (row["enabled"], row["enabled_in_file"]) == (False, True)
    assert row["until"] > row["since"]
    line = relay("tenant", "list").out.splitlines()[1]
    assert "disabled (enabled in the file)" in line
    assert "  in 1h  maintenance (" in line
    assert re.search(r"^until +20", relay("tenant", "show", "acme").out, re.MULTILINE)
    [note] = [line for line in relay("check").out.splitlines() if line.startswith("note")]
    assert "acme is disabled until 20" in note
    [event] = relay("audit", "--event", "tenant.disabled", "--json").rows
    assert event["until"] is not None


@pytest.mark.usefixtures("path")
def test_it_ends_by_itself(relay: Relay):
    relay("tenant", "disable", "acme", "--reason", "x", "--for", "1ms")
    relay("tenant", "enable", "globex", "--reason", "x", "--for", "1ms")
    time.sleep(0.002)
    rows = relay("tenant", "list", "--json").rows
    assert [(row["enabled"], row["until"]) for row in rows] == [(True, None), (False, None)]
    done = relay("tenant", "reset", "acme", "--reason", "x")
    assert done.out == "acme was never switched: the configuration counts already\n"


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("what", [("--for", "2"), ("--for", "0s"), ("--patience", "soon")])
def test_a_wrong_duration_is_one_line(relay: Relay, what: tuple[str, str]):
    done = relay("tenant", "disable", "acme", "--reason", "x", *what)
    assert (done.status, done.out) == (2, "")
    assert what[0] in done.err
    assert relay("audit", "--json").rows == []


# -- for programs


@pytest.fixture(params=["down", "up"])
def relay_is(request: pytest.FixtureRequest, path: Path) -> Iterator[str]:
    """With a relay that serves the store, and without."""
    if request.param == "down":
        yield request.param
        return
    with ServeLock(path):
        yield request.param


@pytest.mark.usefixtures("relay_is")
def test_each_switch_answers_with_a_row(relay: Relay):
    why = ("--reason", "suspended")
    [off] = relay("tenant", "disable", "acme", *why, "--for", "2h", "--json").rows
    assert (off["tenant"], off["enabled"], off["enabled_in_file"]) == ("acme", False, True)
    assert (off["leaves_by"], off["reason"]) == ("platform", "suspended")
    assert off["until"] > off["since"]
    [on] = relay("tenant", "enable", "acme", *why, "--json").rows
    assert (on["enabled"], on["leaves_by"], on["until"]) == (True, "acme-mail", None)
    assert on["actor"]
    [reset] = relay("tenant", "reset", "acme", *why, "--json").rows
    assert (reset["enabled"], reset["actor"], reset["reason"]) == (True, None, None)
    assert off["generation"] < on["generation"] < reset["generation"]
    [again] = relay("tenant", "reset", "acme", *why, "--json").rows
    assert again == reset | {"generation": None}
    [listed] = [r for r in relay("tenant", "list", "--json").rows if r["tenant"] == "acme"]
    assert listed.items() < again.items()


@pytest.mark.usefixtures("path")
def test_a_tenant_that_has_left_the_file_is_reset_all_the_same(relay: Relay, config_file: Path):
    relay("tenant", "disable", "acme", "--reason", "x")
    config_file.write_text(config_file.read_text().replace("  acme:\n", "  initech:\n"))
    [row] = relay("tenant", "reset", "acme", "--reason", "x", "--json").rows
    assert (row["tenant"], row["enabled_in_file"], row["actor"]) == ("acme", None, None)


@pytest.mark.usefixtures("path")
def test_who_waits_for_rows_gets_nothing_else(relay: Relay):
    done = relay("tenant", "disable", "acme", "--reason", "x", "--wait", "--json")
    assert (done.status, len(done.rows)) == (0, 1)


# -- waiting


@pytest.mark.usefixtures("path")
def test_without_a_relay_nothing_is_waited_for(relay: Relay):
    for verb in ("disable", "enable", "reset"):
        done = relay("tenant", verb, "acme", "--reason", "x", "--wait")
        assert done.status == 0
        assert done.out.endswith("\nnothing is under way on the old way\n")


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A relay that has attempts under way and never says that they ended, unless told to."""
    path = tmp_path / "relay.db"
    with ServeLock(path):
        store = SqliteStore(path, render=json_line, committed=lambda told: None)
        await store.open()
        yield store
        await store.close()


@contextmanager
def disabling(config_file: Path, *more: str) -> Iterator[Any]:
    # A job in the background of a script has SIGINT ignored, and so would its children.
    command = ["env", "--default-signal=INT", str(RELAY), "--config", str(config_file)]
    arguments = ["tenant", "disable", "acme", "--reason", "key leaked", "--wait", *more]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as verb:
        try:
            assert verb.stdout
            # What was done is told before the waiting.
            assert verb.stdout.readline().startswith(b"acme is disabled")
            yield verb
        finally:
            verb.kill()


def is_waiting(verb: Any) -> bool:
    return not select.select([verb.stdout], [], [], 0.3)[0]


async def test_it_returns_when_the_relay_has_come_so_far(
    config_file: Path, serving: SqliteStore
) -> None:
    with disabling(config_file) as verb:
        orders = serving.orders()
        assert orders
        await serving.reached(orders.generation - 1)
        assert await asyncio.to_thread(is_waiting, verb)
        await serving.reached(orders.generation)
        assert await asyncio.to_thread(verb.wait, 30) == 0
        assert verb.stdout.read() == b"nothing is under way on the old way\n"


def test_it_returns_when_the_relay_is_gone(config_file: Path, path: Path) -> None:
    with ServeLock(path) as lock, disabling(config_file) as verb:
        assert is_waiting(verb)
        lock.release()
        assert verb.wait(30) == 0


@pytest.mark.usefixtures("serving")
async def test_patience_has_an_end_and_the_switch_holds(relay: Relay, config_file: Path) -> None:
    with disabling(config_file, "--patience", "100ms") as verb:
        assert await asyncio.to_thread(verb.wait, 30) == 1
        assert verb.stderr.read().startswith(b"relay: an attempt that began before is still")
    assert not relay("tenant", "show", "acme", "--json").rows[0]["enabled"]


@pytest.mark.usefixtures("serving")
async def test_ctrl_c_ends_the_waiting_alone(tmp_path: Path, config_file: Path) -> None:
    with disabling(config_file) as verb:
        assert await asyncio.to_thread(is_waiting, verb)
        verb.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(verb.wait, 30) == 130
        assert verb.stderr.read() == b"not waited for; the switch holds all the same\n"
    with Administration(tmp_path / "relay.db", json_line) as administration:
        assert not administration.toggles()["acme"].enabled
