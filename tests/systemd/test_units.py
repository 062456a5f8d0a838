"""What systemd says of the units, without starting them."""

import re
import subprocess
from pathlib import Path

import pytest
from support.debian import PROJECT
from support.need import need

UNITS = PROJECT / "systemd"
INSTALL = PROJECT / "docs/install.md"

# Of the sections [Unit] and [Install], what every unit has.
_PLAIN = {"Description", "Documentation", "WantedBy", "Also"}


def directives(unit: Path) -> set[str]:
    return set(re.findall(r"^#?([A-Z]\w+)=", unit.read_text(), re.MULTILINE)) - _PLAIN


def test_the_exposure_is_small():
    """In tenths: 1.1 at most."""
    done = subprocess.run(
        [need("systemd-analyze"), "security", "--offline=true", "--threshold=11", "--no-pager",
         str(UNITS / "relay.service")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-200:]


def test_systemd_understands_every_line(tmp_path):
    """The program is not where the unit says, and man knows no page of ours."""
    for name in ("relay.service", "relay.socket"):
        text = (UNITS / name).read_text().replace("/opt/relay/bin/relay", "/bin/true")
        (tmp_path / name).write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    units = [str(tmp_path / name) for name in ("relay.service", "relay.socket")]
    done = subprocess.run(
        [need("systemd-analyze"), "verify", *units], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_network_is_waited_for():
    """With a dead one at boot, applications on loopback hung until its target had timed out."""
    lines = (UNITS / "relay.service").read_text().splitlines()
    waits = [line for line in lines if line.startswith(("Wants=", "After=", "Requires="))]
    assert waits
    assert not [line for line in waits if "online" in line]


@pytest.mark.parametrize("name", ["relay.service", "relay.socket"])
def test_every_directive_is_explained(name):
    explained = INSTALL.read_text()
    assert not [one for one in directives(UNITS / name) if f"`{one}=" not in explained]
