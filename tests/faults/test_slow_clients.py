"""Clients by the hundred that connect and say nothing, or an octet now and then, at every point of
the dialogue: whoever has mail is served all the same, and the trail says that some were not."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.premises import Victim
from faults.premises import cpu_s, relay
from support.certificates import Certificates
from support.configs import upstream_entry
from support.mail import send
from support.ports import free_port
from support.upstream import ThreadedUpstream

_SENDER, _RECIPIENT = "a@acme.example", "b@recipient.example"
_SESSIONS = 40
_DATA = ("MAIL FROM:<a@acme.example>", "RCPT TO:<b@recipient.example>", "DATA")
# What they say, line by line; from then on an octet now and then.
_COMMAND = ("EHLO slow",)
_CONTENT = ("EHLO slow", *_DATA, "Subject: slow\r\n\r\nbegun")
_KINDS = {
    "outside a transaction": [_COMMAND, ("EHLO slow", "STARTTLS")],
    # Behind MAIL, in a header section, in a content.
    "within one": [("EHLO slow", _DATA[0]), ("EHLO slow", *_DATA), _CONTENT],
}


@dataclass(frozen=True)
class _Here:
    program: Victim
    starttls: int
    implicit: int

    @property
    def port(self) -> int:
        return self.program.port


@pytest.fixture(scope="module")
def here(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Here]:
    folder = tmp_path_factory.mktemp("slow")
    files = {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}
    certificates.write_leaf(folder / "cert.pem", folder / "key.pem")
    ports = {tls: free_port() for tls in ("starttls", "implicit")}
    places = [{"address": f"127.0.0.1:{ports[tls]}", "tls": tls} | files for tls in ports]
    with ThreadedUpstream() as upstream:
        with relay(
            folder,
            {"up": upstream_entry(upstream)},
            places=places,
            limits={"sessions": _SESSIONS, "memory": "1MiB"},
        ) as program:
            program.start()
            yield _Here(program, **ports)


@contextlib.asynccontextmanager
async def _crowd(here: _Here, kinds: list[tuple[str, ...]]) -> AsyncIterator[None]:
    """Of each kind half as many as there are sessions."""
    clients = [
        asyncio.create_task(_dawdle(here.starttls if lines[-1] == "STARTTLS" else here.port, lines))
        for lines in kinds
        for _ in range(_SESSIONS // 2)
    ]
    try:
        yield
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _dawdle(port: int, lines: tuple[str, ...]) -> None:
    """Whoever is sent away comes back."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await _dawdle_once(reader, writer, lines)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.2)


async def _dawdle_once(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: tuple[str, ...]
) -> None:
    await reader.readuntil(b"\r\n")
    for line in lines:
        writer.write(line.encode() + b"\r\n")
        while not line.startswith("Subject") and (await reader.readuntil(b"\n"))[3:4] == b"-":
            pass
    while not reader.at_eof():
        writer.write(b"x")
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await reader.read(100)


@pytest.mark.parametrize("where", _KINDS)
async def test_mail_is_taken_beside_a_crowd_that_dawdles(here: _Here, where: str) -> None:
    """Each holds a session, and there are as many of them as sessions, or more. (Those within a
    transaction kept theirs for as long as they sent an octet every five minutes.)"""
    async with _crowd(here, _KINDS[where]):
        await asyncio.sleep(1)
        began, taken = time.monotonic(), 0
        while taken < 2:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(send, here.port, _SENDER, _RECIPIENT)
                taken += 1
            assert time.monotonic() - began < 25, f"{taken} of 2 taken"
            await asyncio.sleep(0.05)


async def test_mail_is_taken_while_hundreds_of_tls_handshakes_hang(here: _Here) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(300):
            connected = socket.create_connection(("127.0.0.1", here.implicit))
            stack.callback(connected.close)
        before = cpu_s(here.program.pid)
        await asyncio.to_thread(send, here.port, _SENDER, _RECIPIENT)
        await asyncio.sleep(0.5)
        assert cpu_s(here.program.pid) - before < 0.4


def test_the_trail_says_that_some_were_sent_away(here: _Here) -> None:
    assert here.program.stop() == 0
    refused = here.program.events("client.refused")
    assert {event["reply"]["code"] for event in refused} == {421}


@pytest.mark.parametrize("lines", [_COMMAND, _CONTENT])
def test_an_octet_now_and_then_does_not_keep_a_session(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    """It is as good as nothing, or a session were held for years by what one mail may have."""
    with ThreadedUpstream() as upstream:
        with relay(
            tmp_path, {"up": upstream_entry(upstream)}, timeouts={"session_idle": "1s"}
        ) as program:
            program.start()
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", program.port), 5) as client:
                client.sendall("\r\n".join([*lines, ""]).encode())
                client.settimeout(0.25)
                with contextlib.suppress(ConnectionError):
                    while True:
                        with contextlib.suppress(TimeoutError):
                            if not client.recv(4096):
                                break
                        client.sendall(b"x")
                        assert time.monotonic() - began < 8
