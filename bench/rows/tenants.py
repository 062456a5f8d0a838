"""Ten thousand tenants and a hundred upstreams, beside one of each: loading, routing, the rate.

Twenty senders at once, with the many each of another tenant and of another upstream entry. Postfix
has no such row: it has tables of senders, and nothing that a tenant is beyond that.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from contestants import Contestant, Setting
from figures import (
    CPU,
    IDLE,
    MIB,
    PEAK,
    Effort,
    Failed,
    Figures,
    Measure,
    Round,
    Row,
    at_least,
    at_most,
)  # fmt: skip
from processes import MemoryWatch, cpu_s, memory_bytes
from sending import TIMEOUT_S, Load, send_as
from upstream import Upstream

_LOAD = Measure("load s", 2)
_START = Measure("start s", 2)
_ROUTE = Measure("route us, each in turn", 2)
_KNOWN = Measure("route us, one again", 2)
_ONE = Measure("messages/s, one")
_MANY = Measure("messages/s, many")
_KEPT = Measure("many / one", 2)
_SENDERS = 20
_UPSTREAMS = 100


def _tenants(around: Round) -> Figures:
    many = Setting(around.effort.tenants, min(_UPSTREAMS, around.effort.tenants))
    one = Setting()
    upstream = around.upstream()
    with upstream.running():
        rate_of_one = _run(around.contestant(upstream, one), upstream, one, around.effort).rate
        contestant = around.contestant(upstream, many)
        run = _run(contestant, upstream, many, around.effort)
    found = _routing(contestant.folder / "config.yaml")
    return {
        _LOAD: found["load_s"],
        _START: run.start_s,
        _ROUTE: found["route_us"],
        _KNOWN: found["known_us"],
        _ONE: rate_of_one,
        _MANY: run.rate,
        _KEPT: run.rate / rate_of_one,
        CPU: run.cpu_ms,
        IDLE: run.idle_bytes / MIB,
        PEAK: run.peak_bytes / MIB,
    }


@dataclass(frozen=True)
class _Run:
    start_s: float
    rate: float
    cpu_ms: float
    idle_bytes: int
    peak_bytes: int


def _run(contestant: Contestant, upstream: Upstream, setting: Setting, effort: Effort) -> _Run:
    senders = [f"app@t{number % setting.tenants}.example" for number in range(_SENDERS)]
    each = Load(max(1, effort.messages // _SENDERS), sessions=1, kept=True)
    messages = each.messages * _SENDERS
    began = time.monotonic()
    with contestant.running():
        start_s, idle = time.monotonic() - began, memory_bytes(contestant.pid)
        _handed_over(senders, Load(5, sessions=1, kept=True), contestant.port, upstream)
        with MemoryWatch(contestant.pid) as watch:
            used_s = cpu_s(contestant.pid)
            took_s = _handed_over(senders, each, contestant.port, upstream)
            used_s = cpu_s(contestant.pid) - used_s
    return _Run(start_s, messages / took_s, used_s / messages * 1000, idle, watch.peak)


def _handed_over(senders: list[str], load: Load, port: int, upstream: Upstream) -> float:
    expected, started = upstream.count() + load.messages * len(senders), time.monotonic()
    send_as(senders, load, port)
    upstream.wait_for(expected, TIMEOUT_S)
    took_s = time.monotonic() - started
    if upstream.count() != expected:
        raise Failed(f"{upstream.count() - expected} messages have arrived too many")
    return took_s


def _routing(config: Path) -> dict[str, float]:
    """In a process of its own, so that nothing is loaded before."""
    script = str(Path(__file__).parents[1] / "routing.py")
    command = [sys.executable, script, str(config)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    found: dict[str, float] = json.loads(said.stdout)
    return found


ROW = Row(
    "tenants",
    "10,000 tenants and 100 upstreams, beside one; 20 senders, sessions kept",
    ("relay",),
    _tenants,
    (at_most(_LOAD, 3), at_most(_ROUTE, 3), at_least(_KEPT, 0.95)),
)
