"""The configuration as frozen values: every key, its kind, its default and what it is for.

The one place where a default lives. Descriptions are for the sysadmin: the reference
(docs/configuration.md) and the editors' JSON Schema are made from them.
"""

from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from relay.config import derived
from relay.config import fields as f
from relay.config.addresses import ListenAddress, Mailbox, is_loopback
from relay.config.base import Model, derived_default, written
from relay.config.bounds import Audit, Limits, QueueLimits, Retry, Timeouts, UpstreamLimits
from relay.config.problem import Places
from relay.config.secrets import Secret, SecretError
from relay.config.store import StoreUrl

__all__ = [
    "Audit",
    "ClientNetwork",
    "Clients",
    "Config",
    "Default",
    "Limits",
    "Listen",
    "ListenAddress",
    "Mailbox",
    "QueueLimits",
    "Retry",
    "Secret",
    "SecretError",
    "StoreUrl",
    "Tenant",
    "Timeouts",
    "Upstream",
    "UpstreamLimits",
    "User",
]


_REPLY_TO = (
    "Where replies go, for mail that doesn't say. Absent: rewritten mail gets its original From "
    "there."
)


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


class Upstream(Model):
    """A next hop: the endpoint of a provider with its TLS mode and credentials."""

    name: SkipJsonSchema[str] = Field(default="", validation_alias="(name)")
    host: f.Host = Field(description="The provider's SMTP host; its certificate must be for it.")
    port: f.Port = derived_default(
        465, "By default 465 for tls implicit, 587 for starttls, 25 for none."
    )
    tls: f.Tls = derived_default(
        "implicit",
        "implicit (465), starttls (587), or none, which is for loopback only. By default "
        "implicit on the ports 465 and 2465 and where no port is named, else starttls.",
    )
    username: f.SecretReference | None = Field(
        default=None, description="The login, or a reference to it. Absent: no AUTH."
    )
    password: f.SecretReference | None = Field(
        default=None,
        description="A reference, like file:/etc/relay/secrets/acme; plain text works too.",
    )
    ca_file: f.FilePath | None = Field(
        default=None,
        description="The CA of a private server's certificate, in PEM; else the system's.",
    )
    null_sender: f.NullSender = Field(
        default="keep",
        description="The reverse-path for mail that has none (bounces, vacation notes): keep, or "
        "an address where the provider refuses MAIL FROM:<>.",
    )
    limits: UpstreamLimits = Field(
        default_factory=UpstreamLimits, description="What the provider bears."
    )

    _fit = model_validator(mode="before")(derived.port_and_tls)


class Default(Model):
    """The way of unrouted senders, of tenants without an upstream and of toggled-off tenants.

    Without it, unrouted senders are refused, and no tenant can be toggled off.
    """

    upstream: str = Field(description="The name of one of the upstreams.")
    from_: f.Mailbox | None = Field(
        default=None,
        validation_alias="from",
        description="The sender under which the default's mail leaves.",
    )
    reply_to: f.Mailbox | None = Field(default=None, description=_REPLY_TO)
    rewrite_from: f.Rewrite = derived_default(
        "never",
        "Whether senders are rewritten to from: never, foreign (those outside the tenant's "
        "domains), or always. By default always where from is given, else never.",
    )

    _fit = model_validator(mode="before")(derived.rewriting("always"))


class Tenant(Model):
    """Sender domains with their upstream, identity and owner."""

    name: SkipJsonSchema[str] = Field(default="", validation_alias="(name)")
    domains: tuple[f.DomainPattern, ...] = Field(
        default=(),
        description='Sender domains; "*.acme.example" (in quotes) is everything beneath '
        "acme.example, at any depth, but not acme.example itself.",
    )
    senders: tuple[f.Sender, ...] = Field(
        default=(), description="Exact sender addresses; they come before anybody's domains."
    )
    upstream: str | None = Field(
        default=None, description="The name of one of the upstreams. Absent: the default's."
    )
    enabled: f.Switch = Field(
        default=True,
        description="false sends the tenant's mail by the default, under its identity.",
    )
    from_: f.Mailbox | None = Field(
        default=None,
        validation_alias="from",
        description="The sender to which the tenant's mail is rewritten.",
    )
    reply_to: f.Mailbox | None = Field(default=None, description=_REPLY_TO)
    rewrite_from: f.Rewrite = derived_default(
        "never",
        "Whether senders are rewritten to from: never, foreign (www-data@web01, say: those "
        "outside the tenant's domains), or always. By default foreign where from is given, "
        "else never.",
    )
    owner: f.Mailbox | None = Field(
        default=None, description="Who hears of this tenant's failures and dead letters."
    )
    recovery: str | None = Field(
        default=None,
        description="Where the owner finds what to do about a failure: a page, a phone number.",
    )
    notes: str | None = Field(
        default=None, description="For the next admin: what was configured here, and why."
    )

    _fit = model_validator(mode="before")(derived.rewriting("foreign"))


class Config(Model):
    """The whole configuration."""

    hostname: f.HostName = Field(
        default_factory=derived.own_host_name,
        description="Our name in the banner, in EHLO and in Received; some providers want a "
        "full one, with a domain. By default the machine's own.",
    )
    clients: Clients = Field(default_factory=Clients, description="Who may send.")
    listen: tuple[Annotated[Listen, derived.ShortForm("address", "listen address")], ...] = written(
        ("127.0.0.1:25",),
        "Where applications connect: addresses, or mappings with address and the keys below.",
    )
    aliases: dict[f.AliasName, f.Address] = Field(
        default_factory=dict,
        description="Recipients without a domain, like root, and where their mail goes; any "
        "other recipient without a domain is refused.",
    )
    limits: Limits = Field(default_factory=Limits, description="What one client may ask.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long to wait.")
    store: f.Store = written(
        "sqlite:///var/lib/relay/relay.db",
        "Where the queue and the trail are kept: a file on a local disk, by its whole path, or "
        "postgresql://user@host/database.",
    )
    queue: QueueLimits = Field(default_factory=QueueLimits, description="How much may wait.")
    upstreams: Annotated[dict[f.Name, Upstream], BeforeValidator(derived.with_names)] = Field(
        default_factory=dict, description="The next hops, by name."
    )
    default: Default | None = Field(default=None, description="The way of all other mail.")
    tenants: Annotated[dict[f.Name, Tenant], BeforeValidator(derived.with_names)] = Field(
        default_factory=dict, description="Whose mail goes where, by name."
    )
    retry: Retry = Field(default_factory=Retry, description="When to try again.")
    audit: Audit = Field(default_factory=Audit, description="How long the trail goes back.")
    source: SkipJsonSchema[Path | None] = Field(default=None, validation_alias="(source)")
    places: SkipJsonSchema[Places] = Field(
        default_factory=Places, validation_alias="(places)", repr=False
    )

    @field_validator("listen")
    @classmethod
    def _offer_auth(cls, listen: tuple[Listen, ...], info: ValidationInfo) -> tuple[Listen, ...]:
        """Where a listener doesn't say, users may log in wherever it is safe to."""
        if not (info.data.get("clients") or Clients()).users:
            return listen
        return tuple(
            one.model_copy(update={"auth": "optional"})
            if "auth" not in one.model_fields_set and one.private
            else one
            for one in listen
        )
