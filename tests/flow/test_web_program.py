"""The HTTP side of the installed relay: what it weighs, and that it says what the verbs say."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.configs import relay_config, upstream_entry
from support.mail import send
from support.monitor import Scraped
from support.need import need
from support.ports import free_port
from support.program import RELAY, Program
from support.upstream import ThreadedUpstream


@pytest.fixture
def upstream() -> Iterator[ThreadedUpstream]:
    with ThreadedUpstream() as server:
        yield server


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


def config(folder: Path, upstream: ThreadedUpstream, port: int, **more: Any) -> str:
    tenants = {
        "acme": {
            "domains": ["acme.example"],
            "upstream": "up",
            "pilot": {"upstream": "other", "percent": 10},
        },
        "globex": {"domains": ["globex.example"], "upstream": "other"},
        "off": {"domains": ["off.example"], "upstream": "up", "enabled": False},
    }
    upstreams = {"up": upstream_entry(upstream), "other": upstream_entry(upstream)}
    default = {"upstream": "up"}
    return relay_config(folder, port, upstreams, tenants, default, **more)


def loaded_libraries(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_who_does_not_ask_for_it_does_not_carry_it(upstream, tmp_path: Path) -> None:
    port, web = free_port(), free_port()
    with Program(tmp_path, config(tmp_path, upstream, port), port) as relay:
        send(port, "app@acme.example", "joe@x.example")
        relay.wait_for_event("email.sent")
        assert "aiohttp" not in loaded_libraries(relay.pid)
        with pytest.raises(urllib.error.URLError, match="refused"):
            get(web, "/healthz")
    with Program(
        tmp_path, config(tmp_path, upstream, port, http={"listen": f"127.0.0.1:{web}"}), port
    ) as relay:
        assert "aiohttp" in loaded_libraries(relay.pid)


def test_the_status_says_what_the_verb_says(upstream, tmp_path: Path) -> None:
    port, web = free_port(), free_port()
    http = {"listen": f"127.0.0.1:{web}"}
    with Program(tmp_path, config(tmp_path, upstream, port, http=http), port) as relay:
        for tenant in ("acme", "globex", "off", "nobody"):
            send(port, f"app@{tenant}.example", "joe@x.example")
        relay.wait_for_event("email.sent", 4)
        relay.verb("upstream", "pause", "other", "--reason", "test", check=True)
        relay.verb("tenant", "disable", "globex", "--reason", "test", check=True)
        told: dict[str, list[dict[str, Any]]] = {}
        for row in relay.listing("status"):
            told.setdefault(row.pop("about"), []).append(row)
        status = json.loads(get(web, "/api/v1/status"))
    told["queue"][0].pop("at")
    status["queue"].pop("at")
    assert status == {
        "queue": told["queue"][0],
        "pauses": told["pause"],
        "toggles": told["toggle"],
        "total": told["total"][0],
        "tenants": told["tenant"],
        "upstreams": told["upstream"],
        "pilots": told["pilot"],
    }
    assert len(told["tenant"]) == 4


def test_a_reader_that_went_away_costs_audit_lines_which_are_counted(
    upstream, tmp_path: Path
) -> None:
    port, web = free_port(), free_port()
    file = tmp_path / "config.yaml"
    file.write_text(config(tmp_path, upstream, port, http={"listen": f"127.0.0.1:{web}"}))
    command = [str(RELAY), "--config", str(file), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as serving:
        try:
            assert serving.stdout is not None
            while b'"relay.started"' not in serving.stdout.readline():
                pass
            serving.stdout.close()
            send(port, "app@acme.example", "joe@x.example")
            deadline = time.monotonic() + 20
            page = Scraped(get(web, "/metrics"))
            while not page.value("relay_audit_lines_dropped_total"):
                assert time.monotonic() < deadline, "no line is counted as lost"
                time.sleep(0.05)
                page = Scraped(get(web, "/metrics"))
            assert page.value("relay_messages_accepted_total") == 1
        finally:
            serving.terminate()
            with suppress(subprocess.TimeoutExpired):
                serving.wait(20)
            serving.kill()


def test_prometheus_finds_no_fault_with_the_page(upstream, tmp_path: Path) -> None:
    promtool, port, web = need("promtool"), free_port(), free_port()
    http = {"listen": f"127.0.0.1:{web}"}
    with Program(tmp_path, config(tmp_path, upstream, port, http=http), port) as relay:
        send(port, "app@acme.example", "joe@x.example")
        relay.wait_for_event("email.sent")
        page = get(web, "/metrics")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_nobody_is_told_the_token(upstream, tmp_path: Path) -> None:
    port, web = free_port(), free_port()
    http = {"listen": f"127.0.0.1:{web}", "token": "s3cret-token"}
    with Program(tmp_path, config(tmp_path, upstream, port, http=http), port) as relay:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(web, "/metrics")
        verbs = [relay.verb("config", "show"), relay.verb("check")]
        shown = [text for done in verbs for text in (done.stdout, done.stderr)]
        shown += relay.stdout_lines + relay.stderr_lines
    assert "http.token" in "".join(shown)
    assert "s3cret-token" not in "".join(shown)
