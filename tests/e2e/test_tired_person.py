"""The wrong input of a tired person: one clear line on standard error, the right status, and never
a traceback. Every verb is here.
"""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.configs import relay_config
from support.need import need, need_root
from support.ports import free_port
from support.program import RELAY, Program
from support.verbs import Done, Relay, command_line
from typer.main import get_command

from relay.cli import program

UNKNOWN_ID = "0C5Q2J7XKM3ZA"
NOBODY = 65534


def site_config(folder: Path, port: int) -> str:
    (folder / "key").write_text("it is secret")
    (folder / "key").chmod(0o600)
    return relay_config(
        folder,
        port,
        upstreams={
            "acme-mail": {
                "host": "127.0.0.1",
                "port": free_port(),
                "username": "acme",
                "password": f"file:{folder}/key",
            },
            "platform": {"host": "127.0.0.1", "port": free_port(), "tls": "none"},
        },
        tenants={"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}},
        default={"upstream": "platform", "from": "Platform <noreply@platform.example>"},
    )


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a relay that has served once."""
    folder = tmp_path_factory.mktemp("used")
    port = free_port()
    with Program(folder, site_config(folder, port), port) as relay:
        relay.stop()
        relay.start()
    store = folder / "relay.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


@pytest.fixture
def folder(used: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    for file in ("config.yaml", "relay.db", "key"):
        shutil.copy2(used / file, tmp_path / file)
    text = (tmp_path / "config.yaml").read_text().replace(str(used), str(tmp_path))
    (tmp_path / "config.yaml").write_text(text)
    return tmp_path


def in_words(done: Done | subprocess.CompletedProcess[str]) -> str:
    """The one line that it told; usage, which typer prints above it, left out."""
    status = done.status if isinstance(done, Done) else done.returncode
    errors = done.err if isinstance(done, Done) else done.stderr
    assert status in (1, 2, 78), errors
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line and not _about_usage(line)]
    assert len(lines) == 1, errors
    assert status != 1 or lines[0].startswith("relay: "), lines
    return lines[0]


def _about_usage(line: str) -> bool:
    return line.startswith(("Usage: relay", "Try 'relay"))


# -- what is misspelt, missing, or not there

MISTAKES = [
    # tenants
    (1, "tenant show acne", 'no tenant named "acne"; did you mean "acme"?'),
    (1, "tenant disable acne --reason x", 'did you mean "acme"?'),
    (2, "tenant disable acme", "--reason"),
    (2, "tenant disable acme --reason ''", "say why"),
    (2, "tenant disable acme --reason x --for tomorrow", '"tomorrow" is no duration'),
    (1, "tenant enable acne --reason x", 'did you mean "acme"?'),
    (1, "tenant reset acne --reason x", 'did you mean "acme"?'),
    (2, "tenant list extra", "extra"),
    # upstreams
    (1, "upstream pause acme-male --reason x", 'did you mean "acme-mail"?'),
    (2, "upstream pause acme-mail", "--reason"),
    (2, "upstream pause acme-mail --reason x --for 2", "write 2s for seconds"),
    (2, "upstream pause acme-mail --reason x --for -2h", "is no duration"),
    (1, "upstream resume acme-male", 'did you mean "acme-mail"?'),
    (2, "upstream list --jsn", "--json"),
    # messages
    (1, "queue list --tenant acne", 'did you mean "acme"?'),
    (2, "queue show 12", '"12" is no queue id'),
    (1, f"queue show {UNKNOWN_ID}", f"no message {UNKNOWN_ID}"),
    (1, f"queue retry {UNKNOWN_ID}", f"relay audit --queue-id {UNKNOWN_ID}"),
    (2, "queue retry", "name queue ids"),
    (2, "queue retry --all --tenant acme", "name queue ids"),
    (1, "queue retry --tenant acne", 'did you mean "acme"?'),
    (2, "queue retry --cause expird", 'did you mean "expired"?'),
    (1, f"queue drop {UNKNOWN_ID}", f"no message {UNKNOWN_ID}"),
    (2, "queue drop", "QUEUE_ID"),
    (1, "dead list --tenant acne", 'did you mean "acme"?'),
    (2, "dead list --cause expird", 'did you mean "expired"?'),
    (1, f"dead show {UNKNOWN_ID}", f"no message {UNKNOWN_ID}"),
    (1, f"dead retry {UNKNOWN_ID}", f"no message {UNKNOWN_ID}"),
    (1, "dead retry --tenant acne", 'did you mean "acme"?'),
    (1, f"dead export {UNKNOWN_ID} --to /nowhere/x.eml", f"no message {UNKNOWN_ID}"),
    (2, f"dead export {UNKNOWN_ID} --json", "say --to"),
    (1, f"dead drop {UNKNOWN_ID}", f"no message {UNKNOWN_ID}"),
    # suppressions
    (2, "suppress add nonsense --reason x", "it has no @"),
    (2, "suppress add a@b.example", "--reason"),
    (1, "suppress add a@b.example --tenant acne --reason x", 'did you mean "acme"?'),
    (1, "suppress remove a@b.example", "is not suppressed"),
    (1, "suppress list --tenant acne", 'did you mean "acme"?'),
    (1, "suppress import absent.csv", "absent.csv: No such file"),
    (1, "suppress import .", "Is a directory"),
    (2, "suppress import x.csv --format sendgird", 'did you mean "sendgrid"?'),
    (1, "suppress export config.yaml", "config.yaml is there already"),
    (1, "suppress export /nowhere/x.csv", "/nowhere/x.csv: No such file"),
    # the trail
    (2, "audit --since yesterday", '"yesterday" is no duration'),
    (2, "audit --since 24", "needs a unit"),
    (2, "audit --until 2025-13-41", "--until"),
    (2, "audit --event email.snet", 'did you mean "email.sent"?'),
    (1, "audit --tenant acne", 'did you mean "acme"?'),
    (1, "audit --upstream acme-male", 'did you mean "acme-mail"?'),
    (2, "audit --queue-id 12", "is no queue id"),
    (2, "audit --follow --until 1h", "no end"),
    # configuration
    (1, "check --connect acme-male", 'did you mean "acme-mail"?'),
    (2, "check --config x", "stands before the verb"),
    (1, "config show tenants.acne", "tenants.acne"),
    (2, "config inventory --json --markdown", "one or the other"),
    (2, "config schema extra", "extra"),
    (1, "providers sendgird", 'did you mean "sendgrid"?'),
    (1, "reload", "no relay is running"),
    (2, "secret seal", "SETTING"),
    (1, "secret seal upstreams.acme-male.password", "acme-mail.password"),
    (1, "secret keygen /nowhere/key", "/nowhere"),
    # tries and rehearsals
    (2, "route", "SENDER"),
    (2, "route nonsense", "it has no @"),
    (2, "route 'a b@c.example'", "not exactly one mail address"),
    (1, "test acne --to a@b.example", 'did you mean "acme"?'),
    (2, "test acme --to nonsense", "nonsense"),
    (2, "test acme", "--to"),
    (1, "doctor acne", 'did you mean "acme"?'),
    (1, "drill acne", 'did you mean "acme"?'),
    (2, "status extra", "--watch"),
    (1, "health", "http is not set"),
    (2, "demo extra", "extra"),
    (2, "serve extra", "extra"),
    (2, "completion tcsh", "bash, zsh, fish"),
    # verbs
    (2, "tenat list", 'did you mean "tenant"?'),
    (2, "disable acme", 'did you mean "tenant disable"?'),
]


@pytest.mark.parametrize(
    ("status", "line", "told"), MISTAKES, ids=[line for _, line, _ in MISTAKES]
)
def test_a_mistake_gets_one_clear_line(
    status: int,
    line: str,
    told: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(folder)
    done = command_line(folder / "config.yaml", capsys)(*shlex.split(line))
    assert told in in_words(done)
    assert done.status == status


def verbs() -> Iterator[str]:
    for name, verb in get_command(program()).commands.items():
        if not verb.hidden:
            children = getattr(verb, "commands", None)
            yield from (f"{name} {child}" for child in children) if children else (name,)


def test_every_verb_is_tried():
    tried = {" ".join(line.split()[:2]) for _, line, _ in MISTAKES}
    tried |= {line.split()[0] for _, line, _ in MISTAKES}
    assert set(verbs()) <= tried


# -- the configuration, the store

# What each verb needs beside its name; those that read no configuration are left out.
COMPLETE = {
    "check": "",
    "route": "shop@acme.example",
    "test": "acme --to a@b.example",
    "doctor": "acme",
    "drill": "acme",
    "status": "",
    "health": "",
    "queue list": "",
    "queue show": UNKNOWN_ID,
    "queue retry": "--all",
    "queue drop": UNKNOWN_ID,
    "dead list": "",
    "dead show": UNKNOWN_ID,
    "dead retry": "--all",
    "dead export": UNKNOWN_ID,
    "dead drop": UNKNOWN_ID,
    "tenant list": "",
    "tenant show": "acme",
    "tenant disable": "acme --reason x",
    "tenant enable": "acme --reason x",
    "tenant reset": "acme --reason x",
    "upstream list": "",
    "upstream pause": "acme-mail --reason x",
    "upstream resume": "acme-mail",
    "suppress list": "",
    "suppress add": "a@b.example --reason x",
    "suppress remove": "a@b.example",
    "suppress export": "",
    "audit": "",
    "config show": "",
    "config inventory": "",
}
# They have no use for a store, or say what they can without.
_WITHOUT_STORE = ("check", "doctor", "drill", "health", "config show")
OF_THE_STORE = {verb: rest for verb, rest in COMPLETE.items() if verb not in _WITHOUT_STORE}


@pytest.fixture
def relay(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Relay:
    monkeypatch.chdir(folder)
    return command_line(folder / "config.yaml", capsys)


@pytest.mark.parametrize(
    ("verb", "what"),
    [(verb, "absent") for verb in (*COMPLETE, "serve")]
    + [("queue list", what) for what in ("a directory", "no YAML", "a circle")],
)
def test_a_configuration_that_can_not_be_used(verb: str, what: str, relay: Relay, folder: Path):
    file = folder / "config.yaml"
    file.unlink()
    if what == "a directory":
        file.mkdir()
    elif what == "no YAML":
        file.write_text("upstreams: [\n")
    elif what == "a circle":
        file.symlink_to("config.yaml")
    done = relay(*shlex.split(f"{verb} {COMPLETE.get(verb, '')}"))
    assert str(file) in in_words(done)
    assert done.status == 78


@pytest.mark.parametrize(
    ("verb", "what"),
    [(verb, "spoilt") for verb in OF_THE_STORE]
    + [("queue list", what) for what in ("empty", "a directory", "a text", "of another")],
)
def test_a_store_that_can_not_be_used(verb: str, what: str, relay: Relay, folder: Path):
    store = folder / "relay.db"
    octets = store.read_bytes()
    store.unlink()
    if what == "a directory":
        store.mkdir()
    elif what == "of another":
        with closing(sqlite3.connect(store)) as connection:
            connection.execute("CREATE TABLE thing (id)")
    else:
        spoilt = octets[:100] + b"\xff" * (len(octets) - 100)
        store.write_bytes({"empty": b"", "a text": b"Dear store,\n" * 99, "spoilt": spoilt}[what])
    done = relay(*shlex.split(f"{verb} {OF_THE_STORE[verb]}"))
    assert str(store) in in_words(done)
    assert done.status == 1


def test_a_store_that_another_keeps_locked(
    relay: Relay, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.queue.sqlite.connecting._BUSY_S", 0.2)
    with closing(sqlite3.connect(folder / "relay.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        told = in_words(relay("tenant", "disable", "acme", "--reason", "x"))
    assert "another process keeps it locked" in told


def test_a_reload_to_another_store(relay: Relay, folder: Path):
    """The relay that runs is found by the store, and is not asked."""
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("/relay.db", "/other.db"))
    done = relay("reload")
    told = in_words(done)
    assert (done.status, done.out) == (78, "")
    assert f"no relay serves {folder}/other.db" in told
    assert "needs a restart" in told


def test_before_the_first_start_there_is_no_store(relay: Relay, folder: Path):
    (folder / "relay.db").unlink()
    assert "has `relay serve` run?" in in_words(relay("queue", "list"))


# -- rights, pipes and terminals


def as_nobody(folder: Path, verb: str) -> subprocess.CompletedProcess[str]:
    need_root()
    setpriv = (need("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return subprocess.run(
        [*setpriv, RELAY, "--config", folder / "config.yaml", *shlex.split(verb)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )


@pytest.fixture
def open_folder(folder: Path) -> Iterator[Path]:
    """Everybody may come here, as to /etc/relay; pytest closes its own folders to others."""
    with tempfile.TemporaryDirectory() as path:
        shutil.copytree(folder, path, dirs_exist_ok=True)
        opened = Path(path)
        opened.chmod(0o755)
        text = (folder / "config.yaml").read_text().replace(str(folder), path)
        (opened / "config.yaml").write_text(text)
        yield opened


@pytest.mark.parametrize(
    "verb", ["queue list", "audit", "status", "tenant disable acme --reason x", "config inventory"]
)
def test_a_store_of_another_user(verb: str, open_folder: Path):
    (open_folder / "config.yaml").chmod(0o644)
    (open_folder / "key").chmod(0o644)
    (open_folder / "relay.db").chmod(0o600)
    told = in_words(as_nobody(open_folder, verb))
    assert f"{open_folder}/relay.db is closed to" in told
    assert "belongs to group" in told


@pytest.mark.parametrize("verb", ["check", "queue list", "serve", "reload"])
def test_a_configuration_of_another_user(verb: str, open_folder: Path):
    (open_folder / "config.yaml").chmod(0o600)
    done = as_nobody(open_folder, verb)
    assert done.returncode == 78
    assert re.search("config.yaml: .*(root|group|permission)", in_words(done))


def test_a_reload_where_the_lock_is_closed(open_folder: Path):
    """Whether a relay runs can't be seen: that is told, and is not "no relay is running"."""
    (open_folder / "config.yaml").chmod(0o644)
    (open_folder / "key").chmod(0o644)
    (open_folder / "relay.db").chmod(0o666)
    open_folder.chmod(0o777)
    (open_folder / "relay.db.lock").touch(0o600)
    told = in_words(as_nobody(open_folder, "reload"))
    assert "relay.db.lock is closed to" in told


def run(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line for the shell, in which ``relay`` is ours with its configuration."""
    relay = f"'{RELAY}' --config '{folder}/config.yaml'"
    return subprocess.run(
        ["bash", "-c", f'relay() {{ {relay} "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "verb", ["audit", "audit --json", "config inventory --markdown", "config show"]
)
def test_a_reader_that_has_seen_enough(verb: str, folder: Path):
    done = run(folder, f"relay {verb} | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("verb", ["tenant list", "audit", "status", "config inventory"])
def test_a_standard_output_that_is_closed_or_full(verb: str, folder: Path):
    closed = run(folder, f"relay {verb} >&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    full = run(folder, f"relay {verb} > /dev/full")
    assert in_words(full) == "relay: standard output: No space left on device"


def test_a_standard_input_that_is_closed(folder: Path):
    done = run(folder, "relay suppress import - <&-")
    assert in_words(done) == "relay: standard input: Bad file descriptor"


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"TERM": "", "NO_COLOR": "1", "COLUMNS": "1"},
        {"TERM": "nonsense", "LANG": "xx_YY.UTF-8"},
    ],
    ids=["LANG=C", "no TERM", "nonsense"],
)
def test_whatever_the_terminal_is(environment: dict[str, str], folder: Path):
    reason = "ü — привет ✓"
    done = run(folder, f"relay tenant disable acme --reason '{reason}'", **environment)
    assert "Traceback" not in done.stderr
    for verb in ("audit", "config inventory --markdown"):
        shown = run(folder, f"relay {verb}", **environment)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "\x1b" not in shown.stdout
