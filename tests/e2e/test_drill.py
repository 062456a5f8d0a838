"""relay drill, as one types it: what it says, what it touches, and what it leaves behind."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.need import need
from support.ports import free_port
from support.program import RELAY, Program

# A drill of one tenant takes about 15 s; a machine that runs other tests beside it takes longer.
PATIENCE_S = 200
pytestmark = pytest.mark.timeout(PATIENCE_S + 40)

SCENES = [
    "upstream_down",
    "recovery",
    "credentials_revoked",
    "certificate_expired",
    "slow",
    "quota_reached",
    "toggled_off",
    "dead_letters",
]

# Nobody's real hosts: whoever looked one of these up would not find it, and the trace would show.
OPERATORS: dict[str, Any] = {
    "hostname": "relay.platform.example",
    "upstreams": {
        "acme-sendgrid": {"provider": "sendgrid", "password": "env:NOT_SET_ANYWHERE"},
        "acme-postmark": {
            "provider": "postmark",
            "username": "file:/nonexistent/postmark",
            "password": "file:/nonexistent/postmark",
        },
        "globex-mail": {
            "host": "mail.globex.invalid",
            "tls": "starttls",
            "username": "relay",
            "password": "credential:globex",
        },
        "platform": {
            "provider": "ses",
            "region": "eu-west-1",
            "username": "AKIAEXAMPLE",
            "password": "credential:platform",
        },
    },
    "default": {"upstream": "platform", "from": "Platform <noreply@platform.example>"},
    "tenants": {
        "acme": {
            "domains": ["acme.example"],
            "upstream": "acme-sendgrid",
            "owner": "Dana <dana@acme.example>",
            "recovery": "https://wiki.acme.example/mail",
            "failover": {"to": ["acme-postmark"], "after": "60s"},
        },
        "globex": {
            "domains": ["globex.example"],
            "upstream": "globex-mail",
            "owner": "Gil <gil@globex.example>",
        },
    },
    "alerts": {"webhook": "https://hooks.platform.invalid/relay", "gather": "5m"},
}


def write(folder: Path, config: Mapping[str, Any], **more: Any) -> Path:
    file = folder / "config.yaml"
    store = {"store": f"sqlite://{folder}/store/relay.db"}
    file.write_text(yaml.safe_dump({**config, **store, **more}))
    return file


def scratch(folder: Path) -> Path:
    """Where the drill has its temporary folders."""
    made = folder / "scratch"
    made.mkdir(exist_ok=True)
    return made


def environ(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(scratch(folder)), **more}


def drill(
    folder: Path, file: Path | None, *arguments: str, before: Sequence[str] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    config = ["--config", str(file)] if file else []
    return subprocess.run(
        [*before, str(RELAY), *config, "drill", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=folder,
        env=environ(folder, **more),
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {row["scene"]: row for row in map(json.loads, done.stdout.splitlines())}


def left_behind(folder: Path) -> list[str]:
    """Processes and files of a drill that had its temporary folder there."""
    found = [str(path) for path in scratch(folder).iterdir()]
    return found + [f"process {pid}" for pid in relays(folder)]


def relays(folder: Path) -> list[int]:
    """The processes that were started with a configuration there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(scratch(folder)) in command:
            found.append(int(process.name))
    return found


def test_nothing_real_is_touched_and_the_trail_has_it(tmp_path: Path):
    """By the system's own word: no address but loopback, no name looked up, no secret opened, and
    the store only when all is over."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    upstreams = OPERATORS["upstreams"] | {
        "acme-sendgrid": {"provider": "sendgrid", "password": f"file:{secret}"}
    }
    port = free_port()
    file = write(tmp_path, OPERATORS, upstreams=upstreams, listen=[f"127.0.0.1:{port}"])
    (tmp_path / "store").mkdir()
    with Program(tmp_path, file.read_text(), port):
        trace = tmp_path / "trace"
        strace = [need("strace"), "-f", "--seccomp-bpf", "-e", "connect,open,openat", "-o"]
        done = drill(tmp_path, file, "acme", "--json", before=[*strace, str(trace)])
    assert (done.returncode, done.stderr) == (0, "")
    assert list(rows(done)) == SCENES
    calls = trace.read_text().splitlines()
    connects = [call for call in calls if "sa_family=AF_INET" in call]
    assert connects
    assert [call for call in connects if '"127.0.0.1"' not in call] == []
    assert [call for call in calls if str(secret) in call] == []
    mine = [n for n, call in enumerate(calls) if f"{tmp_path}/store/relay.db" in call]
    theirs = [n for n, call in enumerate(calls) if "relay-drill-" in call]
    assert mine
    assert min(mine) > max(theirs)
    audit = subprocess.run(
        [str(RELAY), "--config", str(file), "audit", "--event", "drill.run", "--json"],
        capture_output=True,
        check=True,
    )
    [event] = map(json.loads, audit.stdout.splitlines())
    assert (event["tenant"], event["result"], event["failed"]) == ("acme", "passed", [])
    assert list(event["scenes"]) == SCENES
    assert event["actor"]
    assert left_behind(tmp_path) == []


def test_a_drill_of_two_tenants_as_a_person_reads_it(tmp_path: Path):
    file = write(tmp_path, OPERATORS)
    done = drill(tmp_path, file)
    assert done.returncode == 0
    assert "not on record: no store at" in done.stderr
    told = " ".join(done.stdout.split())
    for shown in (
        "Nothing real is touched",
        "whose clock runs 300 times as fast.",
        "mail waits for 1m, then takes the failover acme-postmark cause connection_refused remedy "
        "check the upstream's host",
        "told dana@acme.example (owner), the webhook, after about 5m (alerts.gather 5m)",
        "after about 10m (timeouts.reply 5m, then alerts.gather 5m)",
        "451 Authentication failed: Maximum credits exceeded",
        "leaves by the default platform as Platform <noreply@platform.example>",
        "mail waits: tried again after 30s, then at growing distances up to 1h, for 2d; then",
        "finding: globex has no recovery",
        "finding: globex has no failover",
        "acme dead letters dead letter after about 5m",
        " s, all of them as they should be; 2 findings, see above.",
    ):
        assert shown in told, shown
    assert not (tmp_path / "store").exists()
    assert left_behind(tmp_path) == []


def test_nobody_to_tell_is_status_1(tmp_path: Path):
    tenant = {"domains": ["acme.example"], "upstream": "acme-sendgrid"}
    file = write(tmp_path, OPERATORS, tenants={"acme": tenant}, alerts={"gather": "1m"})
    done = drill(tmp_path, file, "--json")
    assert done.returncode == 1
    found = rows(done)
    for name in set(SCENES) - {"recovery", "toggled_off"}:
        texts = [finding["text"] for finding in found[name]["findings"] if finding["grave"]]
        assert [text.startswith("nobody would be told: ") for text in texts] == [True], name
        assert found[name]["told"] == []
        assert found[name]["told_after_s"] is None
        assert found[name]["not_kept"] == []
    assert [f["text"] for f in found["upstream_down"]["findings"] if not f["grave"]] == [
        "acme has no owner",
        "acme has no recovery: an alert can't say what to do there",
        "acme has no failover: while its upstream is down its mail waits",
    ]


def test_a_relay_of_variables_alone(tmp_path: Path):
    """The alert of the one upstream's fault would wait behind that very upstream."""
    smtp = {
        "RELAY_SMTP_HOST": "smtp.provider.invalid",
        "RELAY_SMTP_PORT": "587",
        "RELAY_SMTP_USERNAME": "relay",
        "RELAY_SMTP_PASSWORD": "hunter2",
        "RELAY_SMTP_FROM_EMAIL": "noreply@platform.example",
        "RELAY_SMTP_FROM_NAME": "Platform",
        "RELAY_ALERTS__EMAIL": "Ops <ops@platform.example>",
        "RELAY_STORE": f"sqlite://{tmp_path}/store/relay.db",
    }
    done = drill(tmp_path, None, "--json", **smtp)
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    found = rows(done)
    assert {row["tenant"] for row in found.values()} == {None}
    [late] = found["upstream_down"]["findings"]
    assert late["grave"]
    assert "nobody would be told in time: ops@platform.example (operator)" in late["text"]
    assert "wait behind smtp itself" in late["text"]
    assert found["toggled_off"]["outcome"] == "not_rehearsed"
    dead = found["dead_letters"]
    assert dead["told"] == [{"who": "operator", "to": "ops@platform.example", "obstacle": None}]
    assert all(row["not_kept"] == [] for row in found.values())


@pytest.mark.parametrize(
    ("config", "arguments", "status", "complaint"),
    [
        ("upstreams: {a: {hots: x}}\n", (), 78, "config.yaml:1:17: "),
        ("upstreams: {a: {host: a.example}}\n", (), 1, "nothing to drill"),
        ("default: {upstream: a}\nupstreams: {a: {host: a.example}}\n", ("acme",), 1, "no tenant"),
    ],
)
def test_what_cannot_be_drilled(
    tmp_path: Path, config: str, arguments: Sequence[str], status: int, complaint: str
):
    file = tmp_path / "config.yaml"
    file.write_text(config)
    done = drill(tmp_path, file, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def running(folder: Path, file: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [str(RELAY), "--config", str(file), "drill", "acme"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ(folder),
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def two_relays(folder: Path, process: subprocess.Popen[str]) -> list[int]:
    """As soon as so many run."""
    deadline = time.monotonic() + 60
    while len(found := relays(folder)) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    return found


def test_a_relay_that_dies_is_status_1(tmp_path: Path):
    with running(tmp_path, write(tmp_path, OPERATORS)) as process:
        os.kill(two_relays(tmp_path, process)[0], signal.SIGKILL)
        _, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert complaints.startswith("relay: the drill can't go on: the relay ended with status -9")
    assert "Traceback" not in complaints
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_it_started(tmp_path: Path, number: signal.Signals):
    file = write(tmp_path, OPERATORS)
    with running(tmp_path, file) as process:
        two_relays(tmp_path, process)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (130, "")
    assert left_behind(tmp_path) == []
