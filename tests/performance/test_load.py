"""bench/load.py, against the installed relay."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.configs import relay_config, upstream_entry
from support.ports import free_port
from support.program import Program
from support.upstream import ThreadedUpstream

_LOAD = Path(__file__).parents[2] / "bench/load.py"


def load(port: int | str, *options: str, domain: str = "acme.example") -> tuple[int, str, str]:
    """The status, and what it said."""
    envelope = ["--domain", domain, "--to", "nobody@recipient.example"]
    run = subprocess.run(
        [sys.executable, str(_LOAD), str(port), *envelope, *options],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stdout, run.stderr


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedUpstream]:
    with ThreadedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def relay(
    upstream: ThreadedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    folder, port = tmp_path_factory.mktemp("load"), free_port()
    tenants = {"acme": {"domains": ["acme.example"], "upstream": "up"}}
    config = relay_config(folder, port, {"up": upstream_entry(upstream)}, tenants)
    with Program(folder, config, port) as relay:
        yield relay


def test_all_that_was_accepted_arrives(relay: Program, upstream: ThreadedUpstream) -> None:
    before = len(upstream.transactions)
    options = ("--rate", "40", "--seconds", "1", "--sessions", "5", "--size", "2000", "--json")
    status, said, _ = load(relay.port, *options)
    found = json.loads(said)
    assert status == 0
    assert found["accepted"] == 40
    assert found["refused"] == {}
    assert found["seconds"] >= 0.9
    assert found["whole_ms"]["p50"] <= found["whole_ms"]["p99"] <= found["whole_ms"]["worst"]
    assert found["dot_ms"]["p50"] <= found["whole_ms"]["p50"]
    taken = upstream.wait_for(before + 40)[before:]
    assert {t.reverse_path for t in taken} == {"load@acme.example"}
    assert {t.recipients for t in taken} == {("nobody@recipient.example",)}
    assert 1900 <= len(taken[0].wire) <= 2600


def test_sessions_are_kept_where_that_is_asked_for(relay: Program) -> None:
    status, said, _ = load(
        f"127.0.0.1:{relay.port}", "--seconds", "0.5", "--keep", "--sessions", "2"
    )
    assert status == 0
    assert " accepted in 0." in said
    assert "p95" in said
    assert "final dot to 250" in said
    assert "\n0 refused\n" in said


def test_refusals_are_counted_by_reply(relay: Program) -> None:
    options = ("--seconds", "0.3", "--sessions", "1", "--rate", "20")
    status, said, _ = load(relay.port, *options, domain="stranger.example")
    assert status == 1
    assert said.startswith("0 accepted in ")
    assert ": 550 5.7.1 no tenant sends as load@stranger.example" in said


def test_nobody_there_is_said(relay: Program) -> None:
    status, said, _ = load(free_port(), "--seconds", "0.2", "--sessions", "1")
    assert status == 1
    assert "Connect call failed" in said


def test_elsewhere_is_asked_for(relay: Program) -> None:
    """192.0.2.1 is nobody's: nothing is sent there."""
    status, _, complaint = load("192.0.2.1:25", "--seconds", "0.1")
    assert status == 1
    assert "192.0.2.1 is not loopback; --elsewhere" in complaint


@pytest.mark.parametrize("option", [("--sessions", "1001"), ("--rate", "0"), ("--seconds", "3601")])
def test_bounds(relay: Program, option: tuple[str, str]) -> None:
    status, _, complaint = load(relay.port, *option)
    assert status == 2
    assert "lies between 0 and" in complaint


def test_a_port_that_is_none(relay: Program) -> None:
    status, _, complaint = load("localhost:smtp")
    assert status != 0
    assert "Traceback" not in complaint
