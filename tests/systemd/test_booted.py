"""The relay as a service of a systemd that has really booted: installed by make, started by its
socket, reloaded, restarted under load, killed by its watchdog, stopped."""

import re
import threading
from functools import partial

import pytest

# The first test makes Debian in a folder, unless it is there from a former run.
pytestmark = pytest.mark.timeout(600)

_BLOCKED = """\
import signal, time
signal.signal(signal.SIGUSR1, lambda number, frame: time.sleep(3600))
"""


def pid_of(host):
    return host.machine.shown("relay.service", "MainPID")


def log_of(machine):
    return machine.output("journalctl", "--unit=relay.service", "--output=cat", "--no-pager")


def has_received(host, count):
    return len(host.received) >= count


def test_who_connects_starts_it(host):
    machine = host.machine
    machine.run("systemctl", "enable", "relay.service")
    machine.run("systemctl", "start", "relay.socket")
    assert machine.shown("relay.service", "ActiveState") == "inactive"
    host.send("by IPv4")
    host.send("by IPv6", "::1")
    host.wait_for("by IPv4")
    host.wait_for("by IPv6")
    assert machine.shown("relay.service", "ActiveState") == "active"
    started = [event for event in host.journal() if event["event"] == "relay.started"]
    assert started[-1]["listeners"] == ["127.0.0.1:25", "[::1]:25"]
    machine.wait_until(
        lambda: machine.shown("relay.service", "StatusText") == "2 sent, 0 queued", "told of"
    )


def test_it_has_no_privileges_and_keeps_its_state_for_its_group(host):
    host.start()
    status = host.machine.output("cat", f"/proc/{pid_of(host)}/status")
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(re.search(rf"^{kind}:\s+(\w+)$", status, re.MULTILINE)[1], 16) == 0
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    modes = host.machine.output(
        "stat", "--format=%a %U %G", "/var/lib/relay", "/var/lib/relay/relay.db", "/etc/relay"
    )
    assert modes.splitlines() == ["2770 relay relay", "660 relay relay", "750 root relay"]


def test_a_member_of_the_group_uses_the_verbs(host):
    host.start()
    host.machine.run("useradd", "--groups", "relay", "dana")
    for user in ("dana", "relay"):
        assert "sent" in host.machine.output("relay", "status", user=user)
    refused = host.machine.run("relay", "status", user="app", check=False)
    assert refused.returncode
    assert "no permission to read /etc/relay/config.yaml" in refused.stderr


def test_large_content_has_its_spool_file(host):
    """RestrictSUIDSGID= forbids what an unrestricted relay may do for its directories."""
    host.start()
    large = "x" * 70 + "\r\n"
    host.machine.write("/srv/large", "Subject: large\r\n\r\n" + large * 30_000, 0o644)
    host.machine.run(
        "python3", "-c",
        "import smtplib; smtplib.SMTP('127.0.0.1', 25).sendmail("
        "'app@acme.example', ['joe@recipient.example'], open('/srv/large', newline='').read())",
        user="app",
    )  # fmt: skip
    host.wait_for("large")


def test_what_is_loaded_when_it_is_needed_works_without_privileges_too(host):
    """Password hashes and sealed secrets, by libraries in C and Rust."""
    host.start()
    host.send("with a login", "127.0.0.1", "crm", "crm's password")
    seal = 'printf "the platform\'s password" | relay secret seal upstreams.platform.password'
    host.machine.run("relay", "secret", "keygen")
    sealed = host.machine.output("sh", "-c", seal)
    host.configure(host.configuration.replace("credential:platform", sealed))
    host.machine.run("systemctl", "reload", "relay.service")
    host.send("by a sealed secret")
    host.wait_for("by a sealed secret")
    host.configure()
    host.machine.run("systemctl", "reload", "relay.service")


def test_a_good_configuration_is_taken(host):
    host.start()
    host.configure(host.configuration + "tenants: {acme: {domains: [acme.example], notes: new}}\n")
    host.machine.run("systemctl", "reload", "relay.service")
    assert host.machine.shown("relay.service", "ActiveState") == "active"
    assert "acme" in host.machine.output("relay", "tenant", "list")
    host.configure()


def test_a_bad_configuration_changes_nothing_and_fails_the_reload(host):
    host.start()
    before = pid_of(host)
    host.configure(host.configuration.replace("platform:", "plattform:", 1))
    done = host.machine.run("systemctl", "reload", "relay.service", check=False)
    assert done.returncode
    assert (pid_of(host), host.machine.shown("relay.service", "ActiveState")) == (before, "active")
    rejected = [e for e in host.journal("--priority=err") if e["event"] == "config.rejected"]
    assert rejected
    assert any("platform" in problem for problem in rejected[-1]["problems"])
    host.send("after a bad reload")
    host.wait_for("after a bad reload")
    host.configure()
    host.machine.run("systemctl", "reload", "relay.service")


def test_a_restart_under_load_refuses_and_loses_nothing(host):
    host.start()
    machine, done = host.machine, []

    def send() -> None:
        done.append(
            machine.run(
                "python3", "/srv/within/send_all_the_time.py", "/srv/enough",
                user="app", check=False,
            )
        )  # fmt: skip

    clients = threading.Thread(target=send)
    clients.start()
    for _ in range(3):
        before = len(host.received)
        machine.wait_until(partial(has_received, host, before + 50), "under load")
        machine.run("systemctl", "restart", "relay.service")
    machine.write("/srv/enough", "")
    clients.join(60)
    taken = done[0].stdout.split()
    assert done[0].stderr == ""
    assert len(taken) > 150
    machine.wait_until(lambda: set(taken) <= set(host.received), "all relayed")
    received = [subject for subject in host.received if subject in set(taken)]
    assert len(received) == len(taken), "something came twice"


def test_a_credential_may_be_encrypted_and_the_verbs_find_it(host):
    machine = host.machine
    usual = (machine.root / "etc/systemd/system/relay.service.d/override.conf").read_text()
    machine.run("systemd-creds", "setup")
    machine.run(
        "systemd-creds", "encrypt", "--with-key=host", "--name=platform",
        "/etc/relay/credentials/platform", "/etc/relay/credentials/platform.cred",
    )  # fmt: skip
    encrypted = "LoadCredentialEncrypted=platform:/etc/relay/credentials/platform.cred"
    host.drop_in("relay.service", f"[Service]\n{encrypted}\n")
    machine.write("/etc/relay/environment", "RELAY_HOSTNAME=from-the-environment.example\n", 0o640)
    machine.run("chgrp", "relay", "/etc/relay/environment")
    host.start()
    machine.run("systemctl", "restart", "relay.service")
    host.send("by an encrypted credential")
    host.wait_for("by an encrypted credential")
    shown = machine.output("relay", "config", "show")
    assert "from-the-environment.example" in shown
    assert "platform's password" not in shown
    machine.run("relay", "check", "--connect")
    machine.run("rm", "/etc/relay/environment")
    host.drop_in("relay.service", usual)


def test_the_watchdog_restarts_a_relay_whose_loop_is_blocked(host):
    machine = host.machine
    usual = (machine.root / "etc/systemd/system/relay.service.d/override.conf").read_text()
    machine.write("/srv/blocked/sitecustomize.py", _BLOCKED)
    host.drop_in("relay.service", f"{usual}WatchdogSec=2\nEnvironment=PYTHONPATH=/srv/blocked\n")
    machine.run("systemctl", "restart", "relay.service")
    before = pid_of(host)
    machine.run("systemctl", "kill", "--signal=SIGUSR1", "--kill-whom=main", "relay.service")
    machine.wait_until(lambda: pid_of(host) not in (before, "0"), "restarted")
    assert "Watchdog timeout" in log_of(machine)
    host.send("after the watchdog")
    host.wait_for("after the watchdog")
    host.drop_in("relay.service", usual)
    machine.run("systemctl", "restart", "relay.service")


def test_stopped_it_keeps_what_waits(host):
    host.start()
    machine = host.machine
    machine.run("relay", "upstream", "pause", "platform", "--reason", "maintenance")
    host.send("kept while stopped")
    machine.run("systemctl", "stop", "relay.socket", "relay.service")
    assert machine.shown("relay.service", "Result") == "success"
    assert machine.shown("relay.service", "ExecMainStatus") == "0"
    assert "kept while stopped" not in host.received
    machine.run("relay", "upstream", "resume", "platform")
    host.start()
    host.wait_for("kept while stopped")


def test_where_another_has_the_port_it_points_there_and_takes_it_when_it_is_free(host):
    """As with Exim, which Debian may have: only the socket's own log told who was in the way."""
    machine = host.machine
    machine.run("systemctl", "stop", "relay.socket", "relay.service")
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 25)); time.sleep(3600)"
    machine.run("systemd-run", "--unit=other-mail", "python3", "-c", listen)
    held = "0100007F:0019 00000000:0000 0A"  # as /proc has what listens
    machine.wait_until(lambda: held in machine.output("cat", "/proc/net/tcp"), "held")
    machine.run("systemctl", "start", "--no-block", "relay.service")
    told = "can't listen on 127.0.0.1:25: Permission denied"
    machine.wait_until(lambda: told in log_of(machine), "told")
    assert "`systemctl status relay.socket` says why" in log_of(machine)
    machine.run("systemctl", "stop", "other-mail.service")
    machine.wait_until(
        lambda: machine.shown("relay.service", "ActiveState") == "active", "started by itself"
    )
    assert machine.shown("relay.socket", "ActiveState") == "active"
    host.send("when the port was free")
    host.wait_for("when the port was free")


def test_a_configuration_that_can_not_be_used_is_not_tried_again(host):
    machine = host.machine
    machine.run("systemctl", "stop", "relay.socket", "relay.service")
    host.configure("listen: nowhere\n")
    assert machine.run("systemctl", "start", "relay.service", check=False).returncode
    assert machine.shown("relay.service", "ExecMainStatus") == "78"
    assert machine.shown("relay.service", "NRestarts") == "0"
    assert machine.shown("relay.service", "ActiveState") == "failed"
    # Who connects has it tried some times, and is then refused rather than left waiting.
    sent = machine.run("python3", "/srv/within/send.py", "127.0.0.1", "never", check=False)
    assert sent.returncode
    assert machine.shown("relay.socket", "Result") == "service-start-limit-hit"
    host.configure()
    host.start()
    host.send("mended")
    host.wait_for("mended")
