"""What a running relay tells at /metrics and /api/v1/status, scraped and parsed as Prometheus
would."""

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from flow.conftest import RunningRelay, StartRelay
from support.certificates import Certificates
from support.configs import upstream_entry
from support.flows import accepted, administration, told
from support.monitor import Monitor, monitoring
from support.ports import free_port
from support.upstream import ThreadedUpstream

from relay.model.toggle import Toggle

# DESIGN's list: dashboards and alerts of others go by these names.
FAMILIES = {
    "relay_messages_accepted": (),
    "relay_recipients": ("tenant", "upstream", "route", "result"),
    "relay_failures": ("cause", "scope"),
    "relay_queue_messages": ("state",),
    "relay_queue_oldest_seconds": (),
    "relay_send_seconds": (),
    "relay_accept_seconds": (),
    "relay_upstream_up": ("upstream",),
    "relay_upstream_connections": ("upstream",),
    "relay_tenant_enabled": ("tenant",),
    "relay_certificate_expiry_seconds": ("listener", "upstream"),
    "relay_audit_lines_dropped": (),
    "relay_build_info": ("version", "python"),
}
YEAR_S = 365 * 86400


@pytest.fixture
def upstream():
    with ThreadedUpstream() as server:
        yield server


@asynccontextmanager
async def watched(
    start_relay: StartRelay, upstream: ThreadedUpstream, **more: Any
) -> AsyncIterator[tuple[RunningRelay, Monitor]]:
    port = free_port()
    http = {"listen": f"127.0.0.1:{port}"}
    async with start_relay(upstream, http=http, **more) as relay, monitoring(port) as monitor:
        yield relay, monitor


async def reload(relay: RunningRelay, **sections: Any) -> None:
    file = relay.folder / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | sections))
    os.kill(os.getpid(), signal.SIGHUP)
    await told(relay.folder, "config.reloaded")


async def test_every_metric_is_there_from_the_start(start_relay: StartRelay, upstream) -> None:
    async with watched(start_relay, upstream) as (_, monitor):
        page = await monitor.scrape()
    assert set(page.families) == set(FAMILIES)
    assert all(family.documentation for family in page.families.values())
    assert page.value("relay_messages_accepted_total") == 0
    assert page.value("relay_queue_oldest_seconds") == 0
    assert page.value("relay_queue_messages", state="waiting") == 0
    assert page.value("relay_upstream_up", upstream="up") == 1
    assert page.value("relay_upstream_connections", upstream="up") == 0
    assert page.value("relay_tenant_enabled", tenant="acme") == 1
    assert page.value("relay_audit_lines_dropped_total") == 0
    [build] = page.labels("relay_build_info")
    assert build["version"]


async def test_mail_that_is_relayed(start_relay: StartRelay, upstream) -> None:
    async with watched(start_relay, upstream) as (relay, monitor):
        async with relay.dialogue() as client:
            await accepted(client, "a@x.example", "b@x.example")
        await told(relay.folder, "email.sent")
        way = {"tenant": "acme", "upstream": "up", "route": "tenant", "result": "relayed"}
        page = await monitor.scrape_until(lambda page: page.value("relay_recipients_total", **way))
        assert page.value("relay_recipients_total", **way) == 2
        assert page.value("relay_messages_accepted_total") == 1
        assert page.value("relay_accept_seconds_count") == 1
        assert 0 < (page.value("relay_accept_seconds_sum") or 0) < 10
        assert page.value("relay_send_seconds_count") == 2
        assert page.value("relay_send_seconds_bucket", le="+Inf") == 2
        assert page.value("relay_upstream_connections", upstream="up") == 1
        for name, labels in FAMILIES.items():
            for sample in page.families[name].samples:
                assert set(sample.labels) - {"le"} == set(labels)


async def test_mail_that_waits_for_an_upstream_that_is_down(
    start_relay: StartRelay, upstream
) -> None:
    upstream.down()
    async with watched(start_relay, upstream) as (relay, monitor):
        async with relay.dialogue() as client:
            await accepted(client)
        page = await monitor.scrape_until(
            lambda page: (
                page.value("relay_upstream_up", upstream="up") == 0
                and page.value("relay_queue_messages", state="waiting") == 1
            )
        )
        cause = {"cause": "connection_refused", "scope": "upstream"}
        assert (page.value("relay_failures_total", **cause) or 0) >= 1
        first = page.value("relay_queue_oldest_seconds") or 0
        assert first > 0
        await monitor.scrape_until(
            lambda page: (page.value("relay_queue_oldest_seconds") or 0) > first + 0.2
        )


async def test_dead_letters_and_what_is_deferred_are_counted(
    start_relay: StartRelay, upstream
) -> None:
    upstream.script = {"rcpt": "550 5.1.1 no such user"}
    async with watched(start_relay, upstream) as (relay, monitor):
        async with relay.dialogue() as client:
            await accepted(client)
        page = await monitor.scrape_until(
            lambda page: page.value("relay_queue_messages", state="dead") == 1
        )
        way = {"tenant": "acme", "upstream": "up", "route": "tenant", "result": "failed"}
        assert page.value("relay_recipients_total", **way) == 1
        cause = {"cause": "recipient_refused", "scope": "recipient"}
        assert page.value("relay_failures_total", **cause) == 1
        assert page.value("relay_send_seconds_count") == 0


async def test_a_tenant_that_is_toggled_off(start_relay: StartRelay, upstream) -> None:
    default = {"upstream": "up"}
    async with watched(start_relay, upstream, default=default) as (relay, monitor):
        with administration(relay.folder) as store:
            store.set_toggle(Toggle("acme", False, "test", "test", time.time()))
        page = await monitor.scrape_until(
            lambda page: page.value("relay_tenant_enabled", tenant="acme") == 0
        )
        assert page.value("relay_upstream_up", upstream="up") == 1


async def test_an_upstream_that_is_paused_by_hand(start_relay: StartRelay, upstream) -> None:
    async with watched(start_relay, upstream) as (relay, monitor):
        with administration(relay.folder) as store:
            store.pause_upstream("up", "test", "maintenance", None)
        await monitor.scrape_until(lambda page: page.value("relay_upstream_up", upstream="up") == 0)
        with administration(relay.folder) as store:
            store.resume_upstream("up", "test", "done")
        await monitor.scrape_until(lambda page: page.value("relay_upstream_up", upstream="up") == 1)


async def test_a_tenant_that_a_reload_adds_or_removes(start_relay: StartRelay, upstream) -> None:
    async with watched(start_relay, upstream) as (relay, monitor):
        async with relay.dialogue() as client:
            await accepted(client)
            await told(relay.folder, "email.sent")
            globex = {"globex": {"domains": ["globex.example"], "upstream": "up"}}
            await reload(relay, tenants=globex)
            await accepted(client, sender="shop@globex.example")
        way = {"tenant": "globex", "upstream": "up", "route": "tenant", "result": "relayed"}
        page = await monitor.scrape_until(lambda page: page.value("relay_recipients_total", **way))
        assert page.labels("relay_tenant_enabled") == [{"tenant": "globex"}]
        assert [labels["tenant"] for labels in page.labels("relay_recipients_total")] == ["globex"]
        assert page.value("relay_messages_accepted_total") == 2


async def test_mail_of_no_tenant_is_nobodys(start_relay: StartRelay, upstream) -> None:
    async with watched(start_relay, upstream, default={"upstream": "up"}) as (relay, monitor):
        async with relay.dialogue() as client:
            for n in range(3):
                await accepted(client, sender=f"app@unknown-{n}.example")
        way = {"tenant": "", "upstream": "up", "route": "default", "result": "relayed"}
        await monitor.scrape_until(lambda page: page.value("relay_recipients_total", **way) == 3)


async def test_certificates_of_listeners_and_upstreams(
    start_relay: StartRelay, certificates: Certificates, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificates.write_leaf(cert, key)
    listener = {"tls": "starttls", "cert_file": str(cert), "key_file": str(key)}
    with ThreadedUpstream(certificates.good(), tls="implicit") as upstream:
        upstreams = {"up": upstream_entry(upstream, certificates.ca_file)}
        async with watched(start_relay, upstream, upstreams=upstreams, listener=listener) as (
            relay,
            monitor,
        ):
            name = "relay_certificate_expiry_seconds"
            shown = {"listener": f"127.0.0.1:{relay.port}", "upstream": ""}
            page = await monitor.scrape()
            assert page.labels(name) == [shown]
            assert (page.value(name, **shown) or 0) > 0
            async with relay.dialogue() as client:
                await accepted(client)
            page = await monitor.scrape_until(
                lambda page: page.value(name, listener="", upstream="up")
            )
            assert (page.value(name, listener="", upstream="up") or 0) > YEAR_S / 12


async def test_the_relays_own_mail_is_no_applications(start_relay: StartRelay, upstream) -> None:
    """An alert is mailed, and sent."""
    upstream.script = {"rcpt": "550 5.1.1 no such user"}
    more = {
        "alerts": {"email": "ops@x.example", "gather": "0s", "upstream": "alerting"},
        "upstreams": {
            "up": upstream_entry(upstream),
        },
    }
    with ThreadedUpstream() as alerting:
        more["upstreams"]["alerting"] = upstream_entry(alerting)
        async with watched(start_relay, upstream, **more) as (relay, monitor):
            async with relay.dialogue() as client:
                await accepted(client)
            await told(relay.folder, "email.sent", kind="alert")
            page = await monitor.scrape_until(
                lambda page: page.value("relay_queue_messages", state="dead") == 1
            )
            assert [label["upstream"] for label in page.labels("relay_recipients_total")] == ["up"]
            assert page.value("relay_send_seconds_count") == 0
