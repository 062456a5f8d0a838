"""Whom ``relay doctor`` asks, and how long it waits: the section doctor."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from relay.config import fields as f
from relay.config.addresses import ListenAddress, listen_address
from relay.config.base import Model, written


def nameserver(text: str) -> ListenAddress:
    """ "9.9.9.9", "127.0.0.1:5353" or "[::1]:53"; without a port it is 53. Raises ValueError."""
    return _with_a_port(listen_address(_completed(text)))


def _completed(text: str) -> str:
    """With port 53, where it is an IP address alone."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip_address(bare)
    except ValueError:
        return text
    return f"[{bare}]:53" if ":" in bare else f"{bare}:53"


def _with_a_port(address: ListenAddress) -> ListenAddress:
    if not address.port or ip_address(address.host).is_unspecified:
        raise ValueError(f"{address} is nowhere to ask: write the server's own address and port")
    return address


Nameserver = Annotated[
    f.ListenAddress,
    BeforeValidator(lambda value: _completed(value) if isinstance(value, str) else value),
    AfterValidator(_with_a_port),
    WithJsonSchema({"type": "string", "title": "address of a DNS server"}),
]


class Doctor(Model):
    """Whom relay doctor asks about SPF, DKIM, DMARC and MX records."""

    nameservers: tuple[Nameserver, ...] = Field(
        default=(),
        description="DNS servers, asked in order until one answers; 53 where there is no port. "
        "By default the machine's own, of /etc/resolv.conf.",
    )
    timeout: f.Duration = written("5s", "How long to wait for the answer to one question.")
