"""Certificates made on the spot: a CA of the tests' own, good leaves and bad ones."""

import datetime
import ssl
import tempfile
from pathlib import Path
from typing import Literal

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAMES = ("localhost", "127.0.0.1", "::1")
Leaf = Literal["good", "wrong_name", "expired", "untrusted"]


class Certificates:
    """``ca_file`` is what a client trusts; the contexts are what a server shows."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def good(self) -> ssl.SSLContext:
        return _server_context(self._ca.issue_cert(*NAMES))

    def wrong_name(self) -> ssl.SSLContext:
        return _server_context(self._leaf("wrong_name"))

    def expired(self) -> ssl.SSLContext:
        return _server_context(self._leaf("expired"))

    def untrusted(self) -> ssl.SSLContext:
        return _server_context(self._leaf("untrusted"))

    def self_signed(self) -> ssl.SSLContext:
        """Signed by nobody but itself, as made by hand on many a mail server."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMES[0])])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(1))
            .not_valid_after(now + datetime.timedelta(30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAMES[0])]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        octets = certificate.public_bytes(pem) + key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(octets)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def write_leaf(self, cert_file: Path, key_file: Path, kind: Leaf = "good") -> None:
        """A leaf with its key, for servers that want files."""
        leaf = self._leaf(kind)
        key_file.write_bytes(leaf.private_key_pem.bytes())
        cert_file.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))

    def _leaf(self, kind: Leaf) -> trustme.LeafCert:
        if kind == "wrong_name":
            return self._ca.issue_cert("elsewhere.example")
        if kind == "untrusted":
            return trustme.CA().issue_cert(*NAMES)
        if kind == "good":
            return self._ca.issue_cert(*NAMES)
        now = datetime.datetime.now(datetime.UTC)
        last_year, last_week = now - datetime.timedelta(365), now - datetime.timedelta(7)
        return self._ca.issue_cert(*NAMES, not_before=last_year, not_after=last_week)


def _server_context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context
