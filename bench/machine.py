"""What the figures were taken on, in words that name nobody's machine."""

import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from programs import program


def described(folder: Path) -> list[str]:
    """``folder`` lies on the disk that is measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return [
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB of memory, "
        f"{_system()}, Linux {platform.release().split('-')[0]}",
        f"{_disk(folder)}; a synced write of 4 KiB takes {_synced_write_ms(folder):.2f} ms",
        f"Python {platform.python_version()}, {_built()}; Postfix {_postfix()}",
        f"load average at the start {os.getloadavg()[0]:.1f}",
    ]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _system() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _disk(folder: Path) -> str:
    """By the kernel's word; of a virtual one it knows nothing."""
    device = folder.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not block.exists():
        return "a disk that the kernel does not describe"
    if not (block / "queue").exists():  # a partition
        block = block.resolve().parent
    if block.resolve().name.startswith(("vd", "xvd")):
        return "a virtual disk"
    turns = (block / "queue/rotational").read_text().strip() == "1"
    return f"a disk that {'turns' if turns else 'does not turn'}"


def _synced_write_ms(folder: Path) -> float:
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as written:
        for _ in range(100):
            began = time.perf_counter()
            written.write(b"x" * 4096)
            os.fdatasync(written.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _built() -> str:
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"built with{'' if optimised else 'out'} profile-guided optimisation"


def _postfix() -> str:
    if program("postconf") == "postconf":
        return "not installed"
    command = [program("postconf"), "-d", "-h", "mail_version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return said.stdout.strip() or "of an unknown version"


if __name__ == "__main__":
    print("\n".join(described(Path(sys.argv[1]))))
