"""What stands between ``relay serve`` and its being ready: half a second, mostly of importing.

Measured without a clock, which a busy machine would falsify; bench/start.py has the seconds.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from support.configs import relay_config
from support.ports import free_port

# What a plain start has no need of, and what does.
NOT_NEEDED = {
    "typer": "other command lines than the service's own",
    "rich": "nobody: structlog would take it for tracebacks",
    "aiohttp": "http",
    "prometheus_client": "http",
    "argon2": "clients.users",
    "cryptography": "sealed secrets",
    "dns": "relay doctor",
    "publicsuffixlist": "relay doctor",
    "importlib.readers": "nobody: our files lie beside the code",
    "relay.record.reading": "a terminal",
    "relay.doctor": "relay doctor",
    "relay.rehearse": "relay drill",
    "relay.web": "http",
}
# A third of them are ours. Each takes half a millisecond or so.
MOST_MODULES = 560

_UNTIL_READY = """
import gc, os, sys
from relay.cli import main
from relay.service.manager import Manager

def ready(self):
    print("ready", gc.isenabled(), *filter(sys.modules.get, sys.modules), flush=True)
    os._exit(0)

Manager.tell_ready = ready
main(["--config", sys.argv[1], "serve"])
"""


_UNTIL_ALL_IS_LOADED = """
import os, sys
from relay import app
from relay.cli import main
from relay.service.manager import Manager

told = []
Manager.tell_ready = lambda self: told.append("ready")
load = app.load_the_rest

def loaded(config):
    load(config)
    print(*told, *filter(sys.modules.get, sys.modules), flush=True)
    os._exit(0)

app.load_the_rest = loaded
main(["--config", sys.argv[1], "serve"])
"""
# What is imported later, or never, and by what.
_BY_OTHERS = {
    "relay.record.reading": "a start on a terminal, before it is ready",
    "relay.observation": "a start with http, before it is ready",
    "relay.web.counters": "a start with http, before it is ready",
    "relay.web.server": "a start with http, before it is ready",
}


def configured(folder: Path, **more: Any) -> Path:
    upstream = {"provider": "sendgrid", "host": "127.0.0.1", "port": free_port(), "password": "x"}
    default = {"upstream": "mail"}
    config = folder / "config.yaml"
    config.write_text(
        relay_config(folder, free_port(), {"mail": upstream}, default=default, **more)
    )
    return config


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    config = configured(tmp_path_factory.mktemp("start"))
    command = [sys.executable, "-P", "-c", _UNTIL_READY, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = [line for line in done.stdout.splitlines() if line.startswith("ready ")]
    assert said, done.stderr
    _, collects, *modules = said[0].split()
    assert collects == "False", "what a start makes is there to stay"
    return modules


@pytest.mark.parametrize("module", NOT_NEEDED)
def test_nothing_is_imported_that_a_plain_start_has_no_need_of(module: str, imported: list[str]):
    assert module not in imported


def test_not_much_is_imported_at_all(imported: list[str]):
    assert len(imported) <= MOST_MODULES, sorted(imported)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of a relay that has been ready for a moment."""
    config = configured(
        tmp_path_factory.mktemp("loaded"),
        alerts={"webhook": "https://hooks.example/relay"},
        clients={"users": {"crm": {"password_hash": PasswordHasher(1, 8, 1).hash("x")}}},
    )
    command = [sys.executable, "-P", "-c", _UNTIL_ALL_IS_LOADED, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = [line for line in done.stdout.splitlines() if line.startswith("ready ")]
    assert said, done.stderr
    return set(said[0].split())


def test_nothing_of_ours_is_imported_when_an_upgrade_may_have_replaced_it(loaded: set[str]):
    """A DSN or an alert was lost, where the process of before took another release's module."""
    ours = {name for name in loaded if name.startswith("relay.") and "relay.cli" not in name}
    late = {name: sorted(imported_within(name) - loaded - _BY_OTHERS.keys()) for name in ours}
    assert {name: modules for name, modules in late.items() if modules} == {}


def imported_within(module: str) -> set[str]:
    """What its functions import of ours."""
    file = importlib.util.find_spec(module).origin
    tree = ast.parse(Path(file).read_text())
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function)]
    named = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name for name in named if name and name.startswith("relay.")}


@pytest.mark.parametrize("module", ["aiohttp", "argon2"])
def test_a_library_that_the_configuration_needs_is_there_too(module: str, loaded: set[str]):
    assert module in loaded


def test_a_damaged_store_is_refused_before_any_mail_is_taken(tmp_path: Path):
    """It is looked at while the rest is imported, and nobody is told 250 before it is sound."""
    config = configured(tmp_path)
    (tmp_path / "relay.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    command = [sys.executable, "-m", "relay", "--config", str(config), "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78, "systemd would try again, which mends nothing"
    assert "relay.db is damaged" in done.stderr
    assert "relay.started" not in done.stdout


@pytest.mark.parametrize("words", [["serve"], ["--config=FILE", "serve"], ["serve", "--help"]])
def test_the_service_s_words_mean_what_they_mean_to_the_parser(words: list[str], tmp_path: Path):
    """No configuration is status 78 by either way."""
    missing = str(tmp_path / "absent.yaml")
    command = [sys.executable, "-m", "relay", *(word.replace("FILE", missing) for word in words)]
    environment = {"RELAY_CONFIG": missing}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    if words[-1] == "--help":
        assert (done.returncode, "Run in the foreground" in done.stdout) == (0, True)
    else:
        assert done.returncode == 78
        assert "absent.yaml" in done.stderr


def test_a_store_s_directory_that_is_missing_is_made_for_its_group(tmp_path: Path):
    """The lock beside the store was asked for first, and said that there was no such file."""
    config = configured(tmp_path)
    config.write_text(
        config.read_text().replace(f"{tmp_path}/relay.db", f"{tmp_path}/new/relay.db")
    )
    command = [sys.executable, "-P", "-c", _UNTIL_READY, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "ready " in done.stdout, done.stderr
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o2770
