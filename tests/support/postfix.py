"""A Postfix with a configuration, a queue and processes of its own; it needs root."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from support.need import need, need_root
from support.ports import free_port

_TIMEOUT_S = 30

# What a test needs beside the settings that it is about: folders, and no user of the machine's.
_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = web01.example
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
alias_maps =
alias_database =
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
"""

_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """``with Postfix() as postfix: postfix.configure(...); postfix.start()``; ``environment`` makes
    Postfix's own commands speak of this one. ``listener`` is what others call smtp/inet."""

    def __init__(self) -> None:
        need_root()
        self._program = need("postfix")
        self.sendmail = str(Path(self._program).with_name("sendmail"))
        self.port = free_port()
        self.listener = f"127.0.0.1:{self.port}/inet"

    def __enter__(self) -> Self:
        # Not in pytest's folder, which Postfix's user may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.folder.chmod(0o755)
        config = self.folder / "config"
        for folder in (config, self.folder / "data", self.folder / "spool"):
            folder.mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        path = f"{os.environ['PATH']}:/usr/sbin"
        self.environment = {"MAIL_CONFIG": str(config), "PATH": path}
        self._config = config
        return self

    def __exit__(self, *_: object) -> None:
        self._run("stop", check=False)
        shutil.rmtree(self.folder)

    def configure(self, settings: str, services: str = "") -> None:
        """``settings`` are lines of main.cf, ``services`` of master.cf."""
        main = _MAIN_CF.format(folder=self.folder)
        (self._config / "main.cf").write_text(main + settings)
        (self._config / "master.cf").write_text(_MASTER_CF.format(port=self.port) + services)

    def start(self) -> None:
        self._run("start")

    def _run(self, verb: str, *, check: bool = True) -> None:
        environment = os.environ | self.environment
        command = [self._program, verb]
        subprocess.run(
            command, check=check, capture_output=True, timeout=_TIMEOUT_S, env=environment
        )

    @property
    def log(self) -> str:
        return (self.folder / "mail.log").read_text()

    def wait_for_log(self, text: str) -> str:
        """The line of its log that has ``text``."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            log = self.log.splitlines()
            if found := [line for line in log if text in line]:
                return found[0]
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {text!r} in Postfix's log:\n" + "\n".join(log))
            time.sleep(0.05)
