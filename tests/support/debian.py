"""Debian 12 in a folder, made by debootstrap and kept between runs.

What is kept is the base with the wheels of everything that the relay depends on; each test module
gets a copy with this working copy's source, and ``make install`` in it (with OFFLINE as its
environment) needs no network. To begin anew, remove the folder CACHE.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from support.need import need, need_root

PROJECT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("RELAY_TESTS_CACHE", "/var/tmp/relay-tests"))

_SUITE, _PYTHON = "bookworm", "3.11"
_PACKAGES = ("systemd", "systemd-sysv", "python3", "python3-venv", "make", "ca-certificates")
_GLIBC = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
# As in build-system.requires; pip fetches it for itself when it builds.
_BUILD = ("setuptools>=77",)
_SOURCE = ("relay", "systemd", "docs", "pyproject.toml", "constraints.txt", "Makefile", "README.md",
           "LICENSE", "config.example.yaml")  # fmt: skip
_WHEELS = "/srv/wheels"

SOURCE = "/srv/relay"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": _WHEELS}
STANDARD = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


def debian_with_source(folder: Path) -> Path:
    """A root file system of its own for the caller, with this working copy's files in SOURCE."""
    need_root()
    need("debootstrap")
    root = folder / "root"
    _run("cp", "--archive", "--reflink=auto", str(_base()), str(root))
    source = root / SOURCE.lstrip("/")
    source.mkdir()
    for name in _SOURCE:
        _run("cp", "--recursive", str(PROJECT / name), str(source))
    return root


def within(root: Path, *command: str) -> str:
    """Run a command in a root file system that is not booted; its output."""
    return _run("chroot", str(root), *command, environment=STANDARD | OFFLINE)


def packed(archive: Path) -> Path:
    """The root file system as an archive, without what is there to spare ``make install`` its time;
    returns the folder of the wheels."""
    need_root()
    need("debootstrap")
    left_out = [f"--exclude=.{path}" for path in ("/opt/relay", _WHEELS, "/proc/*", "/sys/*")]
    base = _base()
    _run("tar", "--create", f"--file={archive}", f"--directory={base}", *left_out, ".")
    return base / _WHEELS.lstrip("/")


def _base() -> Path:
    """From the cache, or made now: two or three minutes."""
    base = CACHE / f"debian-{_key()}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not base.exists():
            _remove_others()
            with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as making:
                new = Path(making, "root")
                _bootstrap(new)
                os.rename(new, base)
    return base


def _remove_others() -> None:
    """Those of other dependencies, and what was left half made."""
    for folder in CACHE.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def _key() -> str:
    """Another one when what goes into the base has changed."""
    constraints = (PROJECT / "constraints.txt").read_text()
    facts = (_SUITE, *_PACKAGES, *_dependencies(), *_BUILD, constraints)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _bootstrap(root: Path) -> None:
    included = f"--include={','.join(_PACKAGES)}"
    _run("debootstrap", "--variant=minbase", included, _SUITE, str(root))
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    _fetch_wheels(root / _WHEELS.lstrip("/"))
    # Here rather than in every copy: making the environment takes half a minute.
    within(root, "python3", "-m", "venv", "/opt/relay")
    within(root, "/opt/relay/bin/pip", "install", "--quiet", *_dependencies(),
           "--constraint", f"{_WHEELS}/constraints.txt")  # fmt: skip


def _fetch_wheels(directory: Path) -> None:
    """By this machine's pip, as it is configured here, for the Python of the root."""
    directory.mkdir(parents=True)
    shutil.copy(PROJECT / "constraints.txt", directory)
    machine = platform.machine()
    platforms = [f"--platform={glibc}_{machine}" for glibc in _GLIBC]
    _run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download",
        "--dest", str(directory), "--constraint", str(PROJECT / "constraints.txt"),
        "--only-binary=:all:", "--implementation=cp", f"--python-version={_PYTHON}", *platforms,
        *_dependencies(), *_BUILD,
    )  # fmt: skip


def _dependencies() -> Sequence[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return tuple(project["dependencies"])


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}")
    return done.stdout
