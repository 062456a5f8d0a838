"""docs/commands.md: every verb is on it, and each of its examples prints what it says there, with
the relay running and with it down.

When an output has changed, RELAY_DOCS_REWRITE=1 makes this test put what came into the page, to be
read before it is kept.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.certificates import Certificates
from support.console import REWRITES, steps
from support.document import Document
from support.machine import Machine
from support.play import Play, Scene
from support.ports import free_port
from support.premises import SENDGRID, name_servers, providers, set_up
from support.verbs import command_line

from relay.cli import program

PAGE = Document("commands.md")
STEPS = [step for block in PAGE.blocks if block.language == "console" for step in steps(block.text)]

# Verbs that do something, or print a document in a form of its own, rather than list or report.
NO_ROWS = {
    "serve",
    "demo",
    "completion",
    "config schema",
    "queue retry",
    "queue drop",
    "dead retry",
    "dead drop",
    "dead export",
    "tenant disable",
    "tenant enable",
    "tenant reset",
    "upstream pause",
    "upstream resume",
    "suppress add",
    "suppress remove",
    "suppress import",
    "suppress export",
    "secret keygen",
    "secret seal",
}
# What the page shows of these needs a relay that runs, or has nothing to do with one.
ONLY_UP = ("$ relay serve", "$ relay reload", "$ relay demo", "$ relay drill", "$ relay health")


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Each verb beneath the command that a person may see, with its options."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), {name for option in command.params for name in option.opts}
        return
    for name, one in inner.items():
        if not one.hidden:
            yield from verbs(one, (*path, name))


VERBS = dict(verbs(typer.main.get_command(program())))


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_shows_it(verb: str) -> None:
    assert any(re.match(rf"relay {verb}\b", step.command) for step in STEPS)


@pytest.mark.parametrize("verb", VERBS)
def test_what_lists_or_reports_has_rows(verb: str) -> None:
    assert "--json" in VERBS[verb] or verb in NO_ROWS


@pytest.fixture
def machine(
    tmp_path: Path, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    """Set up, with some mail, and the relay running."""
    with providers(certificates) as upstreams, name_servers(tmp_path) as servers:
        machine = Machine(tmp_path, certificates, upstreams, servers)
        machine.within = command_line(machine.config_file, capsys)
        machine.name_server("published")
        machine.environ["RELAY_RETRY__FIRST"] = "10m"
        machine.environ["RELAY_HTTP__LISTEN"] = f"127.0.0.1:{free_port()}"
        try:
            set_up(machine)
            with_some_mail(machine)
            yield machine
        finally:
            machine.end()


def with_some_mail(machine: Machine) -> None:
    """Relayed, deferred, and refused: for a mailbox that is busy, one that is none, and a size."""
    machine.upstreams[SENDGRID].script = {
        "rcpt": {
            "bob@customer.example": "450 4.2.1 mailbox busy",
            "eve@customer.example": "550 5.1.1 unknown mailbox",
        },
        "dot": {"reports@acme.example": "552 5.3.4 message size exceeds the limit"},
    }
    machine.send(2)
    machine.arrive()
    machine.send(to="bob@customer.example")
    machine.relay.wait_for_event("email.deferred")
    machine.send(sender="reports@acme.example")
    machine.relay.wait_for_event("email.dead_lettered", 1)
    machine.send(to="eve@customer.example")
    machine.relay.wait_for_event("email.dead_lettered", 2)


def play(machine: Machine, *, but: tuple[str, ...] = ()) -> None:
    typed = {"relay secret seal upstreams.acme-sendgrid.password": "SG.new-key"}
    play = Play(PAGE, machine, Scene(typed=typed))
    for block in PAGE.blocks:
        if block.language == "console" and not block.text.startswith(but):
            play.block(block)
    play.end()


def test_each_example_prints_what_the_page_says(machine: Machine) -> None:
    play(machine)


@pytest.mark.skipif(REWRITES, reason="the page shows what a running relay prints")
def test_each_example_prints_the_same_while_the_relay_is_down(machine: Machine) -> None:
    machine.systemctl("stop")
    play(machine, but=ONLY_UP)


def test_rows_are_json_objects_one_a_line(machine: Machine) -> None:
    def rows(*arguments: str) -> list[Any]:
        printed = machine.run(shlex.join(["relay", *arguments, "--json"]))
        return [json.loads(line) for line in printed.splitlines()]

    waiting, dead = (rows(kind, "list")[0]["queue_id"] for kind in ("queue", "dead"))
    arguments = {
        "check": ["--connect"],
        "test": ["acme", "--to", "dana@acme.example"],
        "doctor": ["acme"],
        "route": ["shop@acme.example"],
        "queue show": [waiting],
        "dead show": [dead],
        "tenant show": ["acme"],
    }
    machine.run("relay suppress add dan@customer.example --reason 'asked us to stop'")
    for verb in VERBS:
        if verb not in (*NO_ROWS, "drill"):  # which takes long, and has a test of its own
            found = rows(*verb.split(), *arguments.get(verb, ()))
            assert found, verb
            assert all(isinstance(row, dict) for row in found), verb
