"""The HTTP side of a running relay: who may ask, whether it lives, whether it takes mail."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flow.conftest import StartRelay
from support.flows import accepted, told, until
from support.monitor import monitoring
from support.ports import free_port
from support.upstream import Slowly, ThreadedUpstream

from relay.accept.listener import Acceptance

PATHS = ("/healthz", "/readyz", "/metrics", "/api/v1/status")


@pytest.fixture
def upstream():
    with ThreadedUpstream() as server:
        yield server


async def test_it_lives_and_takes_mail(start_relay: StartRelay, upstream) -> None:
    port = free_port()
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}):
        async with monitoring(port) as monitor:
            assert await monitor.json("/healthz") == (200, {"alive": True, "reason": None})
            assert await monitor.json("/readyz") == (200, {"ready": True, "reason": None})
            assert (await monitor.get("/"))[0] == 404


async def test_on_a_unix_socket(start_relay: StartRelay, upstream, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    async with start_relay(upstream, http={"listen": f"unix:{path}"}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with monitoring(socket=path) as monitor:
            for one in PATHS:
                assert (await monitor.get(one))[0] == 200
    assert not path.exists()


async def test_a_socket_that_was_left_is_no_obstacle(
    start_relay: StartRelay, upstream, tmp_path: Path
) -> None:
    path = tmp_path / "http.sock"
    left = await asyncio.start_unix_server(lambda reader, writer: None, path)
    left.close()
    await left.wait_closed()
    async with start_relay(upstream, http={"listen": f"unix:{path}"}):
        async with monitoring(socket=path) as monitor:
            assert (await monitor.get("/healthz"))[0] == 200


async def test_a_port_that_is_taken_is_named(start_relay: StartRelay, upstream) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken:
        with pytest.raises(OSError, match=f"can't listen on http 127.0.0.1:{port}: Address alr"):
            async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}) as relay:
                await relay.app.run()


# -- who may ask


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_token_nothing_is_told(
    start_relay: StartRelay, upstream, path: str
) -> None:
    port = free_port()
    http = {"listen": f"127.0.0.1:{port}", "token": "right-token"}
    async with start_relay(upstream, http=http):
        async with monitoring(port) as monitor:
            for said in (None, "Bearer wrong-token", "Bearer", "Basic right-token", "right-token"):
                assert await monitor.get(path, said) == (401, "a token is needed\n")
            assert (await monitor.get(path, "Bearer right-token"))[0] == 200
            assert (await monitor.get(path, "bearer  right-token"))[0] == 200


async def test_a_token_with_odd_octets_is_refused_like_any_other(
    start_relay: StartRelay, upstream
) -> None:
    port = free_port()
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}", "token": "tökén"}):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n")
            writer.write(b"Authorization: Bearer \xff\xfe\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"401"


async def test_a_rotated_token_holds_after_a_reload(
    start_relay: StartRelay, upstream, tmp_path: Path
) -> None:
    port, token = free_port(), tmp_path / "token"
    token.write_text("former\n")
    http = {"listen": f"127.0.0.1:{port}", "token": f"file:{token}"}
    async with start_relay(upstream, http=http) as relay:
        async with monitoring(port) as monitor:
            assert (await monitor.get("/healthz", "Bearer former"))[0] == 200
            token.write_text("latter\n")
            assert (await monitor.get("/healthz", "Bearer latter"))[0] == 401
            os.kill(os.getpid(), signal.SIGHUP)
            await told(relay.folder, "config.reloaded")
            assert (await monitor.get("/healthz", "Bearer latter"))[0] == 200
            assert (await monitor.get("/healthz", "Bearer former"))[0] == 401


async def test_nobody_may_ask_where_the_token_cant_be_read(
    start_relay: StartRelay, upstream, tmp_path: Path
) -> None:
    port = free_port()
    http = {"listen": f"127.0.0.1:{port}", "token": f"file:{tmp_path}/none"}
    async with start_relay(upstream, http=http):
        async with monitoring(port) as monitor:
            assert (await monitor.get("/metrics", "Bearer "))[0] == 401


async def test_a_crowd_of_monitors_takes_nothing_from_the_mail(
    start_relay: StartRelay, upstream
) -> None:
    port = free_port()
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}) as relay:
        async with contextlib.AsyncExitStack() as crowd:
            readers = []
            for _ in range(60):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                crowd.callback(writer.close)
                readers.append(reader)
            async with asyncio.timeout(10):
                for reader in readers[50:]:
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
            async with relay.dialogue() as client:
                await accepted(client)
        async with monitoring(port) as monitor, asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    assert (await monitor.get("/healthz"))[0] == 200
                    break


# -- alive, and ready


async def test_a_store_that_fails_is_alive_and_not_ready(
    start_relay: StartRelay, upstream, tmp_path: Path
) -> None:
    """It goes on answering 451; nothing is mended by a restart."""
    port, store = free_port(), tmp_path / "relay.db"
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}):
        async with monitoring(port) as monitor:
            store.rename(tmp_path / "aside")
            shutil.copy(tmp_path / "aside", store)
            unready = await monitor.until_status("/readyz", 503)
            assert unready["ready"] is False
            assert "was replaced while the relay has it open" in unready["reason"]
            assert (await monitor.json("/healthz"))[0] == 200
            assert (await monitor.get("/metrics"))[0] == 200
            (tmp_path / "aside").rename(store)
            await monitor.until_status("/readyz", 200)


async def test_a_store_that_cant_be_read_is_said_in_the_status(
    start_relay: StartRelay, upstream, tmp_path: Path
) -> None:
    port, store = free_port(), tmp_path / "relay.db"
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}):
        async with monitoring(port) as monitor:
            store.rename(tmp_path / "aside")
            status, body = await monitor.json("/api/v1/status")
            assert status == 503
            assert "no store at" in body["error"]
            assert (await monitor.get("/metrics"))[0] == 200
            (tmp_path / "aside").rename(store)


async def test_a_full_queue_is_not_ready(start_relay: StartRelay, upstream) -> None:
    port = free_port()
    upstream.down()
    more = {"http": {"listen": f"127.0.0.1:{port}"}, "queue": {"max_messages": 1}}
    async with start_relay(upstream, **more) as relay:
        async with relay.dialogue() as client:
            await accepted(client)
        async with monitoring(port) as monitor:
            reason = "the queue is full, try again later"
            assert await monitor.json("/readyz") == (503, {"ready": False, "reason": reason})
            assert (await monitor.json("/healthz"))[0] == 200


async def test_before_it_takes_mail_it_lives_and_is_not_ready(
    start_relay: StartRelay, upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, binds = free_port(), asyncio.Event()
    start = Acceptance.start

    async def start_later(acceptance: Acceptance) -> Sequence[str]:
        await binds.wait()
        return await start(acceptance)

    monkeypatch.setattr(Acceptance, "start", start_later)

    async def ask() -> None:
        async with monitoring(port) as monitor:
            await until_listening(port)
            reason = "the relay is starting"
            assert await monitor.json("/readyz") == (503, {"ready": False, "reason": reason})
            assert (await monitor.json("/healthz"))[0] == 200
        binds.set()

    asked = asyncio.create_task(ask())
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}):
        await asked
        async with monitoring(port) as monitor:
            await monitor.until_status("/readyz", 200)


async def until_listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def test_while_it_stops_it_lives_and_is_not_ready(start_relay: StartRelay, upstream) -> None:
    port = free_port()
    upstream.script = {"dot": Slowly(2.0)}
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}) as relay:
        async with relay.dialogue() as client, monitoring(port) as monitor:
            await accepted(client)
            await until(lambda: any(line == "DATA" for _, line in upstream.commands))
            relay.app.stop("test")
            reason = "the relay is stopping"
            assert await monitor.json("/readyz") == (503, {"ready": False, "reason": reason})
            assert (await monitor.json("/healthz"))[0] == 200
            assert (await monitor.get("/metrics"))[0] == 200
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_the_probe_of_the_disk_changes_nothing_that_counts(
    start_relay: StartRelay, upstream, tmp_path: Path
) -> None:
    port = free_port()
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}):
        await until(lambda: ledger(tmp_path)["tenancy"])
        before = ledger(tmp_path)
        async with monitoring(port) as monitor:
            assert (await monitor.json("/readyz"))[0] == 200
        after = ledger(tmp_path)
    assert after.pop("changes") > before.pop("changes")
    assert after == before


def ledger(folder: Path) -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(folder / "relay.db")) as store:
        store.row_factory = sqlite3.Row
        return dict(store.execute("SELECT * FROM ledger").fetchone())


async def test_its_place_cant_change_without_a_restart(start_relay: StartRelay, upstream) -> None:
    port = free_port()
    async with start_relay(upstream, http={"listen": f"127.0.0.1:{port}"}) as relay:
        file = relay.folder / "config.yaml"
        file.write_text(file.read_text().replace(f":{port}", f":{free_port()}", 1))
        assert str(port) not in file.read_text()
        os.kill(os.getpid(), signal.SIGHUP)
        [rejected] = await told(relay.folder, "config.rejected")
        assert rejected["problems"] == ["http: has changed, which needs a restart; nothing was "
                                        "reloaded"]  # fmt: skip
        async with monitoring(port) as monitor:
            assert (await monitor.get("/healthz"))[0] == 200
