"""How long an application waits for its 250, while mail is relayed at half of the most there is.

The most is what the contestant itself has just done end to end; the faster one is asked for more.
So each is measured at a rate that all can do, too. Sent by bench/load.py, one message a session,
due at a steady rate whatever becomes of those before.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from contestants import Contestant
from figures import CPU, MIB, PEAK, Failed, Figures, Measure, Round, Row, at_most_times
from processes import MemoryWatch, cpu_s
from sending import TIMEOUT_S, Load, send
from upstream import Upstream

from rows.throughput import warm_up

_AT = Measure("half, messages/s", 0)
_P50 = Measure("p50 ms", 2)
_P99 = Measure("p99 ms", 2)
_P99_DOT = Measure("p99 ms behind the dot", 2)
_COMMON_RATE = 150
_P99_COMMON = Measure(f"p99 ms at {_COMMON_RATE}/s", 2)


def _latency(around: Round) -> Figures:
    upstream = around.upstream()
    contestant = around.contestant(upstream)
    load = Load(around.effort.messages)
    with upstream.running(), contestant.running():
        warm_up(contestant, upstream, load)
        half = _most(contestant, upstream, load) / 2
        at_half = _steadily(contestant, upstream, half, around.effort.seconds)
        with MemoryWatch(contestant.pid) as watch:
            used_s = cpu_s(contestant.pid)
            common = _steadily(contestant, upstream, _COMMON_RATE, around.effort.seconds)
            used_s = cpu_s(contestant.pid) - used_s
    return {
        _AT: half,
        _P50: at_half["whole_ms"]["p50"],
        _P99: at_half["whole_ms"]["p99"],
        _P99_DOT: at_half["dot_ms"]["p99"],
        _P99_COMMON: common["whole_ms"]["p99"],
        CPU: used_s / common["accepted"] * 1000,
        PEAK: watch.peak / MIB,
    }


def _most(contestant: Contestant, upstream: Upstream, load: Load) -> float:
    """Messages a second, end to end."""
    before, started = upstream.count(), time.monotonic()
    send(load, contestant.port)
    upstream.wait_for(before + load.messages, TIMEOUT_S)
    return load.messages / (time.monotonic() - started)


def _steadily(
    contestant: Contestant, upstream: Upstream, rate: float, seconds: float
) -> dict[str, Any]:
    before = upstream.count()
    script = str(Path(__file__).parents[1] / "load.py")
    envelope = ["--domain", "t0.example", "--to", "someone@recipient.example"]
    amount = ["--rate", str(rate), "--seconds", str(seconds), "--sessions", "100", "--json"]
    command = [sys.executable, script, str(contestant.port), *envelope, *amount]
    said = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if said.returncode:
        raise Failed((said.stdout or said.stderr)[-300:])
    found: dict[str, Any] = json.loads(said.stdout)
    upstream.wait_for(before + found["accepted"], TIMEOUT_S)
    return found


ROW = Row(
    "latency",
    "accepting while relaying at half of the most, one message a session",
    ("postfix-20", "relay"),
    _latency,
    (at_most_times(_P99, 0.25), at_most_times(_P99_COMMON, 0.25)),
)
