"""health: whether the running relay takes mail, asked by where its configuration says that it
answers, whatever else is wrong with that file by now.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config
from support.ports import free_port
from support.program import Program
from support.verbs import Relay, command_line

NOWHERE = {"up": {"host": "127.0.0.1", "port": 9, "tls": "none"}}
TOKEN = "a token's value"


def text(folder: Path, port: int, http: dict[str, Any] | None, **more: Any) -> str:
    shown = {"http": http} if http else {}
    return relay_config(folder, port, NOWHERE, default={"upstream": "up"}, **shown, **more)


@pytest.fixture
def health(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    verb = command_line(tmp_path / "config.yaml", capsys)
    return lambda *arguments: verb("health", *arguments)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Program]:
    port, http = free_port(), {"listen": f"127.0.0.1:{free_port()}"}
    with Program(tmp_path, text(tmp_path, port, http), port) as program:
        yield program


def test_a_relay_that_takes_mail(relay: Program, health: Relay) -> None:
    assert (health().status, health().out) == (0, "ready\n")
    assert (health("--alive").status, health("--alive").out) == (0, "alive\n")
    assert health("--json").rows == [{"ready": True, "reason": None}]


def test_a_relay_that_takes_none_is_alive(relay: Program, health: Relay, tmp_path: Path) -> None:
    relay.stop()
    file = relay.config_file
    file.write_text(file.read_text() + "queue: {min_free_disk: 900TiB}\n")
    relay.start()
    refused = health()
    assert (refused.status, refused.out) == (1, "")
    assert "not ready" in refused.err
    as_rows = health("--json")
    assert (as_rows.status, as_rows.rows[0]["ready"]) == (1, False)
    assert health("--alive").status == 0


def test_a_relay_that_is_paused_on_its_way_out_is_well(relay: Program, health: Relay) -> None:
    relay.verb("upstream", "pause", "up", "--reason", "test", check=True)
    assert health().status == 0


def test_no_relay(relay: Program, health: Relay) -> None:
    relay.stop()
    refused = health()
    assert refused.status == 1
    assert "no relay answers at 127.0.0.1:" in refused.err
    assert "refused" in refused.err


def test_a_mistake_elsewhere_is_none_of_its_business(relay: Program, health: Relay) -> None:
    """A liveness probe would else restart a relay that works into a file that does not."""
    file = relay.config_file
    file.write_text(file.read_text().replace("upstream: up", "upstream: upp"))
    assert relay.verb("check").returncode == 78
    assert health().status == 0


def test_a_file_that_is_no_yaml_leaves_the_variables(
    relay: Program, health: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = relay.config_file.read_text().partition("listen: 127.0.0.1:")[2].split()[0]
    relay.config_file.write_text("upstreams: [\n")
    assert health().status == 78
    monkeypatch.setenv("RELAY_IMAGE_HTTP__LISTEN", f"127.0.0.1:{listen}")
    assert health().status == 0


def test_a_unix_socket_and_a_token(tmp_path: Path, health: Relay) -> None:
    port = free_port()
    (tmp_path / "token").write_text(TOKEN)
    http = {"listen": f"unix:{tmp_path}/http.sock", "token": f"file:{tmp_path}/token"}
    with Program(tmp_path, text(tmp_path, port, http), port):
        assert health().status == 0
        (tmp_path / "token").write_text("another")
        refused = health()
        assert (refused.status, "does not take the token" in refused.err) == (1, True)
        (tmp_path / "token").unlink()
        assert "http.token: file:" in health().err


def test_a_relay_that_gives_no_answer(
    relay: Program, health: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.health._PATIENCE_S", 0.3)
    os.kill(relay.pid, signal.SIGSTOP)
    try:
        refused = health("--alive")
    finally:
        os.kill(relay.pid, signal.SIGCONT)
    assert refused.status == 1
    assert "timed out" in refused.err


def test_what_answers_is_something_else(tmp_path: Path, health: Relay) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        http = {"listen": f"127.0.0.1:{server.getsockname()[1]}"}
        (tmp_path / "config.yaml").write_text(text(tmp_path, free_port(), http))
        for answer in (
            b"HTTP/1.0 404 Not Found\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\nfine",
            b"HTTP/1.0 200 OK\r\n\r\n{}",
            b"220 x\r\n",
        ):
            thread = threading.Thread(target=_answer_one, args=(server, answer))
            thread.start()
            refused = health()
            thread.join()
            assert refused.status == 1
            assert len(refused.err.splitlines()) == 1


def _answer_one(server: socket.socket, answer: bytes) -> None:
    with server.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(answer)


def test_where_http_is_wrong_itself(tmp_path: Path, health: Relay) -> None:
    (tmp_path / "config.yaml").write_text(text(tmp_path, free_port(), {"listen": "8025"}))
    refused = health()
    assert refused.status == 1
    assert "http: " in refused.err
