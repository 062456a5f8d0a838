"""The programs that people really have send through the relay to a TLS upstream, intact."""

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.certificates import Certificates
from support.configs import relay_config, upstream_entry
from support.mail import BODY, UNIX_BODY, message
from support.need import need
from support.ports import free_port
from support.program import RELAY_SENDMAIL, Program
from support.upstream import ThreadedUpstream, TlsMode, Transaction

SENDER = "app@acme.example"
RECIPIENT = "joe@recipient.example"
CONTENT = message(SENDER, RECIPIENT)
UNIX_CONTENT = CONTENT.replace(b"\r\n", b"\n")
Send = Callable[["Way"], None]


class Way:
    """A running relay with one TLS upstream; what arrives there is given out one by one."""

    def __init__(self, relay: Program, upstream: ThreadedUpstream, folder: Path) -> None:
        self.relay = relay
        self.upstream = upstream
        self.folder = folder
        self._seen = 0

    def next(self) -> Transaction:
        transaction = self.upstream.wait_for(self._seen + 1)[self._seen]
        self._seen += 1
        return transaction

    def run(self, *command: str, stdin: bytes = b"") -> None:
        """Run a client, which must succeed, with the relay as the server of relay-sendmail."""
        server = f"127.0.0.1:{self.relay.port}"
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            env=os.environ | {"RELAY_SENDMAIL_SERVER": server, "MAILRC": "mailrc"},
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def file(self, name: str, octets: bytes) -> str:
        (self.folder / name).write_bytes(octets)
        return name


@pytest.fixture(scope="module", params=["implicit", "starttls"])
def way(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Way]:
    tls: TlsMode = request.param
    folder = tmp_path_factory.mktemp(tls)
    users = {"acme": "acme's password"}
    with ThreadedUpstream(certificates.good(), tls=tls, users=users) as upstream:
        port = free_port()
        config = relay_config(
            folder,
            port,
            upstreams={"acme-mail": upstream_entry(upstream, certificates.ca_file)},
            tenants={"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}},
        )
        with Program(folder, config, port) as relay:
            yield Way(relay, upstream, folder)


def by_swaks(way: Way) -> None:
    server = f"--server=127.0.0.1:{way.relay.port}"
    # swaks adds a line end to what it is given.
    file = way.file("message", UNIX_CONTENT.removesuffix(b"\n"))
    way.run(need("swaks"), server, f"--from={SENDER}", f"--to={RECIPIENT}", f"--data=@{file}")


def by_msmtp(way: Way) -> None:
    server = ["--host=127.0.0.1", f"--port={way.relay.port}", "--tls=off", "--auth=off"]
    way.run(need("msmtp"), *server, f"--from={SENDER}", RECIPIENT, stdin=UNIX_CONTENT)


def by_curl(way: Way) -> None:
    envelope = ["--mail-from", SENDER, "--mail-rcpt", RECIPIENT]
    server = f"smtp://127.0.0.1:{way.relay.port}"
    way.run(need("curl"), server, *envelope, "--upload-file", way.file("message", CONTENT))


def by_smtplib(way: Way) -> None:
    with smtplib.SMTP("127.0.0.1", way.relay.port, timeout=30) as client:
        client.sendmail(SENDER, [RECIPIENT], CONTENT, ["BODY=8BITMIME"])


def by_php_mail(way: Way) -> None:
    """The site's sendmail_path is relay-sendmail; the fifth parameter is the usual -f.

    PHP adds a line end to what it is given.
    """
    program = (
        "$body = file_get_contents('body');"
        f"$sent = mail('{RECIPIENT}', 'test', $body, ['From' => '{SENDER}'], '-f{SENDER}');"
        "exit($sent ? 0 : 1);"
    )
    way.file("body", UNIX_BODY.removesuffix(b"\n"))
    way.run(need("php"), "-d", f"sendmail_path={RELAY_SENDMAIL} -t -i", "-r", program)


def by_phpmailer(way: Way) -> None:
    """PHPMailer adds two line ends to a body that has none at its end."""
    library = need("/usr/share/php/libphp-phpmailer/autoload.php")
    program = (
        f"require '{library}';"
        "$mail = new PHPMailer\\PHPMailer\\PHPMailer(true);"
        f"$mail->isSMTP(); $mail->Host = '127.0.0.1'; $mail->Port = {way.relay.port};"
        "$mail->CharSet = 'utf-8'; $mail->Encoding = '8bit';"
        f"$mail->setFrom('{SENDER}'); $mail->addAddress('{RECIPIENT}');"
        "$mail->Subject = 'test'; $mail->Body = file_get_contents('body');"
        "$mail->send();"
    )
    way.file("body", UNIX_BODY.removesuffix(b"\n\n"))
    way.run(need("php"), "-r", program)


def by_mailx(way: Way) -> None:
    way.file("mailrc", f"set sendmail={RELAY_SENDMAIL}\n".encode())
    way.run(need("bsd-mailx"), "-r", SENDER, "-s", "test", RECIPIENT, stdin=UNIX_BODY)


def by_cron(way: Way) -> None:
    options = ["-i", "-FCronDaemon", "-B8BITMIME", "-oem", f"-f{SENDER}"]
    way.run(str(RELAY_SENDMAIL), *options, RECIPIENT, stdin=UNIX_CONTENT)


@pytest.mark.parametrize(
    "send",
    [
        by_swaks,
        by_msmtp,
        by_curl,
        by_smtplib,
        by_php_mail,
        by_phpmailer,
        by_mailx,
        by_cron,
    ],
)
def test_it_arrives_intact(way: Way, send: Send):
    send(way)
    transaction = way.next()
    assert transaction.body == BODY
    assert (transaction.reverse_path, transaction.recipients) == (SENDER, (RECIPIENT,))
    assert (transaction.tls_version, transaction.user) == ("TLSv1.3", "acme")
    names = [line.partition(b":")[0].lower() for line in transaction.header.splitlines()]
    for once in (b"received", b"from", b"to", b"subject", b"date", b"message-id"):
        assert names.count(once) == 1, once


@pytest.mark.parametrize("size", [100_000, 900_000, 12_000_000])
def test_an_attachment_arrives_intact(way: Way, size: int):
    """Content of each size has a place of its own to wait in."""
    octets = os.urandom(size // 2).hex().encode()
    lines = b"".join(octets[at : at + 76] + b"\r\n" for at in range(0, len(octets), 76))
    with smtplib.SMTP("127.0.0.1", way.relay.port, timeout=60) as client:
        client.sendmail(SENDER, [RECIPIENT], message(SENDER, RECIPIENT, body=lines))
    assert way.next().body == lines
