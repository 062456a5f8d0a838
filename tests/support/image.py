"""The container image, built from the project's Dockerfile and run by buildah: no engine, no
registry, no daemon. Processes are chrooted, and share the network and the process ids of the test.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from support.debian import PROJECT, packed
from support.need import need

_BUILD_S = 400
_COMMAND_S = 120  # of which an idle machine takes half a second
_BASE, _IMAGE = "relay-base", "relay-image"

# As `read_only`, `cap_drop: [ALL]` and `no-new-privileges` have it, which buildah can't be told.
_CONFINED = """\
mount -o remount,bind,ro / && exec setpriv --reuid "$0" --regid "$0" --clear-groups \
    --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""

_CLONE_NEWNET = 0x40000000


class Images:
    """``with Images(folder) as images``: the image, in a store of its own within ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.command = [
            need("buildah"), f"--root={folder}/root", f"--runroot={folder}/run",
            "--storage-driver=vfs",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        try:
            self._build(self._import_base())
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def run(self, *arguments: str, timeout_s: float = _COMMAND_S) -> str:
        """Its output; AssertionError where it fails."""
        done = subprocess.run(
            [*self.command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
        assert not done.returncode, f"buildah {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout.strip()

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the image says of how it is run."""
        config: dict[str, Any] = self._inspected(_IMAGE)["Docker"]["config"]
        return config

    @property
    def history(self) -> list[str]:
        return [step["created_by"] for step in self._inspected(_IMAGE)["Docker"]["history"]]

    @property
    def added_bytes(self) -> int:
        """How much larger than its base it is."""
        listed = json.loads(self.run("images", "--json"))
        sizes = {
            name: _in_bytes(image["size"]) for image in listed for name in image["names"] or ()
        }
        return sizes[f"localhost/{_IMAGE}:latest"] - sizes[f"localhost/{_BASE}:latest"]

    def _inspected(self, image: str) -> dict[str, Any]:
        inspected: dict[str, Any] = json.loads(self.run("inspect", "--type=image", image))
        return inspected

    def _import_base(self) -> Path:
        archive = self._folder / "base.tar"
        wheels = packed(archive)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(archive), "/", timeout_s=_BUILD_S)
        archive.unlink()
        self.run("commit", "--quiet", "--rm", container, _BASE, timeout_s=_BUILD_S)
        return wheels

    def _build(self, wheels: Path) -> None:
        """The Dockerfile as it is; where pip finds wheels is a matter of its own configuration."""
        pip = self._folder / "pip.conf"
        pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        self.run(
            "build", "--isolation=chroot", "--format=docker", "--pull-never",
            f"--build-arg=BASE=localhost/{_BASE}", f"--volume={wheels}:/wheels:ro",
            f"--volume={pip}:/etc/pip.conf:ro", f"--tag={_IMAGE}", str(PROJECT),
            timeout_s=_BUILD_S,
        )  # fmt: skip

    def _remove(self) -> None:
        with contextlib.suppress(AssertionError):
            self.run("rm", "--all")
            self.run("rmi", "--all", "--force")


class Container:
    """``with Container(images, volume, ...) as container``: made from the image, and removed with
    all that it has written but for what is in ``volume``. ``mounts`` are files and folders of the
    host, by the path in the container; ``environment`` is what a user of the image sets."""

    def __init__(
        self,
        images: Images,
        volume: Path,
        environment: Mapping[str, str],
        mounts: Mapping[str, Path] | None = None,
    ) -> None:
        self._images = images
        self._user = images.config["User"].partition(":")[0]
        self._volume = volume
        self._mounts = {"/var/lib/relay": volume, **(mounts or {})}
        self._environment = environment
        self._stdout, self._stderr = (
            volume.with_name(f"{volume.name}.{stream}") for stream in ("stdout", "stderr")
        )
        self._serving: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not self._volume.exists():
            self._volume.mkdir(mode=0o770)
            os.chown(self._volume, int(self._user), int(self._user))
        self._name = self._images.run("from", "--pull-never", _IMAGE)
        # Of two mounts on one place, the image's own and ours, buildah takes either.
        self._images.run("config", "--volume=/var/lib/relay-", self._name)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._serving is not None and self._serving.poll() is None:
                os.kill(_innermost(self._serving.pid), signal.SIGKILL)
                self._serving.wait(_COMMAND_S)
        finally:
            self._images.run("rm", self._name)

    def start(self) -> None:
        """What the image does by itself; returns when the relay says that it has started."""
        config, before = self._images.config, len(self.events("relay.started"))
        with self._stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self._serving = subprocess.Popen(
                self._command(*config["Entrypoint"], *config["Cmd"]),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        self.wait_for("relay.started", before + 1)

    def stop(self) -> int:
        """As an engine does, by the image's signal; the status."""
        assert self._serving is not None
        relay = _innermost(self._serving.pid)
        os.kill(relay, signal.Signals[self._images.config["StopSignal"]])
        return self._serving.wait(_COMMAND_S)

    def health(self) -> subprocess.CompletedProcess[str]:
        """The image's own check."""
        kind, *command = self._images.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*command)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside the relay, as `docker exec` runs one."""
        return subprocess.run(
            self._command(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
        )

    def run_as_it_is(self, *command: str) -> str:
        """By the user that the image names, and with a root file system that could be written."""
        return self._images.run("run", "--isolation=chroot", self._name, "--", *command)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Of all the containers that have had this volume."""
        lines = self._stdout.read_text().splitlines() if self._stdout.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in events if event["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> None:
        assert self._serving is not None
        deadline = time.monotonic() + _COMMAND_S
        while len(self.events(name)) < count:
            assert self._serving.poll() is None, self._stderr.read_text()
            assert time.monotonic() < deadline, f"no {name}: {self._stderr.read_text()}"
            time.sleep(0.05)

    def _command(self, *command: str) -> list[str]:
        mounts = [
            f"--volume={path}:{inside}{'' if path == self._volume else ':ro'}"
            for inside, path in self._mounts.items()
        ]
        environment = [f"--env={name}={value}" for name, value in self._environment.items()]
        return [
            *self._images.command, "run", "--isolation=chroot", "--user=0",
            "--cap-add=CAP_SYS_ADMIN,CAP_SETPCAP", *mounts, *environment, self._name,
            "--", "sh", "-c", _CONFINED, self._user, *command,
        ]  # fmt: skip


@contextlib.contextmanager
def network_of_its_own(address: str) -> Iterator[None]:
    """This thread, and what it starts, in a network with loopback and one more address. As in
    Docker's, port 25 is anybody's. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as former:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            ip = need("ip")
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
            subprocess.run([ip, "address", "add", address, "dev", "lo"], check=True)
            Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
            yield
        finally:
            if libc.setns(former.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def _innermost(pid: int) -> int:
    """The last of a chain of processes: buildah's, and the one that it was told to run."""
    while children := "".join(
        file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")
    ).split():
        pid = int(children[0])
    return pid


def _in_bytes(text: str) -> int:
    """ "84.1 MB", as buildah has it."""
    number, unit = text.split()
    return int(float(number) * {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[unit])
