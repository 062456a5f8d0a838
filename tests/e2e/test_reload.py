"""A reload takes the whole new configuration or nothing of it, and loses no message."""

import os
import signal
import smtplib
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import argon2
import pytest
import yaml
from support.mail import message, send
from support.program import RELAY
from support.upstream import Slowly

from relay.queue.sqlite.admin import Administration
from relay.record.audit import json_line

RECIPIENT = "joe@recipient.example"
ACME = "app@acme.example"


def edit(site: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """The file as an administrator would change it."""
    config = yaml.safe_load(site.relay.config_file.read_text())
    change(config)
    site.relay.config_file.write_text(yaml.safe_dump(config, sort_keys=False))


def reload(site: Any) -> dict[str, Any]:
    """The verdict of one that is taken."""
    rows = site.relay.listing("reload")
    assert [row["event"] for row in rows] == ["config.reloaded"]
    return rows[0]


def move_acme(config: dict[str, Any]) -> None:
    config["tenants"]["acme"]["upstream"] = "globex-mail"


def wait_until(true: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.02)


# -- what is taken over


def test_the_next_message_goes_by_the_new_configuration(running):
    send(running.port, ACME, RECIPIENT, "before")
    running.acme.wait_for(1)
    edit(running, move_acme)
    verdict = reload(running)
    assert verdict["tenants"] == {"added": [], "removed": [], "changed": ["acme"]}
    assert verdict["upstreams"] == {"added": [], "removed": [], "changed": []}
    send(running.port, ACME, RECIPIENT, "after")
    assert b"Subject: after" in running.globex.wait_for(1)[0].header
    assert len(running.acme.transactions) == 1


def test_sighup_reloads_too(running):
    edit(running, move_acme)
    os.kill(running.relay.pid, signal.SIGHUP)
    [event] = running.relay.wait_for_event("config.reloaded")
    assert (event["actor"], event["request"]) == ("config", None)
    send(running.port, ACME, RECIPIENT)
    running.globex.wait_for(1)


def test_queued_mail_takes_the_new_way(running):
    running.acme.down()
    send(running.port, ACME, RECIPIENT)
    running.relay.wait_for_event("upstream.paused")
    edit(running, move_acme)
    reload(running)
    assert running.globex.wait_for(1)[0].recipients == (RECIPIENT,)


def test_queued_mail_goes_to_the_tenant_that_has_its_domain_now(running):
    running.acme.down()
    send(running.port, ACME, RECIPIENT)
    running.relay.wait_for_event("upstream.paused")

    def hand_to_globex(config: dict[str, Any]) -> None:
        config["tenants"]["acme"]["domains"] = ["acme-old.example"]
        config["tenants"]["globex"]["domains"].append("acme.example")

    edit(running, hand_to_globex)
    reload(running)
    running.globex.wait_for(1)
    [sent] = running.relay.wait_for_event("email.sent")
    assert sent["tenant"] == "globex"


def test_what_is_under_way_ends_on_the_old_way_and_once(running):
    running.acme.script = {"dot": Slowly(4.0)}
    send(running.port, ACME, RECIPIENT, "under way")
    wait_until(lambda: any(line.startswith("DATA") for _, line in running.acme.commands))

    def take_acme_away(config: dict[str, Any]) -> None:
        move_acme(config)
        del config["upstreams"]["acme-mail"]

    edit(running, take_acme_away)
    assert reload(running)["upstreams"]["removed"] == ["acme-mail"]
    assert not running.relay.events("email.sent"), "it ended before the reload"
    [sent] = running.relay.wait_for_event("email.sent")
    assert sent["upstream"] == "acme-mail"
    assert not running.globex.transactions


def test_mail_that_was_under_way_and_failed_follows_its_domain_to_another_tenant(running):
    """Its settle brought it back to the former tenant, where it hung behind that one's pause."""
    running.acme.script = {"dot": Slowly(4.0, "451 4.3.0 not now")}
    send(running.port, ACME, RECIPIENT)
    wait_until(lambda: any(line.startswith("DATA") for _, line in running.acme.commands))

    def hand_to_globex(config: dict[str, Any]) -> None:
        config["tenants"]["acme"]["domains"] = ["acme-old.example"]
        config["tenants"]["globex"]["domains"].append("acme.example")

    running.relay.verb("upstream", "pause", "acme-mail", "--reason", "moving", check=True)
    edit(running, hand_to_globex)
    reload(running)
    running.globex.wait_for(1)


def test_a_dead_letter_that_is_tried_again_follows_its_domain_too(running):
    running.acme.script = {"rcpt": "550 5.1.1 no such user"}
    send(running.port, ACME, RECIPIENT)
    running.relay.wait_for_event("email.dead_lettered")

    def hand_to_globex(config: dict[str, Any]) -> None:
        config["tenants"]["acme"]["domains"] = ["acme-old.example"]
        config["tenants"]["globex"]["domains"].append("acme.example")

    running.relay.verb("upstream", "pause", "acme-mail", "--reason", "moving", check=True)
    edit(running, hand_to_globex)
    reload(running)
    running.relay.verb("dead", "retry", "--all", check=True)
    running.globex.wait_for(1)


def test_a_request_that_was_not_answered_is_answered_at_the_next_start(running):
    """One that came between the reading of the file and the first look at the store was lost."""
    running.relay.stop()
    store = Path(yaml.safe_load(running.relay.config_file.read_text())["store"][9:])
    with Administration(store, render=json_line) as administration:
        request = administration.ask_reload("dana")
    running.relay.start()
    [event] = running.relay.wait_for_event("config.reloaded")
    assert (event["request"], event["actor"]) == (request, "dana")
    running.relay.stop()
    running.relay.start()
    assert len(running.relay.events("config.reloaded")) == 1, "it was answered before"


def test_sighup_while_it_starts_is_a_reload_and_not_the_end(site):
    """The signal's default ended it, and systemd takes that for a clean end."""
    told = site.folder / "starting"
    command = [RELAY, "--config", site.relay.config_file, "serve"]
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    with (
        told.open("wb") as stdout,
        subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment) as relay,
    ):
        try:
            assert relay.stderr is not None
            # What it imports first after it has taken care of the signal.
            while b"relay.config.loader" not in relay.stderr.readline():
                assert relay.poll() is None
            relay.send_signal(signal.SIGHUP)
            drain = threading.Thread(target=relay.stderr.read)
            drain.start()
            wait_until(lambda: b"config.reloaded" in told.read_bytes())
        finally:
            relay.terminate()
            assert relay.wait(20) == 0
            drain.join()


def test_a_removed_tenant_lives_on_the_default_and_one_without_default_waits(running):
    def remove(config: dict[str, Any]) -> None:
        del config["tenants"]["acme"]

    running.acme.down()
    send(running.port, ACME, RECIPIENT)
    running.relay.wait_for_event("upstream.paused")
    edit(running, remove)
    reload(running)
    assert running.platform.wait_for(1)[0].recipients == (RECIPIENT,)


def test_accepted_mail_without_any_way_waits_for_one(running):
    running.acme.down()
    send(running.port, ACME, RECIPIENT)
    running.relay.wait_for_event("upstream.paused")
    former = running.relay.config_file.read_text()

    def remove(config: dict[str, Any]) -> None:
        del config["tenants"]["acme"]
        del config["default"]

    edit(running, remove)
    reload(running)
    running.relay.wait_for_event("email.deferred", 2)
    assert running.relay.listing("queue", "list")[0]["cause"] == "no_route"
    running.relay.config_file.write_text(former)
    running.acme.up()
    reload(running)
    running.acme.wait_for(1)


def test_a_new_listening_limit_holds_for_sessions_that_are_open(running):
    with smtplib.SMTP("127.0.0.1", running.port, timeout=20) as client:
        client.ehlo()
        edit(running, lambda config: config.update(limits={"message_size": "1KiB"}))
        assert reload(running)["sections"] == ["limits"]
        client.ehlo()
        assert client.esmtp_features["size"] == "1024"
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.3\.4"):
            client.sendmail(ACME, [RECIPIENT], message(ACME, RECIPIENT, body=b"x" * 4000))


def test_networks_that_are_taken_out_are_refused_at_once(running):
    with smtplib.SMTP("127.0.0.1", running.port, timeout=20) as client:
        client.ehlo()
        edit(running, lambda config: config.update(clients={"networks": ["::1/128"]}))
        reload(running)
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.7\.0"):
            client.sendmail(ACME, [RECIPIENT], message(ACME, RECIPIENT))


def test_a_user_who_is_gone_is_sent_away_and_may_send_no_more(site):
    password_hash = argon2.PasswordHasher().hash("crm's password")

    def with_user(config: dict[str, Any]) -> None:
        user = {"password_hash": password_hash, "tenants": ["acme"]}
        config["clients"] = {"networks": ["::1/128"], "users": {"crm": user}}

    edit(site, with_user)
    site.relay.start()
    with smtplib.SMTP("127.0.0.1", site.port, timeout=20) as client:
        client.login("crm", "crm's password")
        client.sendmail(ACME, [RECIPIENT], message(ACME, RECIPIENT))
        edit(site, lambda config: config["clients"].pop("users"))
        reload(site)
        with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPServerDisconnected)):
            client.sendmail("app@globex.example", [RECIPIENT], message(ACME, RECIPIENT))
    site.acme.wait_for(1)
    assert not site.globex.transactions


def test_a_session_that_logged_in_with_a_former_password_is_sent_away(site):
    """It went on sending for as long as it was kept open."""
    file = site.folder / "crm.hash"
    file.write_text(argon2.PasswordHasher().hash("the old one"))
    file.chmod(0o600)

    def with_user(config: dict[str, Any]) -> None:
        user = {"password_hash": f"file:{file}", "tenants": ["acme"]}
        config["clients"] = {"networks": ["::1/128"], "users": {"crm": user}}

    edit(site, with_user)
    site.relay.start()
    with smtplib.SMTP("127.0.0.1", site.port, timeout=20) as client:
        client.login("crm", "the old one")
        client.sendmail(ACME, [RECIPIENT], message(ACME, RECIPIENT))
        file.write_text(argon2.PasswordHasher().hash("the new one"))
        assert reload(site)["sections"] == ["clients"]
        with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPServerDisconnected)):
            client.sendmail(ACME, [RECIPIENT], message(ACME, RECIPIENT))
    with smtplib.SMTP("127.0.0.1", site.port, timeout=20) as client:
        client.login("crm", "the new one")


# -- rotation


def secret_in_file(site: Any, password: str) -> Path:
    file = site.folder / "acme.secret"
    file.write_text(password)
    file.chmod(0o600)
    return file


def test_a_rotated_password_is_taken_at_reload_without_a_lost_message(site):
    file = secret_in_file(site, "acme's password")
    edit(site, lambda c: c["upstreams"]["acme-mail"].update(password=f"file:{file}"))
    site.relay.start()
    sent, stop = [], threading.Event()

    def keep_sending() -> None:
        while not stop.is_set():
            send(site.port, ACME, RECIPIENT, f"number {len(sent)}")
            sent.append(f"number {len(sent)}")

    application = threading.Thread(target=keep_sending)
    application.start()
    try:
        wait_until(lambda: len(sent) > 20)
        site.acme.users["acme"] = "the new one"
        secret_in_file(site, "the new one")
        assert reload(site)["upstreams"]["changed"] == ["acme-mail"]
        before = len(sent)
        wait_until(lambda: len(sent) > before + 20)
    finally:
        stop.set()
        application.join()
    arrived = site.acme.wait_for(len(sent))
    subjects = [line for t in arrived for line in t.header.splitlines() if b"Subject" in line]
    assert sorted(subjects) == sorted(f"Subject: {subject}".encode() for subject in sent)
    assert not site.relay.events("email.send_failed")


def test_a_mended_password_is_tried_at_once(site):
    """However long the pause would have lasted."""
    file = secret_in_file(site, "wrong")
    edit(site, lambda c: c["upstreams"]["acme-mail"].update(password=f"file:{file}"))
    edit(site, lambda c: c.update(retry={"first": "1h", "longest": "2h", "give_up_after": "1d"}))
    site.relay.start()
    send(site.port, ACME, RECIPIENT)
    site.relay.wait_for_event("upstream.paused")
    secret_in_file(site, "acme's password")
    reload(site)
    site.acme.wait_for(1)
    site.relay.wait_for_event("upstream.resumed")


def test_a_secret_that_is_gone_is_no_reason_to_break_what_works(site):
    file = secret_in_file(site, "acme's password")
    edit(site, lambda c: c["upstreams"]["acme-mail"].update(password=f"file:{file}"))
    site.relay.start()
    send(site.port, ACME, RECIPIENT)
    site.acme.wait_for(1)
    file.unlink()
    edit(site, lambda config: config.update(hostname="other.test"))
    done = site.relay.verb("reload")
    assert done.returncode == 78
    assert f"upstreams.acme-mail.password: file:{file}: no file {file}" in done.stderr
    send(site.port, ACME, RECIPIENT)
    site.acme.wait_for(2)


# -- what is not


def is_as_before(site: Any) -> None:
    send(site.port, ACME, RECIPIENT)
    site.acme.wait_for(1)


def test_a_mistake_changes_nothing_and_is_on_record(running):
    def break_it(config: dict[str, Any]) -> None:
        move_acme(config)
        config["tenants"]["globex"]["upstream"] = "globex-mial"
        config["tenants"]["globex"]["ower"] = "x@y.example"

    edit(running, break_it)
    done = running.relay.verb("reload")
    assert done.returncode == 78
    assert 'no upstream named "globex-mial"; did you mean "globex-mail"?' in done.stderr
    [event] = running.relay.wait_for_event("config.rejected")
    assert len(event["problems"]) == 2
    assert all("config.yaml:" in problem for problem in event["problems"])
    assert event["actor"]
    is_as_before(running)


@pytest.mark.parametrize("text", ["tenants: [", "\0", ""])
def test_a_file_that_is_no_yaml_is_told_to_the_relay_too(running, text):
    store = yaml.safe_load(running.relay.config_file.read_text())["store"]
    running.relay.config_file.write_text(f"store: {store}\n{text}" if text else "")
    if not text:
        # Not even where the store is can be read: it is named by its variable.
        running.relay._environment = os.environ | {"RELAY_STORE": store}
    done = running.relay.verb("reload")
    if text:
        assert done.returncode == 78, done.stderr
    running.relay.wait_for_event("config.rejected")
    is_as_before(running)


@pytest.mark.parametrize(
    ("key", "value"),
    [("listen", ["127.0.0.1:1"]), ("store", "sqlite:///nowhere/relay.db")],
)
def test_what_needs_a_restart_says_so_and_changes_nothing(running, key, value, monkeypatch):
    store = yaml.safe_load(running.relay.config_file.read_text())["store"]

    def change(config: dict[str, Any]) -> None:
        move_acme(config)
        config[key] = value

    edit(running, change)
    if key == "store":
        os.kill(running.relay.pid, signal.SIGHUP)
    else:
        assert running.relay.verb("reload").returncode == 78
    [event] = running.relay.wait_for_event("config.rejected")
    assert event["problems"] == [f"{key}: has changed, which needs a restart; nothing was reloaded"]
    assert store
    is_as_before(running)


def test_the_default_stays_while_a_tenant_that_is_off_leaves_by_it(running):
    running.relay.verb("tenant", "disable", "acme", "--reason", "key leaked", check=True)
    edit(running, lambda config: config.pop("default"))
    done = running.relay.verb("reload")
    assert done.returncode == 78
    assert "tenant acme is disabled" in done.stderr
    send(running.port, ACME, RECIPIENT)
    running.platform.wait_for(1)


def test_without_a_relay_it_says_so(site):
    site.relay.start()
    site.relay.stop()
    done = site.relay.verb("reload")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("relay: no relay is running")


def test_toggles_stay_as_they_are(running):
    running.relay.verb("tenant", "disable", "acme", "--reason", "key leaked", check=True)
    edit(running, move_acme)
    reload(running)
    send(running.port, ACME, RECIPIENT)
    running.platform.wait_for(1)


# -- tenants that are switched, and whoever waits for it


def test_wait_returns_when_nothing_goes_the_old_way_any_more(running):
    running.acme.script = {"dot": Slowly(1.5)}
    send(running.port, ACME, RECIPIENT)
    wait_until(lambda: any(line.startswith("DATA") for _, line in running.acme.commands))
    with suppress(IndexError):
        assert not running.acme.transactions
    running.relay.verb("tenant", "disable", "acme", "--reason", "x", "--wait", check=True)
    assert len(running.acme.transactions) == 1, "it was still under way"


def test_a_toggle_for_a_time_ends_by_itself(running):
    running.relay.verb(
        "tenant", "disable", "acme", "--reason", "x", "--for", "2s", check=True
    )  # fmt: skip
    [reset] = running.relay.wait_for_event("tenant.reset")
    assert reset["actor"] == "relay"
    send(running.port, ACME, RECIPIENT)
    running.acme.wait_for(1)
