"""What the last word of a command line may become, and the shells that ask."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.need import need
from support.program import RELAY
from typer.main import get_command

from relay.cli import program
from relay.cli.shell.candidates import candidates, keys
from relay.model.events import EVENT_NAMES

ROOT = get_command(program())
CONFIG = """\
upstreams:
  acme-mail: {host: localhost, limits: {connections: 4}}
  platform:
    host: localhost
tenants: {acme: {domains: [acme.example, "*.acme.example"]}, "globex": {notes: "tenants: x"}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "config.yaml"))
    return tmp_path


def words(line: str) -> list[str]:
    """What stands before the tab, for a line as a person types it."""
    found = candidates(ROOT, line.split(" "))
    return [candidate.partition("\t")[0] for candidate in found]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ten", ["tenant"]),
        ("tenant di", ["disable"]),
        ("tenant show ", ["acme", "globex"]),
        ("tenant show acme ", []),
        ("upstream pause p", ["platform"]),
        ("queue list --t", ["--tenant"]),
        ("queue list --tenant ", ["acme", "globex"]),
        ("queue list --tenant=a", ["--tenant=acme"]),
        ("queue list --tenant = a", ["acme"]),
        ("queue list --tenant acme --j", ["--json"]),
        ("audit --upstream ac", ["acme-mail"]),
        ("audit --event email.s", [name for name in EVENT_NAMES if name.startswith("email.s")]),
        ("audit --cause expi", ["expired"]),
        ("suppress import --format send", ["sendgrid"]),
        ("suppress import ", [":files"]),
        ("completion f", ["fish"]),
        ("--config ", [":files"]),
        ("queue show ", []),
        ("tenant show -- -", []),
        ("quue ", []),
        ("quue list --te", []),
    ],
)
def test_a_word_may_become(line: str, expected: list[str]):
    assert words(line) == expected


def test_all_verbs_but_the_hidden_come_with_their_help():
    lines = list(candidates(ROOT, [""]))
    assert len(lines) == sum(not verb.hidden for verb in ROOT.commands.values())
    assert all("\t" in line for line in lines)


def test_names_are_those_of_the_configuration_that_is_named(folder: Path):
    other = folder / "other.yaml"
    other.write_text("tenants: {initech: {}}\n")
    assert words(f"--config {other} tenant show ") == ["initech"]
    assert words(f"--config={other} tenant show ") == ["initech"]


@pytest.mark.parametrize("text", ["", "tenants:", "tenants: [a, b]", "tenants: {a: {b: c}}, }{"])
def test_a_configuration_that_is_being_edited_gives_what_it_can(text: str):
    assert list(keys(text, "tenants")) in ([], ["a"])


def test_names_of_ten_thousand_tenants_come_at_once():
    text = "tenants:\n" + "".join(
        f"  t{n}: {{domains: [t{n}.example], upstream: platform}}\n" for n in range(10_000)
    )
    begin = time.monotonic()
    assert len(list(keys(text, "tenants"))) == 10_000
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("config", ["absent.yaml", ".", "config.yaml/x"])
def test_nothing_is_said_of_what_is_wrong(config: str, folder: Path):
    arguments = (str(RELAY), "complete", "--", "--config", str(folder / config), "tenant", "show")
    done = subprocess.run([*arguments, ""], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_to_complete_needs_none_of_the_heavy_libraries():
    code = (
        "import sys\nfrom relay.cli import program\n"
        "from relay.cli.shell.candidates import candidates\n"
        "from typer.main import get_command\n"
        "list(candidates(get_command(program()), ['tenant', 'show', '']))\n"
        "print(sorted({'pydantic', 'rich', 'structlog', 'relay.config'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# -- the shells themselves


def shell(*command: str) -> str:
    environment = os.environ | {"PATH": f"{RELAY.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment, stdin=subprocess.PIPE
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.usefixtures("folder")
def test_bash_completes():
    script = """
        source <(relay completion bash)
        compopt() { echo "compopt $*"; }
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _relay; echo "${COMPREPLY[@]}"; }
        try relay ten
        try relay tenant show ""
        try relay audit --tenant = g
        try relay suppress import ""
        complete -p relay
    """
    lines = shell(need("bash"), "--norc", "-c", script).splitlines()
    files = ["compopt -o default", ""]
    assert lines == ["tenant", "acme globex", "globex", *files, "complete -F _relay relay"]


@pytest.mark.usefixtures("folder")
def test_zsh_completes():
    """zsh completes in its line editor alone, which wants a terminal of its own."""
    script = r"""
        zmodload zsh/zpty
        zpty -b z zsh -f -i
        until_seen() { local all=; repeat 300; do
            zpty -r -t z part && all+=$part; [[ $all == *$1* ]] && return; sleep 0.1; done
            print -r -- "never saw $1 in $all"; exit 1; }
        zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source <(relay completion zsh)'
        zpty -w z 'print rea""dy'; until_seen ready
        zpty -w -n z $'relay tenant show g\t'; until_seen globex
        zpty -w -n z $'\x15relay aud\t'; until_seen 'audit'
        print fine
    """
    assert shell(need("zsh"), "-f", "-c", script) == "fine\n"


@pytest.mark.usefixtures("folder")
def test_fish_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    script = """
        relay completion fish | source
        complete -C "relay ten"
        complete -C "relay tenant show "
        complete -C "relay audit --tenant=g"
        complete -C "relay --config c"
    """
    tenant, *others = shell(need("fish"), "--no-config", "-c", script).splitlines()
    assert tenant.startswith("tenant\tTenants:")
    assert others == ["acme", "globex", "--tenant=globex", "config.yaml"]
