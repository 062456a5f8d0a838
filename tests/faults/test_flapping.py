"""An upstream that comes and goes, with schedules five hundred times shorter than the defaults: the
hour of a provider's bad day in five seconds. The dispatcher asks the system for the time, so that
its schedules are shortened and not its clock."""

import time
from collections import Counter
from pathlib import Path

from crash.load import until
from faults.premises import relay
from support.configs import upstream_entry
from support.lives import queue_id_of
from support.mail import send
from support.upstream import DROP, SILENCE, ThreadedUpstream

_RETRY = {"first": "60ms", "factor": 2, "longest": "7200ms", "give_up_after": "6m"}
# How it fails, in turn; between them it is well.
_TROUBLES = [
    {"banner": "421 4.3.2 overloaded"},
    {"banner": DROP},
    {"mail": "451 4.7.1 later"},
    {"dot": DROP},
    {"rcpt": "421 4.3.2 going down"},
    {"banner": SILENCE},
]
_PERIOD_S = 0.4


def test_an_hour_of_flapping_costs_nothing_but_time(tmp_path: Path) -> None:
    with ThreadedUpstream() as flapping, ThreadedUpstream() as steady:
        entries = {"flapping": upstream_entry(flapping), "steady": upstream_entry(steady)}
        tenants = {"acme": {"domains": ["acme.example"], "upstream": "flapping"}}
        with relay(
            tmp_path,
            entries,
            default={"upstream": "steady"},
            tenants=tenants,
            retry=_RETRY,
            timeouts={"connect": "300ms"},
        ) as program:
            program.start()
            count = slowest = 0
            for trouble in _TROUBLES:
                for script in (trouble, {}):
                    flapping.script.clear()
                    flapping.script.update(script)
                    ends = time.monotonic() + _PERIOD_S
                    while time.monotonic() < ends:
                        send(program.port, "a@acme.example", "b@recipient.example")
                        began = time.monotonic()
                        send(program.port, "a@other.example", "b@recipient.example")
                        count += 1
                        steady.wait_for(count)
                        slowest = max(slowest, time.monotonic() - began)
                        time.sleep(0.02)
            until(lambda: len(program.events("email.sent")) == 2 * count)
            assert slowest < 1.5, "another upstream's mail waited"
            assert flapping.connections < count / 2 + 60, "a storm of connections"
            arrived = Counter(queue_id_of(t.header) for t in flapping.transactions)
            assert (len(arrived), set(arrived.values())) == (count, {1})
            told = [e["event"] for e in program.events() if e["event"].startswith("upstream.")]
            assert told == ["upstream.paused", "upstream.resumed"] * (len(told) // 2)
            assert not program.events("email.dead_lettered")
            assert program.stop() == 0
