"""The Debian package, in a Debian that is a mere folder and in one that systemd has booted: it is
installed, upgraded, removed and purged, and what it says on the way is true."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support import package
from support.booted import Booted
from support.debian import debian_with_source, within
from support.need import need, need_root
from support.package import CONFIG, CONFIGURATION, Premises

# The first test makes Debian in a folder, unless it is there from a former run.
pytestmark = pytest.mark.timeout(600)

_SUPPORT = Path(__file__).parents[1] / "support"
_PLAYS = Path(__file__).parent / "within"
_USER = {"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"}
# What dpkg and its like write of themselves.
_NOTES = ("/var/lib/dpkg", "/var/cache", "/var/log", "/run", "/tmp", "/etc/.pwd.lock")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian in a folder, with the packages in it, and nothing installed."""
    need_root()
    folder = tmp_path_factory.mktemp("package")
    root = debian_with_source(folder)
    # Each file synced would be most of the time.
    (root / "etc/dpkg/dpkg.cfg.d/unsafe").write_text("force-unsafe-io\n")
    wheels = root / "srv/wheels"
    with ThreadPoolExecutor(2) as pool:
        built = pool.map(lambda revision: package.build(folder, revision, wheels), (1, 2))
        for file, name in zip(built, ("first.deb", "second.deb"), strict=True):
            shutil.move(file, root / "srv" / name)
    shutil.move(package.other_agent(folder), root / "srv/agent.deb")
    yield root
    shutil.rmtree(root)  # 300 MB, of which pytest would keep three


@pytest.fixture(scope="module")
def premises(root: Path) -> Iterator[Premises]:
    need("systemd-nspawn")
    (root / "srv/within").mkdir()
    for file in (_SUPPORT / "upstream.py", *_PLAYS.glob("*.py")):
        shutil.copy(file, root / "srv/within")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    with Booted(root, root.parent / "console") as machine:
        machine.run("useradd", "app")
        machine.run(
            "systemd-run", "--unit=upstream", "python3", "/srv/within/receive.py", "/srv/received"
        )
        yield Premises(machine)


def files(root: Path) -> set[str]:
    """All that there is, but for notes."""
    found = {f"/{path.relative_to(root)}" for path in root.rglob("*")}
    return {path for path in found if not path.startswith(_NOTES)}


def new(root: Path, before: set[str]) -> set[str]:
    """What is there beside ``before``; the user database keeps a copy of its former self."""
    return {path for path in files(root) - before if path.removesuffix("-") not in _USER}


def test_without_systemd_it_is_installed_removed_and_purged(root):
    before = files(root)
    told = within(root, "dpkg", "--install", "/srv/first.deb")
    assert "systemctl enable --now relay.service" in told
    assert within(root, "relay", "--version").startswith("relay ")
    modes = within(root, "stat", "--format=%a %U %G", "/etc/relay", CONFIG, "/var/lib/relay")
    assert modes.splitlines() == ["750 root relay", "640 root relay", "2770 relay relay"]
    assert "configuration OK" in within(root, "relay", "check")

    within(root, "dpkg", "--remove", "relay")
    left = new(root, before)
    kept = {"/etc/relay", "/etc/relay/credentials", "/etc/relay/secrets", CONFIG, "/var/lib/relay"}
    assert {path for path in left if "deb-systemd-helper" not in path} == kept

    within(root, "dpkg", "--purge", "relay")
    assert new(root, before) == set()
    assert files(root) >= before
    assert "relay" in within(root, "id", "relay")


def test_removal_follows_no_link_that_the_group_has_laid(root):
    """It wrote its note through one, as root, and a purge printed what it led to."""
    within(root, "dpkg", "--install", "/srv/first.deb")
    precious, state = root / "srv/precious", root / "var/lib/relay"
    precious.write_text("root's alone\n")
    (state / "undelivered").symlink_to("/srv/precious")
    (state / "relay.db").write_text("no store\n")
    told = within(root, "dpkg", "--remove", "relay")
    assert "/var/lib/relay keeps what is in the store (relay status fails)." in told
    assert precious.read_text() == "root's alone\n"
    told = within(root, "dpkg", "--purge", "relay")
    assert "/var/lib/relay keeps what is in the store" in told
    assert "root's alone" not in told
    assert (state / "relay.db").exists()
    assert not (root / "var/lib/relay.undelivered").exists()
    shutil.rmtree(state)


def test_removal_tells_of_the_store_where_it_lies_and_never_fails_for_it(root):
    within(root, "dpkg", "--install", "/srv/first.deb")
    shutil.rmtree(root / "var/lib/relay")
    (root / "srv/elsewhere").mkdir()
    (root / "srv/elsewhere/relay.db").write_text("no store\n")
    with (root / CONFIG.lstrip("/")).open("a") as config:
        config.write("store: sqlite:///srv/elsewhere/relay.db\n")
    told = within(root, "/var/lib/dpkg/info/relay.prerm", "remove")
    assert "relay: /srv/elsewhere keeps what is in the store" in told
    assert "/var/lib/relay" not in told
    # What a former configuration has left behind, where no note can be made of it.
    (root / "var/lib/relay").mkdir()
    (root / "var/lib/relay/relay.db").write_text("no store\n")
    (root / "var/lib/relay.undelivered").mkdir()
    told = within(root, "/var/lib/dpkg/info/relay.prerm", "remove")
    assert "relay: /srv/elsewhere keeps" in told
    assert "relay: /var/lib/relay keeps" in told
    assert "a purge would remove that mail" in told
    (root / "var/lib/relay.undelivered").rmdir()
    within(root, "dpkg", "--purge", "relay")
    assert (root / "srv/elsewhere/relay.db").exists()
    shutil.rmtree(root / "var/lib/relay")


def test_two_builds_of_one_source_are_the_same(root):
    """But for the version."""
    first, second = (content(root / "srv" / name) for name in ("first.deb", "second.deb"))
    changed = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
    assert changed == {"./usr/share/doc/relay/changelog.Debian.gz"}


def content(deb: Path) -> dict[str, tuple[int, int, str, bytes]]:
    """Of each file the mode, the time, where it links to and what is in it."""
    packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            octets = file.read() if file else b""
            found[member.name] = (member.mode, int(member.mtime), member.linkname, octets)
        return found


def test_unconfigured_it_starts_nothing_and_says_what_is_to_do(premises):
    premises.absent()
    told = premises.install(premises.first)
    assert f"{CONFIG} names no server yet" in told
    assert "relay check --connect" in told
    assert "systemctl enable --now relay.service" in told
    machine = premises.machine
    for unit in ("relay.socket", "relay.service"):
        assert machine.shown(unit, "ActiveState") == "inactive"
        assert machine.shown(unit, "UnitFileState") == "disabled"
    # And then as it says, but that the first connection starts it.
    premises.configure()
    machine.run("relay", "check", "--connect")
    machine.run("systemctl", "enable", "relay.service")
    machine.run("systemctl", "start", "relay.socket")
    assert not premises.is_active("relay.service")
    premises.send("by sendmail")
    machine.run("python3", "/srv/within/send.py", "127.0.0.1", "by port 25", user="app")
    premises.wait_for("by sendmail")
    premises.wait_for("by port 25")


def test_other_programs_find_their_mail_transport_agent(premises):
    premises.running()
    machine = premises.machine
    for program in ("/usr/sbin/sendmail", "/usr/lib/sendmail"):
        assert "usage: relay-sendmail" in machine.output(program, "--help")
    assert machine.output("newaliases") == ""
    premises.pause()
    premises.send("seen by mailq")
    assert "app@acme.example" in machine.output("mailq")
    premises.resume()
    premises.wait_for("seen by mailq")


def test_an_upgrade_refuses_nobody_and_keeps_queue_and_configuration(premises):
    premises.running()
    premises.pause()
    premises.send("waits through the upgrade")
    edited = CONFIGURATION + "# edited\n"
    premises.configure(edited)
    process, version = premises.main_process(), premises.version()

    with sending(premises) as taken:
        premises.machine.wait_until(lambda: len(premises.waiting()) > 5, "sending")
        premises.install(premises.second)
    assert premises.version() != version
    assert premises.main_process() not in (process, "0")
    assert (premises.machine.root / CONFIG.lstrip("/")).read_text() == edited
    assert len(premises.waiting()) == len(taken) + 1
    premises.resume()
    premises.wait_for("waits through the upgrade")
    premises.machine.wait_until(lambda: set(taken) <= set(premises.received), "all relayed")


@contextmanager
def sending(premises: Premises) -> Iterator[list[str]]:
    """Meanwhile applications send; what was taken of it is in the list at the end. A refusal is an
    error."""
    machine, taken = premises.machine, []
    enough = machine.root / "srv/enough"
    enough.unlink(missing_ok=True)

    def send() -> None:
        play = ("python3", "/srv/within/send_all_the_time.py", "/srv/enough")
        leisurely = {"CLIENTS": "2", "PAUSE_S": "0.05"}
        taken.extend(machine.run(*play, user="app", environment=leisurely).stdout.split())

    with ThreadPoolExecutor(1) as pool:
        clients = pool.submit(send)
        try:
            yield taken
        finally:
            enough.touch()
        clients.result(60)
    assert taken


def test_with_a_mistake_in_the_configuration_the_relay_of_before_goes_on(premises):
    premises.running()
    before = premises.main_process()
    premises.configure(CONFIGURATION.replace("platform:", "plattform:", 1))
    told = premises.configured_again()
    assert "the configuration can't be used" in told
    assert "systemctl restart relay.service" in told
    assert premises.main_process() == before
    premises.send("by the process of before")
    premises.wait_for("by the process of before")
    premises.configure()
    premises.configured_again()
    assert premises.main_process() not in (before, "0")


def test_a_downgrade_below_the_store_leaves_the_relay_running(premises):
    """A store of a newer schema is what an older relay finds, and its number is all that counts."""
    premises.running()
    before = premises.main_process()
    raise_schema(premises, by=1)
    told = premises.configured_again()
    raise_schema(premises, by=-1)
    assert "was made by a newer relay" in told
    assert premises.main_process() == before


def raise_schema(premises: Premises, by: int) -> None:
    premises.machine.run(
        "python3", "-c",
        "import sqlite3; db = sqlite3.connect('/var/lib/relay/relay.db'); "
        "(version,) = db.execute('PRAGMA user_version').fetchone(); "
        f"db.execute(f'PRAGMA user_version = {{version + {by}}}')",
    )  # fmt: skip


def test_what_the_administrator_has_switched_off_stays_off(premises):
    premises.running()
    machine = premises.machine
    units = ("relay.socket", "relay.service")
    for off, on, state in (("disable", "enable", "disabled"), ("mask", "unmask", "masked")):
        machine.run("systemctl", off, "--now", *units)
        premises.configured_again()
        assert [machine.shown(unit, "UnitFileState") for unit in units] == [state] * 2
        assert not any(map(premises.is_active, units))
        machine.run("systemctl", on, *units)
    # Enabled, it is started again, as packages do.
    premises.configured_again()
    assert all(map(premises.is_active, units))


def test_removed_it_keeps_its_mail_which_is_sent_when_it_is_back(premises):
    premises.running()
    machine = premises.machine
    premises.pause()
    premises.send("waits through the removal")
    told = premises.take_instead(premises.agent)
    assert "/var/lib/relay keeps 1 message that waits to be sent" in told
    assert not premises.is_installed()
    assert machine.shown("relay.service", "LoadState") == "not-found"
    assert machine.shown("relay.service", "ActiveState") == "inactive"
    assert (machine.root / CONFIG.lstrip("/")).read_text() == CONFIGURATION
    # Takes the other's place, and goes on by itself, for it was enabled.
    premises.take_instead(premises.first)
    assert premises.is_active("relay.service")
    premises.resume()
    premises.wait_for("waits through the removal")


def test_purged_it_keeps_nothing_but_mail_that_nobody_has_got(premises):
    premises.running()
    premises.pause()
    premises.send("waits through the purge")
    told = premises.purge()
    assert "1 message that waits to be sent" in told
    assert "rm -r /var/lib/relay" in told
    assert not (premises.machine.root / "etc/relay").exists()
    # With its configuration there beforehand, as tools lay it, it starts by itself.
    premises.configure()
    told = premises.install(premises.second)
    assert premises.is_active("relay.service"), told
    assert premises.machine.shown("relay.service", "UnitFileState") == "enabled"
    premises.resume()
    premises.wait_for("waits through the purge")
    assert "keeps" not in premises.purge()
    assert not (premises.machine.root / "var/lib/relay").exists()


def test_who_holds_port_25_is_said_and_keeps_it(premises):
    premises.absent()
    premises.configure()
    machine = premises.machine
    listen = "import socket, time; s = socket.create_server(('', 25)); time.sleep(3600)"
    machine.run("systemd-run", "--unit=other-mail", "python3", "-c", listen)
    machine.wait_until(partial(is_held, premises), "held")
    told = premises.install(premises.first)
    holder = machine.shown("other-mail.service", "MainPID")
    assert f"Port 25 is held by python3 (process {holder}, of other-mail.service)." in told
    assert "systemctl disable --now other-mail.service" in told
    assert "systemctl enable --now relay.service" in told
    assert premises.is_installed()
    assert machine.shown("relay.socket", "UnitFileState") == "disabled"
    assert not premises.is_active("relay.socket")


def is_held(premises: Premises) -> bool:
    connect = "import socket; socket.create_connection(('127.0.0.1', 25))"
    return premises.machine.run("python3", "-c", connect, check=False).returncode == 0
