"""A broken config.yaml: every problem at once, each with its place, and a status that systemd
takes for what it is."""

import subprocess
from pathlib import Path

import pytest
from support.program import RELAY

BROKEN = """\
hostnme: web01.example
listen: ["0.0.0.0:25"]
clients: {networks: [0.0.0.0/0]}
store: sqlite:///var/lib/relay/relay.db
upstreams:
  sendgrid: {host: smtp.sendgrid.example, tls: implicit}
  plain: {host: smtp.plain.example, tls: none}
  late: {host: smtp.late.example, tls: implicit, limits: {idle: soon}}
tenants:
  acme: {domains: [acme.example], upstream: sendgird}
  globex: {domains: [ACME.example], upstream: sendgrid}
  initech: {domains: [initech.example], upstream: sendgrid}
  initech: {domains: [initech.example], upstream: sendgrid}
"""
# Line by line: what must be named there.
PROBLEMS = {
    1: "hostname",
    2: "open relay",
    7: "none",
    8: "soon",
    10: 'did you mean "sendgrid"',
    11: "acme.example",
    13: "initech",
}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(BROKEN)
    return file


def run(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RELAY, "--config", file, *arguments], capture_output=True, text=True, timeout=30
    )


def test_serve_prints_every_problem_with_its_line_and_exits_78(broken: Path):
    done = run(broken, "serve")
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    for number, word in PROBLEMS.items():
        told = [line for line in lines if line.startswith(f"{broken}:{number}:")]
        assert any(word.lower() in line.lower() for line in told), (number, word, lines)


def test_check_says_the_same(broken: Path):
    done = run(broken, "check")
    assert done.returncode == 78
    assert f"{broken}:10:" in done.stdout + done.stderr


def test_yaml_that_cannot_be_read_is_a_problem_with_a_line(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("hostname: x\nlisten: [\n")
    done = run(file, "serve")
    assert done.returncode == 78
    assert f"{file}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_file(tmp_path: Path):
    done = run(tmp_path / "absent.yaml", "serve")
    assert done.returncode == 78
    assert "absent.yaml" in done.stderr
