"""The command line as a whole: statuses, help, and what it does to those who read it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.program import RELAY
from typer.main import get_command

from relay import __version__
from relay.cli import access, main, program


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def relay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(str(RELAY), *arguments)


def verbs(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path
    for name, child in children.items():
        if not child.hidden:
            yield from verbs(child, (*path, name))


VERBS = list(verbs(get_command(program())))


def test_all_verbs_are_there():
    names = {" ".join(path) for path in VERBS}
    assert names == {
        *(
            "serve",
            "reload",
            "demo",
            "check",
            "route",
            "test",
            "doctor",
            "drill",
            "status",
            "health",
            "audit",
        ),
        *("providers", "completion", "secret keygen", "secret seal"),
        *("config show", "config schema", "config inventory"),
        *("queue list", "queue show", "queue retry", "queue drop"),
        *("dead list", "dead show", "dead retry", "dead export", "dead drop"),
        *("upstream list", "upstream pause", "upstream resume"),
        *("suppress list", "suppress add", "suppress remove"),
        *("suppress import", "suppress export"),
        *("tenant list", "tenant show", "tenant disable", "tenant enable", "tenant reset"),
    }


# Two run until they end, one prints a script, and one prints JSON as it is.
WITHOUT_ROWS = {"serve", "demo", "completion", "config schema"}


def test_every_verb_that_lists_reports_or_changes_something_has_rows():
    lacking = set()
    for path in VERBS:
        command = get_command(program())
        for word in path:
            command = command.commands[word]  # type: ignore[attr-defined]
        if not any("--json" in option.opts for option in command.params):
            lacking.add(" ".join(path))
    assert lacking == WITHOUT_ROWS


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*path, "--help"])
    assert ended.value.code == 0
    assert f"Examples:\n    relay {' '.join(path)}" in capsys.readouterr().out


def test_version():
    done = relay("--version")
    assert (done.returncode, done.stdout) == (0, f"relay {__version__}\n")


@pytest.mark.parametrize("arguments", [(), ("tenant",), ("quue",), ("--confg", "x", "check")])
def test_wrong_usage_has_status_2_and_no_traceback(arguments: tuple[str, ...]):
    done = relay(*arguments)
    assert done.returncode == 2
    assert "Usage: relay" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("quue", 'no verb "quue"; did you mean "queue"?'),
        ("tenant dsable acme", 'no verb "dsable"; did you mean "disable"?'),
        ("disable acme", 'no verb "disable"; did you mean "tenant disable"?'),
        ("tenant pause acme", 'no verb "pause" (there is: disable, enable, list, reset, show)'),
        ("complet", 'no verb "complet"; did you mean "completion"?'),
        ("queue list --tenat acme", "--tenat (Possible options: --tenant)"),
        ("audit --jsn", "--jsn (Possible options: --json, --since)"),
        ("check --config x", "stands before the verb: relay --config FILE VERB"),
        ("queue list --config x", "stands before the verb: relay --config FILE VERB"),
    ],
)
def test_what_is_misspelt_gets_a_suggestion(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert "complete," not in errors


@pytest.mark.parametrize("verb", ["serve", "check", "audit"])
def test_without_a_configuration_the_status_is_78(verb: str, tmp_path: Path):
    done = relay("--config", str(tmp_path / "absent.yaml"), verb)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"{tmp_path}/absent.yaml: no file {tmp_path}/absent.yaml\n"


@pytest.mark.parametrize("pipe", ["config schema | head -1", "--version | true"])
def test_a_reader_that_goes_away_is_no_news(pipe: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert run("bash", "-c", f"'{RELAY}' {pipe}").stderr == ""


def test_a_closed_standard_output_is_no_news():
    assert run("bash", "-c", f"'{RELAY}' config schema >&-").stderr == ""


@pytest.mark.parametrize("verb", ["config schema", "--version", "completion bash"])
def test_a_full_disk_is_told_once(verb: str):
    done = run("bash", "-c", f"'{RELAY}' {verb} > /dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "relay: standard output: No space left on device\n",
    )


def test_help_needs_none_of_the_heavy_libraries():
    heavy = "{'pydantic', 'rich', 'structlog', 'yaml', 'asyncio', 'aiosmtpd', 'cryptography'}"
    code = f"import sys, relay.cli; print(sorted({heavy} & sys.modules.keys()))"
    assert run(sys.executable, "-P", "-c", code).stdout == "[]\n"


def test_the_actor_is_who_called_sudo(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SUDO_USER", "dana")
    assert access.actor() == "dana"


def test_the_actor_without_a_name_is_the_uid(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert access.actor() == "uid 4000000"
