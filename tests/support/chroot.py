"""Debian's packages that can't be installed beside Postfix, unpacked into a root of their own, with
the machine's libraries; it needs root. tests/peers/install fetches the packages."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from support.need import need, need_root

PEERS = Path(__file__).parents[2] / ".peers"

# The mounts are the new namespace's alone and end with its last process.
_ENTER = """
root=$1
shift
for libraries in /usr/lib/*-linux-gnu /usr/lib64 /dev; do
    [ -e $libraries ] || continue
    mkdir -p $root$libraries
    mount --rbind $libraries $root$libraries
done
exec chroot $root "$@"
"""
_LINKS = {"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin", "sbin": "usr/sbin"}
_FOLDERS = ("etc", "mail", "run", "tmp", "usr/bin", "usr/lib64", "var/spool", "var/log", "var/tmp")


class Chroot:
    """``with Chroot("exim4-base", "exim4-daemon-light", users={"Debian-exim": 200}) as root``;
    a user's group has the same name and number."""

    def __init__(self, *packages: str, users: dict[str, int]) -> None:
        need_root()
        self._archives = [_archive(package) for package in packages]
        self._users = {"root": 0, "nobody": 65534} | users

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="chroot-"))
        self.folder.chmod(0o755)
        for archive in self._archives:
            subprocess.run([need("dpkg-deb"), "-x", archive, self.folder], check=True)
        # What a package has there is its units for systemd.
        for link, target in _LINKS.items():
            shutil.rmtree(self.folder / link, ignore_errors=True)
            (self.folder / link).symlink_to(target)
        for folder in _FOLDERS:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").chmod(0o1777)
        shutil.copy(need("dash"), self.folder / "usr/bin/sh")
        users = self._users.items()
        self.write("etc/passwd", "".join(f"{name}:x:{n}:{n}::/:/bin/sh\n" for name, n in users))
        self.write("etc/group", "".join(f"{name}:x:{n}:\n" for name, n in users))
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.write("etc/nsswitch.conf", "hosts: files\n")
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def own(self, name: str, user: str) -> Path:
        """A folder in there that belongs to a user of its own."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        number = str(self._users[user])
        subprocess.run(["chown", "-R", f"{number}:{number}", folder], check=True)
        return folder

    def command(self, *command: str) -> list[str]:
        """``command`` as it is run in there."""
        enter = [need("unshare"), "--mount", "--propagation", "private", "sh", "-ec", _ENTER, "sh"]
        return [*enter, str(self.folder), *command]


def _archive(package: str) -> Path:
    found = sorted(PEERS.glob(f"{package}_*.deb"))
    need(str(found[-1] if found else PEERS / f"{package}.deb"))
    return found[-1]
