"""Name servers that do not answer, and that come back. The relay sees a resolv.conf of its own."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import dns.message
import dns.rdatatype
import dns.rrset
from faults.premises import bound, relay
from support.certificates import Certificates
from support.configs import upstream_entry
from support.mail import send
from support.need import need_root
from support.upstream import ThreadedUpstream

_RESOLV_CONF = "nameserver {address}\noptions timeout:1 attempts:2\n"
# For which Certificates.wrong_name() is the right one.
_HOST = "elsewhere.example"


class _NameServer:
    """At port 53 of a loopback address of its own. Silent, until it ``answers`` 127.0.0.1."""

    def __init__(self) -> None:
        need_root()
        self.answers = self._over = False
        self.asked: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for last in range(1, 255):
            self.address = f"127.53.53.{last}"
            with contextlib.suppress(OSError):
                self._socket.bind((self.address, 53))
                break

    def __enter__(self) -> "_NameServer":
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        self._socket.settimeout(0.1)
        while not self._over:
            with contextlib.suppress(TimeoutError):
                octets, client = self._socket.recvfrom(4096)
                question = dns.message.from_wire(octets)
                name, kind = question.question[0].name, question.question[0].rdtype
                self.asked.add(str(name))
                if self.answers:
                    answer = dns.message.make_response(question)
                    if kind == dns.rdatatype.A:
                        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "127.0.0.1"))
                    self._socket.sendto(answer.to_wire(), client)


def test_names_that_hang_delay_nobody_elses_mail(
    certificates: Certificates, tmp_path: Path
) -> None:
    """The event loop's own look-ups share two threads: six that hung held up every upstream."""
    with _NameServer() as names, ThreadedUpstream() as upstream:
        hanging = {
            name: {"host": f"{name}.gone.example", "port": upstream.port, "tls": "starttls"}
            for name in ("acme", "globex", "initech")
        }
        tenants = {name: {"domains": [f"{name}.example"], "upstream": name} for name in hanging}
        file = tmp_path / "resolv.conf"
        file.write_text(_RESOLV_CONF.format(address=names.address))
        with relay(
            tmp_path,
            {"up": upstream_entry(upstream)} | hanging,
            before=bound(file, "/etc/resolv.conf"),
            tenants=tenants,
        ) as program:
            program.start()
            for name in [*hanging] * 3:
                send(program.port, f"a@{name}.example", "b@recipient.example")
            while len(names.asked) < len(hanging):
                time.sleep(0.02)
            began = time.monotonic()
            send(program.port, "a@other.example", "b@recipient.example")
            upstream.wait_for(1)
            assert time.monotonic() - began < 1.5
            paused = program.wait_for_event("upstream.paused", len(hanging))
            assert {event["cause"] for event in paused} == {"dns_failure"}


def test_mail_goes_on_by_itself_when_the_names_are_back(
    certificates: Certificates, tmp_path: Path
) -> None:
    file = tmp_path / "resolv.conf"
    context = certificates.wrong_name()
    with _NameServer() as names, ThreadedUpstream(context, tls="starttls") as upstream:
        file.write_text(_RESOLV_CONF.format(address=names.address))
        entry = upstream_entry(upstream, certificates.ca_file, host=_HOST)
        with relay(tmp_path, {"up": entry}, before=bound(file, "/etc/resolv.conf")) as program:
            program.start()
            send(program.port, "a@acme.example", "b@recipient.example")
            (paused,) = program.wait_for_event("upstream.paused")
            assert (paused["cause"], paused["upstream"]) == ("dns_failure", "up")
            names.answers = True
            upstream.wait_for(1)
            program.wait_for_event("upstream.resumed")
            assert len(program.events("upstream.paused")) == 1
