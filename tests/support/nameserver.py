"""NSD, an authoritative DNS server, as a plain process on loopback; and one that never answers."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.need import need
from support.ports import free_port

_SERVER = """\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    server-count: 1
    database: ""
    zonesdir: "{folder}"
    pidfile: ""
    logfile: "{folder}/nsd.log"
    xfrdfile: ""
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""
_ZONE = """\
zone:
    name: "{name}"
    zonefile: "{number}.zone"
"""
_HEAD = """\
$ORIGIN {name}
$TTL 60
@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60
@ NS ns.test.
"""


@contextlib.contextmanager
def nameserver(folder: Path, zones: Mapping[str, str | None]) -> Iterator[str]:
    """Serves zones by their names ("." is one), from what stands in them but SOA and NS; a zone
    without a text is SERVFAIL. Yields address:port."""
    program = need("nsd")
    port = free_port()
    lines = [_SERVER.format(port=port, folder=folder)]
    for number, (name, text) in enumerate(zones.items()):
        lines.append(_ZONE.format(name=name, number=number))
        if text is not None:
            (folder / f"{number}.zone").write_text(_HEAD.format(name=name) + text)
    (folder / "nsd.conf").write_text("".join(lines))
    process = subprocess.Popen(
        [program, "-d", "-c", folder / "nsd.conf"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(process, port, folder / "nsd.log")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def silence() -> Iterator[str]:
    """A port that takes every question and answers none. Yields address:port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{mute.getsockname()[1]}"


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            if mistakes := [line for line in log.read_text().splitlines() if ".zone:" in line]:
                raise ValueError("\n".join(mistakes))
            return
        except OSError:
            said = log.read_text() if log.exists() else ""
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nsd does not answer:\n{said}") from None
            time.sleep(0.02)
