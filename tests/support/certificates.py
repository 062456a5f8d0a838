"""Certificates made on the spot: a CA of the tests' own, good leaves and bad ones."""

import datetime
import ssl
from pathlib import Path

import trustme

NAMES = ("localhost", "127.0.0.1", "::1")


class Certificates:
    """``ca_file`` is what a client trusts; the contexts are what a server shows."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def good(self) -> ssl.SSLContext:
        return _server_context(self._ca.issue_cert(*NAMES))

    def wrong_name(self) -> ssl.SSLContext:
        return _server_context(self._ca.issue_cert("elsewhere.example"))

    def expired(self) -> ssl.SSLContext:
        now = datetime.datetime.now(datetime.UTC)
        last_year, last_week = now - datetime.timedelta(365), now - datetime.timedelta(7)
        leaf = self._ca.issue_cert(*NAMES, not_before=last_year, not_after=last_week)
        return _server_context(leaf)

    def untrusted(self) -> ssl.SSLContext:
        return _server_context(trustme.CA().issue_cert(*NAMES))

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def write_leaf(self, cert_file: Path, key_file: Path) -> None:
        """A good leaf with its key, for servers that want files."""
        leaf = self._ca.issue_cert(*NAMES)
        key_file.write_bytes(leaf.private_key_pem.bytes())
        cert_file.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))


def _server_context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context
