"""Each runbook of docs/operations.md, step by step, as written: its commands print what the page
says, its files are written as it says, and no message is lost or sent twice.

A runbook begins where "First set-up" has ended. What happens between its steps, in its prose or in
the world, are the events below: each comes before the command that it is named by.

When an output has changed, RELAY_DOCS_REWRITE=1 makes this test put what came into the page, to be
read before it is kept. Plain verbs run in this process; all else (pipes, drills, what is typed
into) is run by a shell, with the installed program.
"""

import re
import smtplib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.certificates import Certificates
from support.console import steps
from support.machine import Machine
from support.play import Event, Play, Scene
from support.premises import (
    FIRST_SET_UP,
    SECRETS,
    SENDGRID,
    name_servers,
    providers,
    set_up,
)
from support.premises import OPERATIONS as PAGE
from support.upstream import Choice, Slowly
from support.verbs import command_line

RUNBOOKS = list(dict.fromkeys(block.chapter for block in PAGE.blocks))

NEW_KEY, NEWER_KEY, NEWEST_KEY = "SG.new-key", "SG.newer-key", "SG.newest-key"


def sends(count: int = 1, sender: str = "shop@acme.example", to: str = "") -> Event:
    return lambda machine: machine.send(count, sender, to)


def says(host: str, phase: str, answer: Choice) -> Event:
    return lambda machine: machine.upstreams[host].script.update({phase: answer})


def goes_down(host: str) -> Event:
    return lambda machine: machine.upstreams[host].down()


def comes_back(host: str) -> Event:
    return lambda machine: machine.upstreams[host].up()


def takes_key(key: str) -> Event:
    return lambda machine: machine.upstreams[SENDGRID].users.update(apikey=key)


def waits_for(event: str, count: int = 1) -> Event:
    return lambda machine: machine.relay.wait_for_event(event, count)


def together(*events: Event) -> Event:
    def all_of_them(machine: Machine) -> None:
        for event in events:
            event(machine)

    return all_of_them


def arrive(machine: Machine) -> None:
    machine.arrive()


def sends_until(event: str) -> Event:
    """Applications go on sending; one of their messages is the probe that finds it out."""

    def send(machine: Machine) -> None:
        deadline = time.monotonic() + 20
        while not machine.relay.events(event):
            assert time.monotonic() < deadline, f"no {event}"
            machine.send()
            time.sleep(0.2)

    return send


def wait_behind_a_pause(count: int) -> Event:
    """One is tried and pauses the upstream; the others are not tried."""
    return together(sends(1), waits_for("upstream.paused"), sends(count - 1))


def asks(zones: str) -> Event:
    """The DNS as it is now: "bare" or "published"."""
    return lambda machine: machine.name_server(zones)


def applications_send(*subjects: str) -> Event:
    """By a command of the page itself."""
    return lambda machine: machine.sent.extend(subjects)


def asks_by_itself(*commands: str) -> Event:
    """What was done before the runbook begins."""

    def run(machine: Machine) -> None:
        for command in commands:
            machine.run(command)

    return run


def fills_the_queue(machine: Machine) -> None:
    with pytest.raises(smtplib.SMTPDataError, match=r"fills|full"):
        machine.send(10)


def is_refused(machine: Machine) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        machine.send(to="backup")


def outage(machine: Machine) -> None:
    """Three messages expire; one is too large for the provider, one is to an unknown mailbox."""
    sendgrid = machine.upstreams[SENDGRID]
    sendgrid.down()
    machine.send(3)
    machine.relay.wait_for_event("email.dead_lettered", 3)
    sendgrid.script = {
        "dot": {"reports@acme.example": "552 5.3.4 message size exceeds the limit"},
        "rcpt": {"dan@customer.example": "550 5.1.1 unknown mailbox"},
    }
    sendgrid.up()
    machine.send(sender="reports@acme.example")
    machine.relay.wait_for_event("email.dead_lettered", 4)
    machine.send(to="dan@customer.example")
    machine.relay.wait_for_event("email.dead_lettered", 5)


CHECK, TEST = "relay check --connect acme-sendgrid", "relay test acme --to dana@acme.example"
SEAL = "relay secret seal upstreams.acme-sendgrid.password"
LETTER = "relay-sendmail -f shop@acme.example"

PAUSES = "relay audit --since 1h --event upstream.paused --event upstream.resumed"
INSTALL = "sudo install -m 0640 -g relay /dev/stdin /etc/relay"
TYPED = {f"{INSTALL}{end}": secret for end, secret in SECRETS.items()}

SCENES: dict[str, Scene] = {
    FIRST_SET_UP: Scene(
        typed=TYPED,
        at_first=asks("bare"),
        before={
            "relay doctor acme": [asks("published")],
            f"printf 'Subject: order 0\\n\\nThank you.\\n' | {LETTER} ann@customer.example": [
                applications_send("order 0")
            ],
        },
    ),
    "Moving a tenant to another provider": Scene(
        typed=TYPED,
        at_first=asks("published"),
        before={
            "relay reload": [
                sends(2),
                sends(2),
                together(sends(2), sends(to="qa@acme.example")),
                together(says(SENDGRID, "dot", Slowly(1.0)), sends(3)),
                together(sends(3)),
            ],
            "relay status --watch": [together(sends(30), arrive)],
            "relay audit --since 1h --tenant acme --event email.sent | tail -n 3": [sends(5)],
            "relay check": [together(sends(2), arrive)],
        },
    ),
    "Toggling a tenant off in an incident": Scene(
        at_first=together(
            says(SENDGRID, "auth", "535 5.7.8 account suspended"),
            wait_behind_a_pause(3),
        ),
        before={
            "relay queue list --tenant acme": [together(sends(2), arrive)],
            CHECK: [says(SENDGRID, "auth", None)],
            "relay tenant list": [together(sends(2), arrive)],
        },
    ),
    "Rotating a credential": Scene(
        at_first=together(sends(2), arrive, says(SENDGRID, "auth", "235 2.7.0 welcome")),
        typed={
            f"{INSTALL}/secrets/acme-sendgrid": NEW_KEY,
            SEAL: NEWER_KEY,
            f"{INSTALL}/environment": f"ACME_SENDGRID_KEY={NEWEST_KEY}",
        },
        before={
            "relay reload": [sends(2), together(takes_key(NEWER_KEY), sends(2))],
            CHECK: [
                sends(2),
                together(says(SENDGRID, "auth", None), takes_key(NEW_KEY)),
                sends(2),
                sends(2),
            ],
            "sudo systemctl restart relay": [together(takes_key(NEWEST_KEY), sends(2))],
        },
    ),
    "Emptying the dead letters after an outage": Scene(
        environment={
            "RELAY_RETRY__GIVE_UP_AFTER": "3s",
            "RELAY_RETRY__FIRST": "300ms",
            "RELAY_RETRY__LONGEST": "300ms",
            "RELAY_SUPPRESSION__AFTER": "1",
        },
        at_first=outage,
        before={"relay dead retry --all": [says(SENDGRID, "rcpt", None)]},
        elsewhere=frozenset({"order 3"}),
    ),
    "Handing over to the next admin": Scene(
        at_first=together(
            asks("published"),
            sends(2),
            arrive,
            asks_by_itself(
                "relay reload",
                'relay tenant disable acme --reason "SendGrid suspended the account" --wait',
                'relay tenant reset acme --reason "account restored"',
                TEST,
                "relay doctor acme",
            ),
        ),
        before={
            "sudo systemctl stop relay": [together(goes_down(SENDGRID), wait_behind_a_pause(2))]
        },
    ),
    "Mail is late": Scene(
        at_first=together(goes_down(SENDGRID), wait_behind_a_pause(2)),
        before={"relay upstream resume acme-sendgrid": [comes_back(SENDGRID)]},
    ),
    "A provider is down": Scene(
        typed=TYPED,
        environment={"RELAY_RETRY__FIRST": "2s", "RELAY_RETRY__LONGEST": "2s"},
        at_first=together(goes_down(SENDGRID), wait_behind_a_pause(2)),
        before={
            "relay status": [together(sends(2), arrive)],
            "relay audit --since 1h --event upstream.paused --event upstream.resumed "
            "--upstream acme-sendgrid": [
                together(comes_back(SENDGRID), sends_until("upstream.resumed"))
            ],
        },
    ),
    "The queue or the disk is full": Scene(
        at_first=together(
            lambda machine: machine.write("/etc/relay/config.yaml", "queue: {max_messages: 8}\n"),
            asks_by_itself("relay reload"),
            goes_down(SENDGRID),
            sends(1),
            waits_for("upstream.paused"),
            fills_the_queue,
        ),
        before={
            f"printf 'Subject: is it well\\n\\n' | {LETTER} ops@platform.example": [
                applications_send("is it well")
            ]
        },
    ),
    "The application is refused": Scene(
        at_first=is_refused,
        before={
            f"printf 'Subject: nightly\\n\\nAll is well.\\n' | {LETTER} backup": [
                applications_send("nightly")
            ]
        },
    ),
}

# -- the machine


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with name_servers(tmp_path_factory.mktemp("zones")) as servers:
        yield servers


@pytest.fixture
def machine(
    tmp_path: Path,
    certificates: Certificates,
    answers: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Machine]:
    with providers(certificates) as upstreams:
        machine = Machine(tmp_path, certificates, upstreams, answers)
        machine.within = command_line(machine.config_file, capsys)
        yield machine
        machine.end()


# -- the runbooks


def test_no_command_stands_where_it_would_not_be_run() -> None:
    shown = re.findall(r"^\s*\$ .*", PAGE.text, re.MULTILINE)
    blocks = (block.text for block in PAGE.blocks if block.language == "console")
    run = [f"$ {step.command}" for block in blocks for step in steps(block)]
    assert [line.strip() for line in shown] == run


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_step_does_what_the_page_says_and_no_message_is_lost(
    machine: Machine, runbook: str
) -> None:
    scene = SCENES[runbook]
    machine.environ.update(scene.environment)
    if runbook != FIRST_SET_UP:
        set_up(machine)
    scene.at_first(machine)
    play = Play(PAGE, machine, scene)
    for block in PAGE.blocks:
        if block.chapter == runbook:
            play.block(block)
    play.end()
    machine.settle(but=scene.elsewhere)
    assert machine.relayed() == Counter(set(machine.sent) - scene.elsewhere), "lost, or sent twice"
