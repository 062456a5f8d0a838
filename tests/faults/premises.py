"""One relay as a program, in surroundings that go wrong: a clock, a disk, a name service."""

import contextlib
import os
import smtplib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crash.premises import Victim
from support.configs import relay_config
from support.need import need, need_root
from support.ports import free_port

_BINDS = 'mount --bind "$1" "$2"; shift 2; exec "$@"'


@contextlib.contextmanager
def relay(
    folder: Path,
    upstreams: Mapping[str, Any],
    *,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    places: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> Iterator[Victim]:
    """Not yet started; by default all mail goes by the first of the upstreams. It also listens at
    the ``places``."""
    port = free_port()
    listen = [f"127.0.0.1:{port}", *places]
    sections = {"default": {"upstream": next(iter(upstreams))}, "listen": listen} | more
    config = relay_config(folder, port, upstreams, **sections)
    program = Victim(folder, config, port, environment)
    program.before = before
    try:
        yield program
    finally:
        program.end()


def bound(source: Path, target: str) -> list[str]:
    """What stands before a command that is to see ``source`` in the place of ``target``."""
    need_root()
    enter = [need("unshare"), "--mount", "--propagation", "private", "sh", "-ec", _BINDS, "sh"]
    return [*enter, str(source), target]


class Clock:
    """The wall clock of one program, and nobody else's; monotonic time goes on as it is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set("+0")
        self.environment = {
            "LD_PRELOAD": need(_faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        """As faketime reads it: "+3d", "-1h", "@1970-01-01 00:00:10"."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self._file)


def _faketime() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else "libfaketimeMT.so.1"


@contextlib.contextmanager
def mounted(folder: Path, kind: str, size_mib: int) -> Iterator[Path]:
    """A small file system: "tmpfs", or "ext4" in a file."""
    need_root()
    folder.mkdir()
    if kind == "tmpfs":
        command = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs"]
    else:
        image = folder.with_suffix(".image")
        with image.open("wb") as file:
            file.truncate(size_mib << 20)
        subprocess.run([need("mkfs.ext4"), "-q", "-m0", image], check=True)
        command = ["-o", "loop,errors=remount-ro", str(image)]
    subprocess.run([need("mount"), *command, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run([need("umount"), "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left; remove it to give it back."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        for size in (1 << 20, 4096, 512):
            with contextlib.suppress(OSError):
                while True:
                    out.write(b"\0" * size)
    return file


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_s(pid: int) -> float:
    """What it has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def banner(port: int, timeout_s: float = 5) -> int:
    """The code that a new client is greeted with."""
    try:
        with smtplib.SMTP(timeout=timeout_s) as client:
            return client.connect("127.0.0.1", port)[0]
    except (OSError, smtplib.SMTPException):
        return 0
