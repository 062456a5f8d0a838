"""Who lives at the machine of the pages: its providers with real TLS and AUTH, the DNS before and
after its records were published, and what docs/operations.md leaves after the first set-up."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.certificates import Certificates
from support.document import Document
from support.machine import Machine
from support.nameserver import nameserver
from support.upstream import ThreadedUpstream

SENDGRID, POSTMARK, OWN = "smtp.sendgrid.net", "smtp.postmarkapp.com", "smtp.platform.example"
OPERATIONS = Document("operations.md")
FIRST_SET_UP = "First set-up"

# What a person types where a command waits for it, by the file that it goes to.
SECRETS = {
    "/secrets/platform": "platform-password",
    "/secrets/acme-sendgrid": "SG.key-of-acme",
    "/secrets/acme-postmark": "token-of-acme",
}
_TOKEN = SECRETS["/secrets/acme-postmark"]
_USERS = {
    SENDGRID: {"apikey": SECRETS["/secrets/acme-sendgrid"]},
    POSTMARK: {_TOKEN: _TOKEN},
    OWN: {"relay@platform.example": SECRETS["/secrets/platform"]},
}

_BARE = """
sendgrid.net. TXT "v=spf1 ip4:167.89.0.0/17 ~all"
acme.example. MX 10 mx.acme.example.
mx.acme.example. A 192.0.2.1
"""
_PUBLISHED = """
acme.example. TXT "v=spf1 include:sendgrid.net -all"
_dmarc.acme.example. TXT "v=DMARC1; p=none; rua=mailto:dmarc@acme.example"
s1._domainkey.acme.example. TXT {key}
s2._domainkey.acme.example. TXT {key}
"""


@contextlib.contextmanager
def providers(certificates: Certificates) -> Iterator[Mapping[str, ThreadedUpstream]]:
    """By host: SendGrid and the platform's own by implicit TLS, Postmark by STARTTLS."""
    with contextlib.ExitStack() as stack:
        yield {
            host: stack.enter_context(
                ThreadedUpstream(
                    certificates.good(),
                    tls="starttls" if host == POSTMARK else "implicit",
                    users=users,
                )
            )
            for host, users in _USERS.items()
        }


@contextlib.contextmanager
def name_servers(folder: Path) -> Iterator[Mapping[str, str]]:
    """Two that know acme.example: "bare", and with its records "published"."""
    zones = {"bare": _BARE, "published": _BARE + _PUBLISHED.format(key=_dkim_key())}
    with contextlib.ExitStack() as stack:
        found = {}
        for name, zone in zones.items():
            (folder / name).mkdir()
            found[name] = stack.enter_context(nameserver(folder / name, {".": zone}))
        yield found


def _dkim_key() -> str:
    """As a zone has it, in strings of 255 octets at most."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b64encode(octets).decode()
    return f'"v=DKIM1; p={text[:200]}" "{text[200:]}"'


def set_up(machine: Machine) -> None:
    """As the runbook of the first set-up leaves it, the relay running."""
    (machine.etc / "secrets").mkdir()
    for end in ("/secrets/platform", "/secrets/acme-sendgrid"):
        file = machine.etc / end[1:]
        file.write_text(SECRETS[end])
        file.chmod(0o640)
    machine.write("/etc/relay/config.yaml", OPERATIONS.block(FIRST_SET_UP, "yaml"))
    machine.systemctl("start")
