"""The configuration as frozen values: every key, its kind, its default and what it is for.

The one place where a default lives, with the modules of its sections. Descriptions are for the
sysadmin: the reference (docs/configuration.md) and the editors' JSON Schema are made from them.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from relay.config import derived
from relay.config import fields as f
from relay.config.addresses import ListenAddress, Mailbox
from relay.config.base import Model, written
from relay.config.bounds import (
    Audit,
    Limits,
    QueueLimits,
    Rates,
    Retry,
    RetryChanges,
    Suppression,
    Timeouts,
    UpstreamLimits,
)
from relay.config.classes import Match, MessageClass
from relay.config.clients import ClientNetwork, Clients, Listen, User
from relay.config.doctor import Doctor
from relay.config.http import Http
from relay.config.patterns import AddressPattern
from relay.config.problem import Places
from relay.config.secrets import Secret, SecretError
from relay.config.store import StoreUrl
from relay.config.tenants import Acknowledge, Default, Failover, Pilot, Tenant
from relay.config.upstreams import Upstream

__all__ = [
    "Acknowledge",
    "AddressPattern",
    "Alerts",
    "Audit",
    "ClientNetwork",
    "Clients",
    "Config",
    "Default",
    "Doctor",
    "Failover",
    "Http",
    "Limits",
    "Listen",
    "ListenAddress",
    "Mailbox",
    "Match",
    "MessageClass",
    "Pilot",
    "QueueLimits",
    "Rates",
    "Retry",
    "RetryChanges",
    "Secret",
    "SecretError",
    "Secrets",
    "StoreUrl",
    "Suppression",
    "Tenant",
    "Timeouts",
    "Upstream",
    "UpstreamLimits",
    "User",
]


class Alerts(Model):
    """Who hears that something broke, beside the owner of the tenant."""

    email: f.Mailbox | None = Field(
        default=None, description="Who hears of everything, and of tenants without an owner."
    )
    webhook: f.Webhook | None = Field(
        default=None,
        description="An http or https URL to which each alert is posted, or a reference to it, "
        "like file:/etc/relay/secrets/webhook, since it often holds a token.",
    )
    upstream: str | None = Field(
        default=None, description="The upstream by which alerts are mailed. Absent: the default's."
    )
    gather: f.DurationOrNone = written(
        "5m", "Alerts of one kind are gathered for so long, to be told together."
    )


class Secrets(Model):
    """How sealed secrets are opened."""

    key_file: f.FilePath = written(
        "/etc/relay/secret.key",
        "The keys that open sealed: secrets, made by relay secret keygen; readable by the service "
        "alone.",
    )


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
    http: Http | None = Field(
        default=None, description="Health, metrics and status over HTTP. Absent: off."
    )
    secrets: Secrets = Field(default_factory=Secrets, description="What opens sealed secrets.")
    upstreams: Annotated[dict[f.Name, Upstream], BeforeValidator(derived.with_names)] = Field(
        default_factory=dict, description="The next hops, by name."
    )
    default: Default | None = Field(default=None, description="The way of all other mail.")
    tenants: Annotated[dict[f.Name, Tenant], BeforeValidator(derived.with_names)] = Field(
        default_factory=dict, description="Whose mail goes where, by name."
    )
    classes: Annotated[dict[f.Name, MessageClass], BeforeValidator(derived.with_names)] = Field(
        default_factory=dict,
        description="Kinds of mail that are treated otherwise, by name; the first that matches "
        "holds.",
    )
    retry: Retry = Field(default_factory=Retry, description="When to try again.")
    suppression: Suppression = Field(
        default_factory=Suppression, description="When an address is not tried again."
    )
    alerts: Alerts = Field(default_factory=Alerts, description="Who hears of failures, and how.")
    audit: Audit = Field(default_factory=Audit, description="How long the trail goes back.")
    doctor: Doctor = Field(default_factory=Doctor, description="Whom relay doctor asks.")
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
