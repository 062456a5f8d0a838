"""Who is measured: Postfix and the relay, each with a configuration, a folder and processes of its
own, touching nothing of an installed one."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from processes import tree
from programs import TIMEOUT_S, ended, free_port, program, wait_for_port
from upstream import Upstream


@dataclass(frozen=True)
class Setting:
    """What a row asks of the configuration. ``connections`` are those to one upstream entry; tenant
    number n owns tn.example and takes entry number n of the upstreams, in turn."""

    tenants: int = 1
    upstreams: int = 1
    connections: int = 20


class Contestant(Protocol):
    """Takes mail on ``port`` while it runs; ``pid`` is the root of all its processes. What it keeps
    and its configuration lie in ``folder``."""

    folder: Path
    port: int
    pid: int

    def running(self) -> contextlib.AbstractContextManager[object]:
        """Started; ended, with all its processes, on leaving. Its queue outlives that."""


Maker = Callable[[Path, Upstream, Setting], Contestant]

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
    """Debian's, with ``connections`` to the upstream whatever the setting says; 20 are Postfix's
    own default. With those it mostly waits, some 50 ms for each message (the time of a delayed
    acknowledgement; not traced). With 100 it waits for others meanwhile.
    """

    def __init__(self, folder: Path, upstream: Upstream, connections: int) -> None:
        self.port = free_port()
        self.pid = 0
        self.folder = folder
        self._config = folder / "config"
        self._configure(upstream, connections)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        postfix = [program("postfix"), "-c", str(self._config)]
        subprocess.run([*postfix, "start"], check=True, capture_output=True, timeout=TIMEOUT_S)
        # master has a session of its own, and leaves when it is told to, not when its starter does.
        self.pid = int((self.folder / "spool/pid/master.pid").read_text())
        # What it deferred is due at once, as the relay's is.
        subprocess.run([*postfix, "flush"], check=True, capture_output=True, timeout=TIMEOUT_S)
        try:
            wait_for_port(self.port)
            yield
        finally:
            processes = tree(self.pid)
            subprocess.run([*postfix, "stop"], capture_output=True, timeout=TIMEOUT_S)
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _configure(self, upstream: Upstream, connections: int) -> None:
        data, spool = self.folder / "data", self.folder / "spool"
        for directory in (self._config, data, spool):
            directory.mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        settings = _MAIN_CF.format(
            folder=self.folder,
            upstream_port=upstream.port,
            ca_file=upstream.ca_file,
            connections=connections,
        )
        (self._config / "main.cf").write_text(settings)
        (self._config / "master.cf").write_text(_MASTER_CF.format(port=self.port))


_RELAY_CONFIG = """\
hostname: relay.test
listen: ["127.0.0.1:{port}"]
store: sqlite://{folder}/relay.db
queue: {{max_messages: 5000000, max_bytes: 100GiB}}
limits: {{message_size: 50MiB}}
upstreams:
{upstreams}tenants:
{tenants}"""
_UPSTREAM = """\
  u{number}:
    host: localhost
    port: {port}
    tls: implicit
    ca_file: {ca_file}
    limits: {{connections: {connections}}}
"""


class Relay:
    """The installed relay, its audit trail kept and mirrored to a file. ``serve`` is what starts
    it."""

    def __init__(
        self, folder: Path, upstream: Upstream, setting: Setting, serve: list[str] | None = None
    ) -> None:
        self.port = free_port()
        self.pid = 0
        self.folder = folder
        self._serve = serve or [str(Path(sys.executable).with_name("relay"))]
        (folder / "config.yaml").write_text(self._config(upstream, setting))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        command = [*self._serve, "--config", str(self.folder / "config.yaml"), "serve"]
        with (
            (self.folder / "audit").open("ab") as audit,
            (self.folder / "errors").open("ab") as errors,
            ended(command, stdout=audit, stderr=errors) as process,
        ):
            try:
                wait_for_port(self.port, process)
            except OSError as error:
                said = (self.folder / "errors").read_text()[-300:]
                raise RuntimeError(f"the relay does not listen: {said}") from error
            self.pid = process.pid
            yield

    def _config(self, upstream: Upstream, setting: Setting) -> str:
        entries = "".join(
            _UPSTREAM.format(
                number=number,
                port=upstream.port,
                ca_file=upstream.ca_file,
                connections=setting.connections,
            )
            for number in range(setting.upstreams)
        )
        tenants = "".join(
            f"  t{n}: {{domains: [t{n}.example], upstream: u{n % setting.upstreams}}}\n"
            for n in range(setting.tenants)
        )
        return _RELAY_CONFIG.format(
            port=self.port, folder=self.folder, upstreams=entries, tenants=tenants
        )


def _postfix(connections: int) -> Maker:
    return lambda folder, upstream, _: Postfix(folder, upstream, connections)


def _without_trail(folder: Path, upstream: Upstream, setting: Setting) -> Contestant:
    script = str(Path(__file__).with_name("without_trail.py"))
    return Relay(folder, upstream, setting, [sys.executable, script])


CONTESTANTS: dict[str, Maker] = {
    "postfix-20": _postfix(20),
    "postfix-100": _postfix(100),
    "relay": Relay,
    "relay-without-trail": _without_trail,
}
