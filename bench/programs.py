"""The programs that a benchmark starts, each in a folder of its own and on free loopback ports:
Postfix, the relay, and the upstream that both hand their mail to."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import trustme
from processes import tree

_TIMEOUT_S = 30


class Contestant(Protocol):
    """Takes mail on ``port`` once started; ``pid`` is the root of all its processes."""

    name: str
    port: int
    pid: int

    def running(
        self, folder: Path, upstream: "Upstream"
    ) -> contextlib.AbstractContextManager[None]:
        """Started in an empty folder; ended, with all its processes, on leaving."""


class Upstream:
    """stunnel before smtp-sink: implicit TLS, no AUTH, and a count of what has arrived."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.ca_file = folder / "ca.pem"
        self._counters = folder / "counters"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        plain_port = free_port()
        sink = ["smtp-sink", "-u", "postfix", "-c", f"127.0.0.1:{plain_port}", "1024"]
        stunnel = ["stunnel", str(self._stunnel_config(plain_port))]
        with (
            self._counters.open("wb") as counters,
            (self.folder / "stunnel.log").open("wb") as log,
            ended(sink, stdout=counters),
            ended(stunnel, stdout=log, stderr=log),
        ):
            wait_for_port(plain_port)
            wait_for_port(self.port)
            yield

    def count(self) -> int:
        """How many messages have arrived so far."""
        with self._counters.open("rb") as counters:
            counters.seek(max(0, self._counters.stat().st_size - 200))
            last = counters.read().rpartition(b"mesg=")[2]
        return int(last.split(b"\r")[0] or 0)

    def wait_for(self, count: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (arrived := self.count()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arrived} of {count} messages have arrived in {timeout_s} s")
            time.sleep(0.005)

    def _stunnel_config(self, plain_port: int) -> Path:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        leaf = self.folder / "leaf.pem"
        leaf.touch(mode=0o600)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(leaf)
        config = self.folder / "stunnel.conf"
        config.write_text(
            f"foreground = yes\npid =\ndebug = warning\n"
            f"socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
            f"[upstream]\naccept = 127.0.0.1:{self.port}\nconnect = 127.0.0.1:{plain_port}\n"
            f"cert = {leaf}\n"
        )
        return config


# Tuned for this work: connections to the upstream are kept and shared, nothing is throttled,
# nothing is looked up. The rest is Postfix's default, durability and its log included.
_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
message_size_limit = 52428800
mailbox_size_limit = 0

default_process_limit = 100
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0

relayhost = [localhost]:{upstream_port}
smtp_host_lookup = native
smtp_tls_wrappermode = yes
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = localhost
smtp_tls_CAfile = {ca_file}
smtp_tls_connection_reuse = yes
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [localhost]:{upstream_port}
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
"""

_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Debian's Postfix with a configuration, a queue and processes of its own.

    With 20 connections to the upstream it mostly waits, some 50 ms for each message (the time of a
    delayed acknowledgement; not traced). With 100 it waits for others meanwhile.
    """

    def __init__(self, connections: int) -> None:
        self.name = f"postfix-{connections}"
        self.connections = connections
        self.port = free_port()
        self.pid = 0

    @contextlib.contextmanager
    def running(self, folder: Path, upstream: Upstream) -> Iterator[None]:
        config = self._configure(folder, upstream)
        postfix = [program("postfix"), "-c", str(config)]
        subprocess.run([*postfix, "start"], check=True, capture_output=True, timeout=_TIMEOUT_S)
        # master has a session of its own, and leaves when it is told to, not when its starter does.
        self.pid = int((folder / "spool/pid/master.pid").read_text())
        try:
            wait_for_port(self.port)
            yield
        finally:
            processes = tree(self.pid)
            subprocess.run([*postfix, "stop"], capture_output=True, timeout=_TIMEOUT_S)
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _configure(self, folder: Path, upstream: Upstream) -> Path:
        config, data, spool = folder / "config", folder / "data", folder / "spool"
        for directory in (config, data, spool):
            directory.mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        values = {"folder": folder, "upstream_port": upstream.port, "ca_file": upstream.ca_file}
        settings = _MAIN_CF.format(connections=self.connections, **values)
        (config / "main.cf").write_text(settings)
        (config / "master.cf").write_text(_MASTER_CF.format(port=self.port))
        return config


_RELAY_CONFIG = """\
hostname: relay.test
listen: ["127.0.0.1:{port}"]
store: sqlite://{folder}/relay.db
upstreams:
  acme-mail:
    host: localhost
    port: {upstream_port}
    tls: implicit
    ca_file: {ca_file}
    limits: {{connections: 20}}
tenants:
  acme: {{domains: [acme.example], upstream: acme-mail}}
limits: {{message_size: 50MiB}}
"""


class Relay:
    """The installed relay, its audit trail kept and mirrored to a file."""

    name = "relay"

    def __init__(self) -> None:
        self.port = free_port()
        self.pid = 0

    @contextlib.contextmanager
    def running(self, folder: Path, upstream: Upstream) -> Iterator[None]:
        config = folder / "config.yaml"
        values = {"folder": folder, "upstream_port": upstream.port, "ca_file": upstream.ca_file}
        config.write_text(_RELAY_CONFIG.format(port=self.port, **values))
        relay = str(Path(sys.executable).with_name("relay"))
        command = [relay, "--config", str(config), "serve"]
        with (
            (folder / "audit").open("wb") as audit,
            (folder / "errors").open("wb") as errors,
            ended(command, stdout=audit, stderr=errors) as process,
        ):
            wait_for_port(self.port)
            self.pid = process.pid
            yield


def missing_programs() -> list[str]:
    wanted = ("postfix", "smtp-source", "smtp-sink", "stunnel")
    return [name for name in wanted if program(name) == name]


def program(name: str) -> str:
    """Its path; Debian keeps servers where a person's PATH does not reach."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or name


@contextlib.contextmanager
def ended(command: list[str], **files: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program in a session of its own; on leaving, end all that is left of it."""
    command = [program(command[0]), *command[1:]]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **files)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
