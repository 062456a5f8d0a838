"""Real mail servers as upstreams: Postfix with Dovecot's SASL, Exim, Haraka; each a private
instance in a temporary folder, on free ports.

Every server takes mail from the user acme alone and keeps it in files. Its listeners are by name:
"implicit" and "starttls" as they should be; where it can have them, "no_tls", which offers neither
TLS nor AUTH, and "expired", "wrong_name" and "untrusted" (implicit TLS) with such certificates.

What they refuse is the same too: see ``NOBODY`` and the names beside it.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from support.certificates import Certificates, Leaf
from support.chroot import PEERS, Chroot
from support.need import need
from support.ports import free_port
from support.postfix import Postfix

USER, PASSWORD = "acme", "acme's password"
RECIPIENT = "joe@customer.example"
NOBODY = "nobody@customer.example"  # 550 at RCPT
GREYLISTED = "slow@customer.example"  # 450 at RCPT
NOT_ACMES = "boss@other.example"  # a sender that acme may not use
SPAM = "cheap watches"  # a subject that is refused behind the final dot
LARGEST = 300_000  # octets

_WORDS: dict[str, object] = {
    "USER": USER,
    "PASSWORD": PASSWORD,
    "RECIPIENT": RECIPIENT,
    "GREYLISTED": GREYLISTED,
    "NOT_ACMES": NOT_ACMES,
    "SPAM": SPAM,
    "LARGEST": LARGEST,
}
_FILES = Path(__file__).parents[1] / "peers"
_TIMEOUT_S = 30
_BAD: tuple[Leaf, ...] = ("expired", "wrong_name", "untrusted")


class MailServer:
    """``listeners`` (name to port); ``kept()`` is the contents that it took, as it keeps them."""

    # The number that it gives with its 250, and the lines of its log that have it and, filled in,
    # these words.
    queued_as: re.Pattern[str]
    logged: tuple[tuple[str, ...], ...]

    def __init__(self, listeners: dict[str, int], mail: Path, log: Path) -> None:
        self.listeners = listeners
        self._mail = mail
        self._log = log

    def kept(self) -> list[bytes]:
        return [file.read_bytes() for file in self._mail.rglob("*") if _whole(file)]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_for_log(self, *texts: str) -> None:
        """Until one line of its log has all of ``texts``."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not any(all(t in line for t in texts) for line in self.log.splitlines()):
            assert time.monotonic() < deadline, f"no line with {texts} in\n{self.log[-8000:]}"
            time.sleep(0.05)


def _whole(file: Path) -> bool:
    return file.is_file() and file.parent.name != "tmp"


class PostfixServer(MailServer):
    queued_as = re.compile(r"queued as (\w+)")
    logged = (
        ("client=", "sasl_method=PLAIN", f"sasl_username={USER}"),
        ("from=<{sender}>",),
        (f"to=<{RECIPIENT}>", "status=sent"),
    )


class EximServer(MailServer):
    queued_as = re.compile(r"id=(\S+)")
    logged = (("<= {sender}", f"A=plain:{USER}", "X=TLS1.3"), (f"=> joe <{RECIPIENT}>",))


class HarakaServer(MailServer):
    queued_as = re.compile(r"\(([0-9A-F-]+)\.\d+\)")
    logged = (
        ("sender <{sender}> code=CONT",),
        (f"recipient <{RECIPIENT}> code=OK",),
        ("queue code=OK",),
    )


def _ports(*names: str) -> dict[str, int]:
    return {name: free_port() for name in names}


def _write_leaves(certificates: Certificates, folder: Path) -> None:
    folder.mkdir(parents=True)
    for kind in get_args(Leaf):
        certificates.write_leaf(folder / f"{kind}.pem", folder / f"{kind}.key", kind)


def _wait_for_ports(ports: dict[str, int], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    for port in ports.values():
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"nobody listens on {ports}")
            time.sleep(0.05)


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground, with a session of its own, which ends with all its processes."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(10)


def _filled(name: str, **words: object) -> str:
    """A file of tests/peers with its words in place, such as @FOLDER@."""
    text = (_FILES / name).read_text()
    for word, value in (_WORDS | words).items():
        text = text.replace(f"@{word}@", str(value))
    return text


# -- Postfix with Dovecot

_SMTPD = "127.0.0.1:{port} inet n - n - - smtpd -o {tls} -o {chain} -o {sasl}\n"
_SERVICES = "tlsmgr unix - - n 1000? 1 tlsmgr\nvirtual unix - n n - - virtual\n"
_POSTFIX_TLS = {"starttls": "smtpd_tls_security_level=encrypt", "no_tls": "smtpd_use_tls=no"}


@contextlib.contextmanager
def postfix_server(certificates: Certificates) -> Iterator[MailServer]:
    dovecot = need("dovecot")
    with Postfix() as postfix:
        folder = postfix.folder
        _write_leaves(certificates, folder / "tls")
        (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        (folder / "dovecot.conf").write_text(_filled("dovecot.conf", FOLDER=folder))
        (folder / "mail").mkdir()
        shutil.chown(folder / "mail", 65534, 65534)
        listeners = _ports("implicit", "starttls", "no_tls", *_BAD)
        services = [_smtpd(name, port, folder / "tls") for name, port in listeners.items()]
        services.append(_SERVICES)
        postfix.configure(_filled("postfix.cf", FOLDER=folder), "".join(services))
        # Postfix makes the folder that Dovecot puts its socket into.
        postfix.start()
        with running([dovecot, "-F", "-c", str(folder / "dovecot.conf")], folder / "out"):
            _wait_for_dovecot(folder / "spool/private/auth")
            _wait_for_ports(listeners)
            yield PostfixServer(listeners, folder / "mail", folder / "mail.log")


def _wait_for_dovecot(path: Path) -> None:
    """Until it says at its socket what it can do."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_TIMEOUT_S)
            client.connect(str(path))
            if client.recv(1000):
                return
        assert time.monotonic() < deadline, "Dovecot does not answer"
        time.sleep(0.05)


def _smtpd(listener: str, port: int, tls: Path) -> str:
    leaf = tls / (listener if listener in _BAD else "good")
    sasl = "no" if listener == "no_tls" else "yes"
    return _SMTPD.format(
        port=port,
        tls=_POSTFIX_TLS.get(listener, "smtpd_tls_wrappermode=yes"),
        chain=f"smtpd_tls_chain_files={leaf}.key,{leaf}.pem",
        sasl=f"smtpd_sasl_auth_enable={sasl}",
    )


# -- Exim


@contextlib.contextmanager
def exim_server(certificates: Certificates) -> Iterator[MailServer]:
    packages = ("exim4-base", "exim4-daemon-light")
    with Chroot(*packages, users={"Debian-exim": 200}) as root:
        _write_leaves(certificates, root.folder / "etc/tls")
        listeners = _ports("implicit", "starttls", "no_tls", *_BAD)
        root.write("etc/exim4/exim4.conf", _exim_conf(listeners))
        root.own("etc/tls", "Debian-exim")
        root.own("var/spool/exim4", "Debian-exim")
        log = root.own("var/log/exim4", "Debian-exim") / "mainlog"
        mail = root.own("mail", "nobody")
        with running(root.command("/usr/sbin/exim4", "-bdf"), root.folder / "out") as process:
            _wait_for_ports(listeners, process)
            yield EximServer(listeners, mail, log)


def _exim_conf(listeners: dict[str, int]) -> str:
    leaf = "good"
    for kind in _BAD:
        leaf = f"${{if eq{{$received_port}}{{{listeners[kind]}}}{{{kind}}}{{{leaf}}}}}"
    with_tls = [listeners[name] for name in ("implicit", *_BAD)]
    return _filled(
        "exim.conf",
        PORTS=" : ".join(map(str, listeners.values())),
        TLS_PORTS=" : ".join(map(str, with_tls)),
        NO_TLS_PORT=listeners["no_tls"],
        LEAF=leaf,
    )


# -- Haraka


@contextlib.contextmanager
def haraka_server(certificates: Certificates) -> Iterator[MailServer]:
    haraka = need(str(PEERS / "haraka/node_modules/Haraka/haraka.js"))
    with tempfile.TemporaryDirectory(prefix="haraka-") as name:
        folder = Path(name)
        listeners = _ports("implicit", "starttls")
        _write_leaves(certificates, folder / "tls")
        for kind in ("tmp", "new"):
            (folder / "mail" / kind).mkdir(parents=True)
        _write_haraka(folder, listeners)
        command = ["env", f"HARAKA={folder}", need("node"), haraka]
        with running(command, folder / "log") as process:
            _wait_for_ports(listeners, process)
            yield HarakaServer(listeners, folder / "mail", folder / "log")


def _write_haraka(folder: Path, listeners: dict[str, int]) -> None:
    listen = ",".join(f"127.0.0.1:{port}" for port in listeners.values())
    files = {
        "config/me": "haraka.test\n",
        "config/plugins": "tls\nauth/flat_file\nkeep\n",
        "config/smtp.ini": f"listen={listen}\nsmtps_port={listeners['implicit']}\n",
        "config/connection.ini": _filled("haraka/connection.ini"),
        "config/tls.ini": f"key={folder}/tls/good.key\ncert={folder}/tls/good.pem\n",
        "config/auth_flat_file.ini": "[core]\nmethods=PLAIN,LOGIN\nconstrain_sender=false\n"
        f"[users]\n{USER}={PASSWORD}\n",
        "config/log.ini": "[main]\nlevel=info\n",
        # Without it Haraka makes one, for many seconds.
        "config/dhparams.pem": _filled("haraka/dhparams.pem"),
        "plugins/keep.js": _filled("haraka/keep.js", FOLDER=folder),
    }
    for file, text in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)


SERVERS = {"postfix": postfix_server, "exim": exim_server, "haraka": haraka_server}
