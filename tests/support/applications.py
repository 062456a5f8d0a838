"""A relay for docs/applications.md, and the recipes of that page, ready to be run against it."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.configs import relay_config, upstream_entry
from support.document import Document
from support.program import RELAY_SENDMAIL, Program
from support.upstream import ThreadedUpstream

PAGE = Document("applications.md")
RECIPIENT = "joe@customer.example"

_PORT_25 = re.compile(r"(?<![\d.])25\b")


class Place:
    """Where an application is: a folder of its own, and a relay on another port than 25.

    ``port`` is what the application is told; where nobody has it, the relay is as good as down.
    """

    def __init__(self, relay: Program, folder: Path, port: int | None = None) -> None:
        self.relay = relay
        self.folder = folder
        self.port = port or relay.port
        self.domain = "acme.example"

    def recipe(self, heading: str, language: str, number: int = 0) -> str:
        """A block of the page as it is written, but for the port, the domain of its sender and the
        place of relay-sendmail."""
        block = PAGE.block(heading, language, number)
        block = _PORT_25.sub(str(self.port), block).replace("acme.example", self.domain)
        return block.replace("/usr/sbin/sendmail", str(RELAY_SENDMAIL))

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return name

    def run(
        self, *command: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run an application in the place's folder; standard error goes where its output does."""
        server = f"127.0.0.1:{self.port}"
        own = {"RELAY_SENDMAIL_SERVER": server, "HOME": str(self.folder)}
        return subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            cwd=self.folder,
            env=os.environ | own | environment,
        )


def configured(
    folder: Path,
    port: int,
    upstream: ThreadedUpstream,
    ca_file: Path,
    page: Mapping[str, Any] | None = None,
) -> Program:
    """A relay, not yet started, for the tenant acme alone, with what the page adds to it.

    It has no default, so that a sender of no tenant is refused.
    """
    config = relay_config(
        folder,
        port,
        upstreams={"acme-mail": upstream_entry(upstream, ca_file)},
        tenants={"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}},
    )
    return Program(folder, yaml.safe_dump(_merged(yaml.safe_load(config), page or {})), port)


def _merged(config: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for key, value in more.items():
        mine = merged.get(key)
        merged[key] = _merged(mine, value) if isinstance(mine, Mapping) else value
    return merged
