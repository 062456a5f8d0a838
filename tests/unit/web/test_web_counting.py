"""What is counted from events: under names of the configuration, and no others."""

from typing import Any

from relay.config.schema import Config, Tenant, Upstream
from relay.model.events import Event
from relay.web.counters import Counters, Histogram


def config(*names: str) -> Config:
    return Config(
        hostname="relay.test",
        upstreams={name: Upstream(host="127.0.0.1", tls="none") for name in names},
        tenants={name: Tenant(domains=(f"{name}.example",)) for name in names},
    )


def sent(tenant: str | None, upstream: str, **more: Any) -> tuple[Event, bytes]:
    fields = {"upstream": upstream, "route": "tenant", "recipients": ["a"], "queued_ms": 40.0}
    return Event("email.sent", fields | more, tenant), b""


def failed(name: Any, tenant: str, **more: Any) -> tuple[Event, bytes]:
    fields = {"upstream": tenant, "route": "tenant", "recipients": ["a", "b"]}
    return Event(name, fields | {"cause": "x", "scope": "message"} | more, tenant), b""


def test_recipients_by_way_and_result() -> None:
    counters = Counters(config("acme"))
    counters.note([sent("acme", "acme"), sent("acme", "acme"), failed("email.deferred", "acme")])
    counters.note([failed("email.expired", "acme"), failed("email.suppressed", "acme")])
    assert counters.recipients() == {
        ("acme", "acme", "tenant", "relayed"): 2,
        ("acme", "acme", "tenant", "deferred"): 2,
        ("acme", "acme", "tenant", "expired"): 2,
        ("acme", "acme", "tenant", "suppressed"): 2,
    }
    assert counters.failures() == {("x", "message"): 3}


def test_unknown_names_are_nobodys_however_many_there_are() -> None:
    counters = Counters(config("acme"))
    counters.note([sent(f"gone-{n}", f"gone-{n}") for n in range(10_000)])
    assert counters.recipients() == {("", "", "tenant", "relayed"): 10_000}
    assert len(counters._known) < 5_000


def test_names_that_a_reload_removed_are_gone_and_new_ones_count() -> None:
    counters = Counters(config("acme", "globex"))
    counters.note([sent("acme", "acme"), sent("globex", "globex"), sent("initech", "acme")])
    counters.config_now = lambda: config("globex", "initech")
    counters.note([(Event("config.reloaded", {}), b""), sent("acme", "acme")])
    counters.note([sent("initech", "initech"), sent("globex", "globex")])
    assert counters.recipients() == {
        ("globex", "globex", "tenant", "relayed"): 2,
        ("", "", "tenant", "relayed"): 1,
        ("initech", "initech", "tenant", "relayed"): 1,
    }


def test_the_relays_own_mail_counts_as_no_recipient_but_its_failures_do() -> None:
    counters = Counters(config("acme"))
    counters.note([sent(None, "acme", kind="alert"), failed("email.deferred", "acme", kind="dsn")])
    assert counters.recipients() == {}
    assert counters.failures() == {("x", "message"): 1}
    assert sum(counters.send_s.counts) == 0


def test_a_histogram_counts_what_is_as_long_as_its_bound_below_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.note(seconds)
    histogram.note(-1.0)
    assert histogram.counts == [3, 2, 1]
    assert histogram.sum_s == 8.65
