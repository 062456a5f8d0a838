"""What real applications send through the relay comes out as they sent it, octet for octet.

Each has a twin that sends the same message straight to a server that records; between the two
recordings there may be what docs/flow.md says, and nothing else: one Received on top, and From,
Date and Message-ID where the application left them out. The messages have what ill-made software
breaks: 8-bit text, dots at the start of lines, a dot alone, lines as long as may be, an attachment.
"""

import email.message
import email.policy
import os
import re
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.applications import PAGE
from support.certificates import Certificates
from support.chroot import Chroot
from support.configs import relay_config, upstream_entry
from support.mail import BODY, RECEIVED, UNIX_BODY, complete
from support.mailservers import running
from support.need import need
from support.ports import free_port
from support.postfix import Postfix
from support.program import RELAY_SENDMAIL, Program
from support.upstream import ThreadedUpstream, Transaction

SENDER = "app@acme.example"
RECIPIENT = "joe@customer.example"
CONTENT = complete(SENDER, RECIPIENT)
UNIX_CONTENT = CONTENT.replace(b"\r\n", b"\n")
SENDERS = Path(__file__).with_name("senders")


@dataclass
class Ways:
    """``beyond`` is the upstream behind the relay, ``straight`` the server without a relay."""

    relay: Program
    beyond: ThreadedUpstream
    straight: ThreadedUpstream
    folder: Path

    @property
    def ports(self) -> tuple[int, int]:
        return self.straight.port, self.relay.port

    def run(self, *command: str, stdin: bytes = b"", **environment: str) -> None:
        server = f"127.0.0.1:{self.relay.port}"
        own = {"RELAY_SENDMAIL_SERVER": server, "HOME": str(self.folder), "MAILRC": "mailrc"}
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            env=os.environ | own | environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def file(self, name: str, octets: bytes) -> str:
        (self.folder / name).write_bytes(octets)
        return name

    @property
    def recorder(self) -> str:
        """A sendmail that sends nothing: what it is given is in the file "recorded"."""
        recorder = self.folder / "sendmail"
        recorder.write_text(f"#!/bin/sh\ncat >{self.folder}/recorded\n")
        recorder.chmod(0o755)
        return str(recorder)

    @property
    def recorded(self) -> bytes:
        """As it travels; PHP ends the lines of the header with CRLF, those of the body with LF."""
        lines = re.sub(rb"\r?\n", b"\r\n", (self.folder / "recorded").read_bytes())
        return (b"\n" + lines).replace(b"\n.", b"\n..")[1:]


@pytest.fixture(scope="module")
def ways(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("ways")
    users = {"acme": "acme's password"}
    (folder / "body").write_bytes(UNIX_BODY)
    (folder / "octets.bin").write_bytes(bytes(range(256)) * 40)
    with (
        ThreadedUpstream(certificates.good(), tls="implicit", users=users) as beyond,
        ThreadedUpstream() as straight,
    ):
        port = free_port()
        config = relay_config(
            folder,
            port,
            upstreams={"acme-mail": upstream_entry(beyond, certificates.ca_file)},
            tenants={"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}},
        )
        with Program(folder, config, port) as relay:
            yield Ways(relay, beyond, straight, folder)


Send = Callable[[Ways], None]


def by_swaks(ways: Ways) -> None:
    # swaks adds a line end to what it is given.
    ways.file("message", UNIX_CONTENT.removesuffix(b"\n"))
    for port in ways.ports:
        server = f"--server=127.0.0.1:{port}"
        ways.run(need("swaks"), server, f"--from={SENDER}", f"--to={RECIPIENT}", "--data=@message")


def by_msmtp(ways: Ways) -> None:
    for port in ways.ports:
        server = ["--host=127.0.0.1", f"--port={port}", "--tls=off", "--auth=off"]
        ways.run(need("msmtp"), *server, f"--from={SENDER}", RECIPIENT, stdin=UNIX_CONTENT)


def by_curl(ways: Ways) -> None:
    ways.file("message", CONTENT)
    for port in ways.ports:
        envelope = ["--mail-from", SENDER, "--mail-rcpt", RECIPIENT]
        ways.run(need("curl"), f"smtp://127.0.0.1:{port}", *envelope, "--upload-file", "message")


def by_net_smtp(ways: Ways) -> None:
    ways.file("message", UNIX_CONTENT)
    script(ways, need("perl"), "net_smtp.pl")


def script(ways: Ways, *command: str, before: tuple[str, ...] = (), **environment: str) -> None:
    """A program of the folder ``senders``, which sends to all ports."""
    program = str(SENDERS / command[-1])
    ports = map(str, ways.ports)
    ways.run(*command[:-1], program, *before, SENDER, RECIPIENT, *ports, **environment)


def by_smtplib(ways: Ways) -> None:
    message = email.message.EmailMessage(email.policy.SMTP.clone(cte_type="8bit"))
    message["From"] = f"Jörg <{SENDER}>"
    message["To"] = RECIPIENT
    message["Subject"] = "Grüße"
    message.set_content(UNIX_BODY.decode(), cte="8bit")
    message.add_attachment(bytes(range(256)) * 40, "application", "octet-stream", filename="a.bin")
    message.set_boundary("next")
    for port in ways.ports:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.send_message(message, SENDER, [RECIPIENT])


def by_django(ways: Ways) -> None:
    need("django-admin")
    script(ways, need("/usr/bin/python3"), "django_mail.py")


def by_phpmailer(ways: Ways) -> None:
    library = need("/usr/share/php/libphp-phpmailer/autoload.php")
    script(ways, need("php"), "phpmailer.php", before=(library,))


def by_nodemailer(ways: Ways) -> None:
    need("/usr/share/nodejs/nodemailer/package.json")
    script(ways, need("node"), "nodemailer.js", NODE_PATH="/usr/share/nodejs")


def by_ruby(ways: Ways) -> None:
    need("/usr/lib/ruby/vendor_ruby/mail.rb")
    script(ways, need("ruby"), "-W0", "ruby_mail.rb")


def by_java(ways: Ways) -> None:
    jars = [need(f"/usr/share/java/jakarta-{name}.jar") for name in ("mail", "activation")]
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    script(ways, need("java"), *quick, "-cp", ":".join(jars), "Send.java")


@pytest.mark.parametrize(
    "send",
    [
        by_swaks,
        by_msmtp,
        by_curl,
        by_net_smtp,
        by_smtplib,
        by_django,
        by_phpmailer,
        by_nodemailer,
        by_ruby,
        by_java,
    ],
)
def test_a_client_and_its_twin(ways: Ways, send: Send):
    straight, beyond = len(ways.straight.transactions), len(ways.beyond.transactions)
    send(ways)
    twin = ways.straight.wait_for(straight + 1)[straight]
    relayed = ways.beyond.wait_for(beyond + 1)[beyond]
    same_envelope(relayed, twin)
    same_content(relayed.wire, twin.wire)


def same_envelope(relayed: Transaction, twin: Transaction) -> None:
    assert (relayed.reverse_path, relayed.recipients) == (twin.reverse_path, twin.recipients)
    assert ("BODY=8BITMIME" in relayed.parameters) >= ("BODY=8BITMIME" in twin.parameters)


def same_content(relayed: bytes, twin: bytes) -> None:
    """But for what the relay adds."""
    received = RECEIVED.match(relayed)
    assert received, relayed[:500]
    header, _, body = relayed[received.end() :].partition(b"\r\n\r\n")
    header_of_twin, _, body_of_twin = twin.partition(b"\r\n\r\n")
    assert body == body_of_twin
    assert header.startswith(header_of_twin)
    added = header.removeprefix(header_of_twin).split(b"\r\n")[1:]
    assert [line.partition(b":")[0] for line in added] == missing(header_of_twin)


def missing(header: bytes) -> list[bytes]:
    there = {line.partition(b":")[0].lower() for line in header.splitlines()}
    return [name for name in (b"From", b"Date", b"Message-ID") if name.lower() not in there]


# -- by sendmail: the twin is what the application hands over


def by_php_mail(ways: Ways, sendmail: str) -> None:
    program = (
        "$sent = mail('%s', '=?utf-8?q?Gr=C3=BC=C3=9Fe?=', file_get_contents('body'),"
        " ['From' => '%s', 'MIME-Version' => '1.0',"
        " 'Content-Type' => 'text/plain; charset=utf-8'], '-f%s'); exit($sent ? 0 : 1);"
    )
    setting = f"sendmail_path={sendmail} -t -i"
    ways.run(need("php"), "-d", setting, "-r", program % (RECIPIENT, SENDER, SENDER))


def by_mailx(ways: Ways, sendmail: str) -> None:
    ways.file("mailrc", f"set sendmail={sendmail}\n".encode())
    ways.run(need("bsd-mailx"), "-r", SENDER, "-s", "test", RECIPIENT, stdin=UNIX_BODY)


@pytest.mark.parametrize("send", [by_php_mail, by_mailx])
def test_what_is_handed_to_sendmail(ways: Ways, send: Callable[[Ways, str], None]):
    beyond = len(ways.beyond.transactions)
    send(ways, ways.recorder)
    send(ways, str(RELAY_SENDMAIL))
    relayed = ways.beyond.wait_for(beyond + 1)[beyond]
    assert (relayed.reverse_path, relayed.recipients) == (SENDER, (RECIPIENT,))
    same_content(relayed.wire, ways.recorded)


# -- mail systems of their own


def test_postfix_as_a_null_client(ways: Ways):
    """It sends one message both ways, by the domain of the recipient."""
    straight, beyond = len(ways.straight.transactions), len(ways.beyond.transactions)
    recipe = PAGE.block("Postfix in front", "postfix", 1).replace("2525", str(ways.relay.port))
    to = f"inline:{{{{straight.example = smtp:[127.0.0.1]:{ways.straight.port}}}}}"
    with Postfix() as postfix:
        postfix.configure(recipe + f"transport_maps = {to}\n")
        postfix.start()
        recipients = [RECIPIENT, "joe@straight.example"]
        command = [postfix.sendmail, "-i", "-f", SENDER, *recipients]
        ways.run(*command, stdin=UNIX_CONTENT, **postfix.environment)
        twin = ways.straight.wait_for(straight + 1)[straight]
        relayed = ways.beyond.wait_for(beyond + 1)[beyond]
    assert (relayed.reverse_path, relayed.recipients) == (SENDER, (RECIPIENT,))
    same_content(relayed.wire, twin.wire)


@pytest.fixture(scope="module")
def dma() -> Iterator[Chroot]:
    with Chroot("dma", users={"mail": 8}) as root:
        root.write("etc/aliases", "")
        root.write("etc/mailname", "web01.example\n")
        root.own("var/spool/dma", "mail")
        yield root


# It takes no line of more than 900 and some octets.
SHORTER = complete(SENDER, RECIPIENT, body=BODY.replace(b"x" * 998, b"x" * 900))


def test_dma(ways: Ways, dma: Chroot):
    straight, beyond = len(ways.straight.transactions), len(ways.beyond.transactions)
    for port in ways.ports:
        recipe = PAGE.block("dma and nullmailer", "dma").replace("PORT 25", f"PORT {port}")
        dma.write("etc/dma/dma.conf", recipe)
        send = dma.command("/usr/sbin/dma", "-i", "-D", "-f", "www-data", RECIPIENT)
        ways.run(*send, stdin=SHORTER.replace(b"\r\n", b"\n"))
    twin = ways.straight.wait_for(straight + 1)[straight]
    relayed = ways.beyond.wait_for(beyond + 1)[beyond]
    same_envelope(relayed, twin)
    assert relayed.reverse_path == SENDER
    same_content(but_for(relayed.wire, DMAS_OWN), but_for(twin.wire, DMAS_OWN))


# What they write anew each time: number and date of their Received, next to which is From.
DMAS_OWN = re.compile(rb"(?<=\tid )\w+(?=\r\n)|(?<=;\r\n\t)[^\r\n]+(?=\r\nFrom)")


def but_for(content: bytes, own: re.Pattern[bytes]) -> bytes:
    assert len(own.findall(content)) == 2
    return own.sub(b"...", content)


def test_nullmailer(ways: Ways):
    straight, beyond = len(ways.straight.transactions), len(ways.beyond.transactions)
    by_nullmailer(ways, ways.straight.port)
    twin = ways.straight.wait_for(straight + 1)[straight]
    by_nullmailer(ways, ways.relay.port)
    relayed = ways.beyond.wait_for(beyond + 1)[beyond]
    same_envelope(relayed, twin)
    assert relayed.reverse_path == SENDER
    same_content(but_for(relayed.wire, NULLMAILERS_OWN), but_for(twin.wire, NULLMAILERS_OWN))


NULLMAILERS_OWN = re.compile(rb"(?<=nullmailer pid )\d+|(?<=;\r\n\t)[^\r\n]+(?=\r\nFrom)")


def by_nullmailer(ways: Ways, port: int) -> None:
    with Chroot("nullmailer", users={"mail": 8}) as root:
        recipe = PAGE.block("dma and nullmailer", "nullmailer")
        root.write("etc/nullmailer/remotes", recipe.replace("port=25", f"port={port}"))
        root.write("etc/mailname", "acme.example\n")
        os.mkfifo(root.folder / "var/spool/nullmailer/trigger")
        root.own("var/spool/nullmailer", "mail")
        log = root.folder / "log"
        with running(root.command("/usr/sbin/nullmailer-send"), log):
            send = root.command("/usr/sbin/sendmail", "-i", "-f", SENDER, RECIPIENT)
            ways.run(*send, stdin=UNIX_CONTENT)
            wait_for_line(log, "Sent file.")


def wait_for_line(log: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
