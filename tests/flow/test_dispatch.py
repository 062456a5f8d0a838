"""Queue, route, deliver and settle together, where each could let another down."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.upstream import DROP, SILENCE, Slowly, Upstream

from relay.model.toggle import Toggle
from relay.queue.sqlite.admin import Administration
from relay.record.audit import json_line

MAIL = b"From: shop@acme.example\r\nSubject: hi\r\n\r\nhello\r\n"


def entry(server: Upstream, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "tls": "none"} | more


def trail(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{folder}/relay.db?mode=ro", uri=True)) as store:
        return [json.loads(body) for (body,) in store.execute("SELECT body FROM event ORDER BY id")]


async def told(folder: Path, name: str, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(found := [e for e in trail(folder) if e["event"] == name]) < count:
            await asyncio.sleep(0.02)
    return found


def disable(folder: Path, tenant: str) -> None:
    toggle = Toggle(tenant, enabled=False, reason="test", actor="test", at=1.0)
    with Administration(folder / "relay.db", json_line) as store:
        store.set_toggle(toggle)


async def send(client: Any, recipients: int, sender: str = "shop@acme.example") -> None:
    await client.say(f"MAIL FROM:<{sender}>")
    for i in range(recipients):
        await client.say(f"RCPT TO:<r{i}@x.example>")
    await client.say("DATA")
    client.send(MAIL + b".\r\n")
    assert (await client.reply()).startswith("250")


async def test_a_toggle_counts_for_the_recipients_that_were_still_to_come(start_relay: Any) -> None:
    """limits.recipients makes three handovers of one message; the tenant is toggled off during
    the first."""
    async with Upstream(script={"dot": Slowly(0.4)}) as own, Upstream() as platform:
        upstreams = {
            "up": entry(own, limits={"recipients": 1}),
            "platform": entry(platform),
        }
        default = {"upstream": "platform", "from": "Platform <noreply@platform.example>"}
        async with start_relay(own, upstreams=upstreams, default=default) as relay:
            async with relay.dialogue() as client:
                await send(client, 3)
            await asyncio.sleep(0.15)
            await asyncio.to_thread(disable, relay.folder, "acme")
            (rest,) = await platform.arrived(1)
    assert [t.recipients for t in own.transactions] == [("r0@x.example",)]
    assert rest.recipients == ("r1@x.example", "r2@x.example")
    assert rest.reverse_path == "noreply@platform.example"


async def test_who_stands_in_line_for_a_hung_upstream_is_toggled_away_at_once(
    start_relay: Any,
) -> None:
    async with Upstream(script={"dot": SILENCE}) as own, Upstream() as platform:
        upstreams = {"up": entry(own, limits={"connections": 1}), "platform": entry(platform)}
        more: dict[str, Any] = {"timeouts": {"drain": "100ms"}}
        async with start_relay(
            own, upstreams=upstreams, default={"upstream": "platform"}, **more
        ) as relay:
            async with relay.dialogue() as client:
                for _ in range(3):
                    assert (await client.mail(MAIL)).startswith("250")
            await asyncio.sleep(0.1)
            await asyncio.to_thread(disable, relay.folder, "acme")
            await platform.arrived(2, timeout_s=5)


async def test_each_handover_is_stored_before_the_next(start_relay: Any) -> None:
    async with Upstream(script={"dot": [None, SILENCE]}) as own:
        upstreams = {"up": entry(own, limits={"recipients": 1, "connections": 1})}
        more: dict[str, Any] = {"timeouts": {"drain": "100ms"}}
        async with start_relay(own, upstreams=upstreams, **more) as relay:
            async with relay.dialogue() as client:
                await send(client, 3)
            await own.arrived(1)
            await told(relay.folder, "email.sent")
        # Stopped in the middle of the second: its outcome is unknown, and the trail says so.
        (unknown,) = [e for e in trail(relay.folder) if e["event"] == "email.deferred"]
        assert (unknown["cause"], unknown["recipients"]) == ("outcome_unknown", ["r1@x.example"])
        async with start_relay(own, upstreams=upstreams):
            await own.arrived(3)
            await asyncio.sleep(0.2)
    relayed = [t.recipients[0] for t in own.transactions]
    assert sorted(relayed) == ["r0@x.example", "r1@x.example", "r2@x.example"]


async def test_a_reply_that_is_no_utf8_is_told_and_settled(start_relay: Any) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write("554 accès refusé\r\n".encode("latin-1"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    stand_in = Upstream()
    stand_in.port = server.sockets[0].getsockname()[1]
    async with start_relay(stand_in, upstreams={"up": entry(stand_in)}) as relay:
        async with relay.dialogue() as client:
            assert (await client.mail(MAIL)).startswith("250")
        deferred = await told(relay.folder, "email.deferred", 2)
        assert deferred[0]["cause"] == "upstream_unavailable"
    server.close()
    await asyncio.sleep(0.05)


async def test_an_upstream_that_stops_reading_gives_its_turn_back(start_relay: Any) -> None:
    done = asyncio.Event()
    async with Upstream() as own:

        async def stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            for reply in (b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
                await reader.readline()
                writer.write(reply)
            await done.wait()
            writer.transport.abort()

        server = await asyncio.start_server(stop_reading, "127.0.0.1", 0, limit=1024)
        stand_in = Upstream()
        stand_in.port = server.sockets[0].getsockname()[1]
        timeouts = {"reply": "500ms", "drain": "100ms"}
        async with start_relay(own, upstreams={"up": entry(stand_in)}, timeouts=timeouts) as relay:
            async with relay.dialogue() as client:
                assert (await client.mail(b"\r\n" + b"x\r\n" * 6_000_000)).startswith("250")
            (deferred, *_) = await told(relay.folder, "email.deferred")
            assert deferred["cause"] == "reply_timeout"
        server.close()
        done.set()
        await asyncio.sleep(0.05)


async def test_a_vanished_ca_file_defers_and_says_so(
    start_relay: Any, certificates: Any, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca-of-this-test.pem"
    ca_file.write_bytes(certificates.ca_file.read_bytes())
    async with Upstream(certificates.good(), tls="implicit") as own:
        upstreams = {"up": {"host": "localhost", "port": own.port, "ca_file": str(ca_file)}}
        async with start_relay(own, upstreams=upstreams) as relay:
            ca_file.unlink()
            async with relay.dialogue() as client:
                assert (await client.mail(MAIL)).startswith("250")
            (deferred, *_) = await told(relay.folder, "email.deferred")
            assert deferred["cause"] == "certificate_invalid"
            assert "ca-of-this-test.pem" in deferred["detail"]


async def test_what_was_deferred_is_tried_again_though_much_is_under_way(start_relay: Any) -> None:
    async with Upstream(script={"dot": ["451 4.3.0 later"] * 30}) as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            for _ in range(40):
                assert (await client.mail(MAIL)).startswith("250")
            await own.arrived(40)
    assert len(own.refused) == 30


async def test_mail_that_could_not_be_settled_is_not_sent_again(
    start_relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.model.ports import StoreError
    from relay.queue.sqlite.store import SqliteStore

    settle = SqliteStore.settle
    failures = iter([True, True, False])

    async def failing(self: Any, *arguments: Any) -> None:
        if next(failures, False):
            raise StoreError("the disk is full")
        await settle(self, *arguments)

    monkeypatch.setattr(SqliteStore, "settle", failing)
    async with Upstream() as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            assert (await client.mail(MAIL)).startswith("250")
            await told(relay.folder, "email.sent")
            await asyncio.sleep(0.3)
    assert len(own.transactions) == 1


async def test_non_ascii_recipients_do_not_fail_the_others(start_relay: Any) -> None:
    async with Upstream(extensions=("PIPELINING",)) as own:
        async with start_relay(own) as relay, relay.dialogue() as client:
            await client.say("MAIL FROM:<shop@acme.example> SMTPUTF8")
            await client.say("RCPT TO:<jörg@x.example>")
            await client.say("RCPT TO:<ann@x.example>")
            await client.say("DATA")
            client.send(MAIL + b".\r\n")
            assert (await client.reply()).startswith("250")
            (taken,) = await own.arrived(1)
            (failed,) = await told(relay.folder, "email.send_failed")
    assert taken.recipients == ("ann@x.example",)
    assert (failed["cause"], failed["recipients"]) == ("smtputf8_unsupported", ["jörg@x.example"])


async def test_a_connection_closed_by_an_idle_server_is_no_failure(start_relay: Any) -> None:
    async with Upstream() as own, start_relay(own) as relay, relay.dialogue() as client:
        assert (await client.mail(MAIL)).startswith("250")
        await own.arrived(1)
        own.script["mail"] = ["421 4.4.2 idle for too long", DROP]
        assert (await client.mail(MAIL)).startswith("250")
        await own.arrived(2)
        assert not [e for e in trail(relay.folder) if e["event"] == "email.deferred"][1:]
