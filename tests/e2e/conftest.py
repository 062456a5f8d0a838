"""Three real upstreams and the configuration that names them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certificates import Certificates
from support.configs import two_tenants, upstream_entry
from support.ports import free_port
from support.program import Program
from support.upstream import ThreadedUpstream, TlsMode


@dataclass
class Site:
    """A relay, not yet started, with the upstreams of acme, of globex and of the platform."""

    relay: Program
    acme: ThreadedUpstream
    globex: ThreadedUpstream
    platform: ThreadedUpstream
    folder: Path

    @property
    def port(self) -> int:
        return self.relay.port


def upstream(certificates: Certificates, tls: TlsMode, user: str) -> ThreadedUpstream:
    return ThreadedUpstream(certificates.good(), tls=tls, users={user: f"{user}'s password"})


@pytest.fixture
def site(certificates: Certificates, tmp_path: Path) -> Iterator[Site]:
    with (
        upstream(certificates, "implicit", "acme") as acme,
        upstream(certificates, "starttls", "globex") as globex,
        upstream(certificates, "implicit", "platform") as platform,
    ):
        port = free_port()
        ca_file = certificates.ca_file
        config = two_tenants(
            tmp_path,
            port,
            acme=upstream_entry(acme, ca_file),
            globex=upstream_entry(globex, ca_file),
            platform=upstream_entry(platform, ca_file),
            aliases={"root": "ops@platform.example"},
        )
        relay = Program(tmp_path, config, port)
        yield Site(relay, acme, globex, platform, tmp_path)
        relay.end()


@pytest.fixture
def running(site: Site) -> Site:
    site.relay.start()
    return site
