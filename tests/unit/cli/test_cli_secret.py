"""Keys are made once, and secrets sealed for one setting; neither is ever an argument."""

import fcntl
import io
import os
import pty
import re
import select
import stat
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import RELAY
from support.verbs import Done, Relay, command_line

from relay.config import load
from relay.config.sealing import KeyFile

CONFIG = """\
secrets: {{key_file: {folder}/secret.key}}
clients: {{users: {{crm: {{}}}}}}
upstreams: {{acme.eu: {{provider: sendgrid}}, other: {{}}}}
"""
SETTING = "upstreams.acme.eu.password"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """Not sound yet: what is to be sealed is what it lacks."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


@pytest.fixture
def relay(config_file: Path, capsys: pytest.CaptureFixture[str]) -> Relay:
    return command_line(config_file, capsys)


@pytest.fixture
def seal(config_file: Path) -> Callable[..., Done]:
    def run(octets: bytes, setting: str = SETTING) -> Done:
        command = [str(RELAY), "--config", str(config_file), "secret", "seal", setting]
        done = subprocess.run(command, input=octets, capture_output=True, timeout=60)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def test_a_key_file_is_made_for_its_owner(relay: Relay, tmp_path: Path) -> None:
    done = relay("secret", "keygen")
    path = tmp_path / "secret.key"
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{path} is made: mode 06")
    assert "relay" in done.out.splitlines()[0]  # the group that needs it
    assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o640)
    line = path.read_text().splitlines()[1]
    assert line not in done.out
    KeyFile(path).check()


def test_with_the_services_group_it_may_read_the_key(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Path, str]] = []
    monkeypatch.setattr("shutil.chown", lambda path, group: given.append((path, group)))
    done = relay("secret", "keygen")
    path = tmp_path / "secret.key"
    assert given == [(path, "relay")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "mode 0640, group relay" in done.out


def test_a_key_file_is_never_overwritten(relay: Relay, tmp_path: Path) -> None:
    relay("secret", "keygen")
    before = (tmp_path / "secret.key").read_bytes()
    done = relay("secret", "keygen")
    assert (done.status, done.out) == (1, "")
    assert "is there already and is left as it is" in done.err
    assert (tmp_path / "secret.key").read_bytes() == before
    (tmp_path / "link").symlink_to("elsewhere")
    assert relay("secret", "keygen", str(tmp_path / "link")).status == 1
    assert not (tmp_path / "elsewhere").exists()


def test_keys_are_changed_as_the_help_says(relay: Relay, tmp_path: Path) -> None:
    relay("secret", "keygen")
    old = KeyFile(tmp_path / "secret.key").seal(SETTING, "s3cret")
    assert relay("secret", "keygen", str(tmp_path / "new.key")).status == 0
    both = (tmp_path / "new.key").read_bytes() + (tmp_path / "secret.key").read_bytes()
    (tmp_path / "secret.key").write_bytes(both)
    keys = KeyFile(tmp_path / "secret.key")
    assert keys.open(SETTING, old) == "s3cret"
    assert not keys.seals_with(old)


def test_without_a_place_for_it_the_directory_is_named(relay: Relay, tmp_path: Path) -> None:
    done = relay("secret", "keygen", str(tmp_path / "none" / "key"))
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert f"there is no directory {tmp_path}/none" in done.err


def test_for_programs_there_is_a_row_and_no_key(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.key"
    done = relay("secret", "keygen", "--json")
    [row] = done.rows
    assert row["path"] == str(path)
    assert row["mode"] == f"{stat.S_IMODE(path.stat().st_mode):04o}"
    assert path.read_text().splitlines()[1] not in done.out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"s3cret\n")))
    [row] = relay("secret", "seal", SETTING, "--json").rows
    assert row["setting"] == SETTING
    assert KeyFile(path).open(SETTING, row["sealed"]) == "s3cret"


def test_what_is_sealed_is_all_that_is_printed(
    relay: Relay, seal: Callable[..., Done], tmp_path: Path
) -> None:
    relay("secret", "keygen")
    done = seal(b"s3cret\n")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"sealed:[A-Za-z0-9_-]+\n", done.out)
    assert KeyFile(tmp_path / "secret.key").open(SETTING, done.out.strip()) == "s3cret"


def test_it_can_be_pasted(
    relay: Relay, seal: Callable[..., Done], tmp_path: Path, config_file: Path
) -> None:
    relay("secret", "keygen")
    text = seal(b"s3cret").out.strip()
    config_file.write_text(
        f"secrets: {{key_file: {tmp_path}/secret.key}}\n"
        f"upstreams:\n  acme.eu:\n    provider: sendgrid\n    password: {text}\n"
        "default: {upstream: acme.eu}\n"
    )
    password = load(config_file, {}).upstreams["acme.eu"].password
    assert password is not None
    assert password.reveal() == "s3cret"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("upstreams.acme.eu.pasword", 'did you mean "upstreams.acme.eu.password"?'),
        ("upstreams.acme.password", 'did you mean "upstreams.acme.eu.password"?'),
        ("upstreams.acme.eu.port", "no secret setting named"),
        ("alert.webhook", 'did you mean "alerts.webhook"?'),
        ("", "no secret setting named"),
    ],
)
def test_a_setting_that_is_no_secret_is_told(
    relay: Relay, seal: Callable[..., Done], setting: str, said: str
) -> None:
    relay("secret", "keygen")
    done = seal(b"s3cret", setting)
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("octets", "setting", "said"),
    [
        (b"", SETTING, "it is empty"),
        (b"\n", SETTING, "it is empty"),
        (b"s3cret\ns3cret\n", SETTING, "has a line break"),
        (b"s3cret\0", SETTING, "control character"),
        (b"s3cret\xff", SETTING, "not text in UTF-8"),
        (b"s3cret", "clients.users.crm.password_hash", "this is no argon2 hash"),
    ],
)
def test_what_could_not_be_used_is_not_sealed(
    relay: Relay, seal: Callable[..., Done], octets: bytes, setting: str, said: str
) -> None:
    relay("secret", "keygen")
    done = seal(octets, setting)
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert "s3cret" not in done.err


def test_without_a_key_it_says_how_one_is_made(seal: Callable[..., Done]) -> None:
    done = seal(b"s3cret")
    assert (done.status, done.out) == (1, "")
    assert "make one with relay secret keygen" in done.err


def test_a_secret_is_no_argument(relay: Relay) -> None:
    assert relay("secret", "seal", SETTING, "s3cret").status == 2


def on_a_terminal(config_file: Path, typed: list[bytes]) -> tuple[int, bytes, bytes]:
    """Status, standard output and what the terminal showed."""
    control, terminal = pty.openpty()

    def take_the_terminal() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [str(RELAY), "--config", str(config_file), "secret", "seal", SETTING],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=take_the_terminal,
        pass_fds=[terminal],
    )
    os.close(terminal)
    seen = b""
    try:
        for line in typed:
            seen += _prompt(control)
            os.write(control, line + b"\n")
        out, _ = process.communicate(timeout=30)
        seen += _rest(control)
    finally:
        process.kill()
        process.communicate()
        os.close(control)
    return process.returncode, out, seen


def _prompt(control: int) -> bytes:
    """What is shown until an answer is waited for; echo is off by then."""
    seen = b""
    while not seen.endswith(b": "):
        ready, _, _ = select.select([control], [], [], 30)
        assert ready, seen
        seen += os.read(control, 4096)
    return seen


def _rest(control: int) -> bytes:
    """EIO is how a terminal says that nobody is left on it."""
    try:
        return os.read(control, 4096)
    except OSError:
        return b""


def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(
    relay: Relay, config_file: Path, tmp_path: Path
) -> None:
    relay("secret", "keygen")
    status, out, seen = on_a_terminal(config_file, [b"s3cret", b"s3cret"])
    assert status == 0, seen
    assert KeyFile(tmp_path / "secret.key").open(SETTING, out.decode().strip()) == "s3cret"
    assert SETTING.encode() in seen
    assert b"s3cret" not in seen


def test_two_that_differ_are_asked_for_again(
    relay: Relay, config_file: Path, tmp_path: Path
) -> None:
    relay("secret", "keygen")
    status, out, seen = on_a_terminal(config_file, [b"s3cret", b"secret", b"s3cret", b"s3cret"])
    assert status == 0, seen
    assert KeyFile(tmp_path / "secret.key").open(SETTING, out.decode().strip()) == "s3cret"
    assert b"s3cret" not in seen
