"""Real processes at one store: killed in the middle, toggling both, serving both."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.conftest import SqliteBackend
from contract.letters import NOW, message, orders, parsed

from relay.queue.lock import AlreadyServing, ServeLock, is_served, lock_path

_ROOT = Path(__file__).parents[2]


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={"PYTHONPATH": "tests"},
    )


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path)


# -- killed in the middle

_WRITER = """
import asyncio, os, sys
from pathlib import Path
from contract.conftest import SqliteBackend
from contract.letters import message, settlement
from relay.model.events import email_accepted
from relay.model.message import Ending

async def produce(store, number):
    while True:
        kept = message(chunks=(b"x" * (3000 if number % 3 else 90_000),))
        if number % 5 == 0:
            file = store.new_spool_file()
            await file.write(b"y" * 120_000)
            await file.sync()
            kept = message(spool=file.name, spooled_bytes=120_000)
        await store.add(kept, claimed=True, events=[email_accepted(kept)])
        word = "passing" if number % 2 else "kept"
        os.write(1, f"{word} {kept.queue_id}\\n".encode())
        if number % 2:
            await store.settle([settlement(kept, Ending.DONE)], [])
            os.write(1, f"done {kept.queue_id}\\n".encode())

async def main():
    store = SqliteBackend(Path(sys.argv[1])).store()
    await store.open()
    await asyncio.gather(*(produce(store, number) for number in range(20)))

asyncio.run(main())
"""


@pytest.mark.parametrize("after_lines", [200, 1000])
async def test_what_was_acknowledged_survives_sigkill(
    backend: SqliteBackend, tmp_path: Path, after_lines: int
) -> None:
    writer = start(_WRITER, str(tmp_path))
    assert writer.stdout
    lines = [writer.stdout.readline() for _ in range(after_lines)]
    os.kill(writer.pid, signal.SIGKILL)
    lines += writer.stdout.readlines()
    writer.communicate(timeout=10)
    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    kept, passing, done = (
        {queue_id for word, queue_id in acknowledged if word == wanted}
        for wanted in ("kept", "passing", "done")
    )
    store = backend.store()
    recovered = await store.open()
    with backend.administration() as administration:
        found = {listed.message.queue_id: listed for listed in administration.messages(dead=False)}
        told = {event["queue_id"] for event in parsed(list(administration.events()))}
    assert recovered == len(found)
    assert not done & set(found)
    assert kept | passing <= told
    assert kept <= set(found)
    # Each of the ten that settle may have stored an end that was not acknowledged any more.
    assert len(passing - done - set(found)) <= 10
    for listed in found.values():
        content = listed.message.content
        pieces = [piece async for piece in store.read(listed.message.queue_id, content)]
        assert len(b"".join(pieces)) == content.size
    await store.close()


_SETTLER = """
import asyncio, os, sys
from pathlib import Path
from contract.conftest import SqliteBackend
from contract.letters import message, settlement
from relay.model.events import email_accepted
from relay.model.message import Ending, Kind
from relay.model.ports import Also, Spent

async def produce(store):
    while True:
        kept, dsn = message(), message(tenant="dsn", kind=Kind.DSN)
        await store.add(kept, claimed=True, events=[])
        also = Also(messages=[dsn], spent=[Spent("ses", 7, 1)])
        await store.settle([settlement(kept, Ending.DEAD)], [email_accepted(kept)], also)
        os.write(1, b"settled\\n")

async def main():
    store = SqliteBackend(Path(sys.argv[1])).store()
    await store.open()
    await asyncio.gather(*(produce(store) for _ in range(10)))

asyncio.run(main())
"""


async def test_what_is_stored_beside_a_settlement_survives_with_it(
    backend: SqliteBackend, tmp_path: Path
) -> None:
    settler = start(_SETTLER, str(tmp_path))
    assert settler.stdout
    lines = [settler.stdout.readline() for _ in range(300)]
    os.kill(settler.pid, signal.SIGKILL)
    lines += settler.stdout.readlines()
    settler.communicate(timeout=10)
    store = backend.store()
    await store.open()
    dead = store.usage.dead_messages
    assert dead >= lines.count("settled\n") >= 300
    assert len(await store.claim("dsn", 100_000, NOW)) == dead == len(backend.trail())
    assert [spent.count for spent in await store.spent(0)] == [dead]
    await store.close()


# -- two who toggle

_TOGGLING = """
import sys
from pathlib import Path
from contract.conftest import SqliteBackend
from relay.model.toggle import Toggle

with SqliteBackend(Path(sys.argv[1])).administration() as administration:
    print("ready")
    sys.stdin.readline()
    for number in range(int(sys.argv[3])):
        toggle = Toggle("acme", bool(number % 2), f"{sys.argv[2]} {number}", "dana", at=number)
        administration.set_toggle(toggle)
        administration.set_toggle(Toggle(sys.argv[2], False, str(number), "dana", at=number))
"""


async def test_two_who_toggle_and_a_relay_that_notices(
    backend: SqliteBackend, tmp_path: Path
) -> None:
    store = backend.store()
    await store.open()
    assert store.orders() == orders()
    both = [start(_TOGGLING, str(tmp_path), name, "50") for name in ("one", "two")]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    seen = orders()
    while any(process.poll() is None for process in both):
        # Mail goes on meanwhile.
        await store.add(message(), claimed=False, events=[])
        seen = store.orders() or seen
    seen = store.orders() or seen
    assert [process.wait(10) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    assert seen.toggles["one"].reason == seen.toggles["two"].reason == "49"
    assert seen.toggles["acme"].at == 49
    assert len(backend.trail(tenant="acme", names=["tenant.disabled", "tenant.enabled"])) == 100
    assert len(await store.claim("acme", 10_000, NOW)) == store.usage.messages
    await store.close()


async def test_a_verb_gets_in_while_the_relay_writes_all_the_time(
    backend: SqliteBackend, tmp_path: Path
) -> None:
    store = backend.store()
    await store.open()

    async def produce() -> None:
        while True:
            await store.add(message(), claimed=True, events=[])

    producing = [asyncio.create_task(produce()) for _ in range(20)]
    verb = start(_TOGGLING, str(tmp_path), "verb", "25")
    assert verb.stdout
    assert verb.stdin
    await asyncio.to_thread(verb.stdout.readline)
    began = time.monotonic()
    verb.stdin.write("go\n")
    verb.stdin.flush()
    status = await asyncio.to_thread(verb.wait, 30)
    took = time.monotonic() - began
    for task in producing:
        task.cancel()
    await asyncio.gather(*producing, return_exceptions=True)
    await store.close()
    verb.communicate()
    assert (status, took < 5) == (0, True)


# -- one who serves

_SERVING = """
import sys
from pathlib import Path
from relay.queue.lock import ServeLock
with ServeLock(Path(sys.argv[1])):
    print("serving")
    sys.stdin.readline()
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    process = start(_SERVING, str(tmp_path / "relay.db"))
    assert process.stdout
    assert process.stdout.readline() == "serving\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_relay_is_told_who_serves(served: "subprocess.Popen[str]", tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    assert is_served(path) == served.pid
    with pytest.raises(AlreadyServing, match=f"process {served.pid}") as refused:
        ServeLock(path).acquire()
    assert refused.value.pid == served.pid


def test_a_killed_relay_serves_no_more(served: "subprocess.Popen[str]", tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    served.kill()
    served.wait(10)
    assert is_served(path) is None
    with ServeLock(path):
        assert is_served(path) == os.getpid()
    assert is_served(path) is None


def test_nobody_serves_a_store_that_was_never_there(tmp_path: Path) -> None:
    assert is_served(tmp_path / "relay.db") is None


def test_asking_keeps_no_relay_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    asking = start(
        "import sys; from pathlib import Path; from relay.queue.lock import is_served\n"
        "print('asking')\n"
        "while True: is_served(Path(sys.argv[1]))",
        str(path),
    )
    assert asking.stdout
    asking.stdout.readline()
    try:
        for _ in range(50):
            with ServeLock(path):
                pass
    finally:
        asking.kill()
        asking.communicate()


def test_the_group_may_ask_who_serves(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with ServeLock(tmp_path / "relay.db"):
            assert lock_path(tmp_path / "relay.db").stat().st_mode & 0o777 == 0o660
    finally:
        os.umask(before)
