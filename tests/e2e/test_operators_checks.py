"""relay check --connect and relay test beside a relay that serves, and after it."""

from pathlib import Path

from support.certificates import Certificates
from support.configs import relay_config, upstream_entry
from support.mail import send
from support.ports import free_port
from support.program import Program
from support.upstream import ThreadedUpstream


def test_with_the_relay_up_and_down(tmp_path: Path, certificates: Certificates) -> None:
    port = free_port()
    server = ThreadedUpstream(certificates.good(), tls="starttls", users={"acme": "s3cret-words"})
    with server:
        config = relay_config(
            tmp_path,
            port,
            upstreams={"acme-mail": upstream_entry(server, certificates.ca_file)},
            tenants={"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}},
        )
        relay = Program(tmp_path, config, port)
        with relay:
            relay.verb("check", "--connect", check=True)
            relay.verb("test", "acme", "--to", "qa@customer.example", check=True)
            # The relay goes on with its own mail meanwhile.
            send(port, "shop@acme.example", "ann@customer.example")
            server.wait_for(3)
            relay.stop()
            relay.verb("test", "acme", "--to", "qa@customer.example", check=True)
            relay.verb("check", "--connect", check=True)
            told = relay.listing("audit", "--event", "test.sent")
            relay.start()
    assert [event["upstream"] for event in told] == ["acme-mail"] * 4
    recipients = [taken.recipients for taken in server.transactions]
    assert recipients.count(("qa@customer.example",)) == 4
