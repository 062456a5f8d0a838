"""Dialogues of odd devices, replayed over a socket in the packets in which they come, and what
arrives at the upstream.

The dialogues are data, in the folder of that name. A step is a ``packet`` to send, a ``reply`` to
read (its code, or the first digit), or a word: ``taken`` waits until the relay has read all that
was sent, ``half_close`` ends our side, ``hang_up`` both, ``reset`` cuts it, ``closed`` means that
the relay ends its side.
"""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import yaml
from support.certificates import Certificates
from support.configs import relay_config, upstream_entry
from support.mail import RECEIVED
from support.ports import free_port
from support.program import Program
from support.upstream import ThreadedUpstream, Transaction

DIALOGUES = sorted((Path(__file__).parent / "dialogues").glob("*.yaml"))


class Device:
    """A connection that sends every packet by itself; text is octets, one for each character."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies: BinaryIO = self._socket.makefile("rb")

    def step(self, step: str | dict[str, Any]) -> None:
        if isinstance(step, str):
            getattr(self, step)()
            return
        for what, said in step.items():
            getattr(self, what)(str(said))

    def packet(self, text: str) -> None:
        self._socket.sendall(text.encode("latin-1"))

    def reply(self, code: str) -> None:
        while (line := self._replies.readline())[3:4] == b"-":
            pass
        assert line.decode().startswith(code), line

    def taken(self) -> None:
        """By the relay's process: nothing is left in the queue of its socket."""
        ours, theirs = (
            f"0100007F:{port:04X}"
            for port in (self._socket.getsockname()[1], self._socket.getpeername()[1])
        )
        deadline = time.monotonic() + 30
        while f" {theirs} {ours} 01 00000000:00000000 " not in Path("/proc/net/tcp").read_text():
            assert time.monotonic() < deadline, "the relay does not read"
            time.sleep(0.002)

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        self._replies.close()
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def closed(self) -> None:
        assert self._replies.read() == b""


@pytest.fixture(scope="module")
def upstream(certificates: Certificates) -> Iterator[ThreadedUpstream]:
    users = {"acme": "acme's password"}
    with ThreadedUpstream(certificates.good(), tls="implicit", users=users) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def relay(
    upstream: ThreadedUpstream,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("devices")
    port = free_port()
    config = relay_config(
        folder,
        port,
        upstreams={"acme-mail": upstream_entry(upstream, certificates.ca_file)},
        tenants={"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}},
    )
    with Program(folder, config, port) as relay:
        yield relay


@pytest.mark.parametrize("file", DIALOGUES, ids=lambda file: file.stem)
def test_what_a_device_sends_arrives(relay: Program, upstream: ThreadedUpstream, file: Path):
    told = yaml.safe_load(file.read_text())
    before = len(upstream.transactions)
    device = Device(relay.port)
    for step in told["dialogue"]:
        device.step(step)
    device.hang_up()
    count = len(told["arrives"])
    arrived = upstream.wait_for(before + count)[before:]
    assert len(arrived) == count
    arrived = sorted(arrived, key=lambda transaction: transaction.reverse_path, reverse=True)
    for transaction, expected in zip(arrived, told["arrives"], strict=True):
        is_as_told(transaction, expected)


def is_as_told(transaction: Transaction, told: dict[str, Any]) -> None:
    assert transaction.reverse_path == told["reverse_path"]
    assert list(transaction.recipients) == told["recipients"]
    content = transaction.content
    received = RECEIVED.match(content)
    assert received, content[:300]
    header, _, body = content[received.end() :].partition(b"\r\n\r\n")
    assert body == told["body"].encode("latin-1")
    lines = header.decode("latin-1").split("\r\n")
    own = told["header"].split("\r\n")[:-1]
    assert lines[: len(own)] == own
    assert [line.partition(":")[0] for line in lines[len(own) :]] == told["added"]
