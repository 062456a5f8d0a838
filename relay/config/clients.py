"""Where applications connect, and who of them may send: the sections listen and clients."""

from typing import Annotated

from pydantic import Field

from relay.config import derived
from relay.config import fields as f
from relay.config.addresses import is_loopback
from relay.config.base import Model, derived_default, written


class Listen(Model):
    """Where applications connect. A plain string is an address with every default."""

    address: f.ListenAddress = Field(description='Like 127.0.0.1:25, or "[::1]:25" in quotes.')
    tls: f.Tls = Field(
        default="none",
        description="none: clear text, for this machine; starttls: clients may ask for TLS; "
        "implicit: TLS from the first octet, as on port 465.",
    )
    auth: f.Auth = derived_default(
        "none",
        "Whether clients log in as one of clients.users: not at all, if they like, or always. "
        "By default optional where there are users and the listener has TLS or is on loopback, "
        "else none.",
    )
    cert_file: f.FilePath | None = Field(
        default=None, description="The certificate with its chain, in PEM; needed for TLS."
    )
    key_file: f.FilePath | None = Field(
        default=None,
        description="The certificate's private key, in PEM, unencrypted; needed for TLS.",
    )
    tenants: tuple[str, ...] = Field(
        default=(),
        description="The only tenants whose mail is taken here; a single one is forced, "
        "whatever the sender. Empty: any.",
    )

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def private(self) -> bool:
        """Whether a password can cross it unseen by others."""
        return self.tls != "none" or is_loopback(self.host)

    def __str__(self) -> str:
        return str(self.address)


class ClientNetwork(Model):
    """Clients by address. A plain string is a network that is bound to no tenant."""

    network: f.Network = Field(description='Like 10.1.0.0/16, 10.1.2.3 or "fd00::/8".')
    tenants: tuple[str, ...] = Field(
        default=(),
        description="The only tenants whose mail these clients may send; a single one is "
        "forced, whatever the sender. Empty: any.",
    )


class User(Model):
    """A client that logs in."""

    password_hash: f.PasswordHash = Field(
        description="The argon2 hash of the password, in quotes, or a reference to it."
    )
    tenants: tuple[str, ...] = Field(
        default=(),
        description="The only tenants whose mail this user may send; a single one is forced, "
        "whatever the sender. Empty: any.",
    )


class Clients(Model):
    """Who may hand us mail."""

    networks: tuple[Annotated[ClientNetwork, derived.ShortForm("network", "network")], ...] = (
        written(
            ("127.0.0.0/8", "::1/128"),
            "Who may send without logging in: networks, or mappings with network and tenants.",
        )
    )
    users: dict[f.UserName, User] = Field(
        default_factory=dict, description="Who may send after logging in, by user name."
    )
