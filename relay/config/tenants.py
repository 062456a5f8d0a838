"""Whose mail goes which way: the sections default and tenants."""

from functools import cache
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from relay.config import derived
from relay.config import fields as f
from relay.config.base import Model, derived_default, written
from relay.config.bounds import Rates

_REPLY_TO = (
    "Where replies go, for mail that doesn't say. Absent: rewritten mail gets its original From "
    "there."
)


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

    per_tenant: Rates = Field(
        default_factory=Rates,
        description="How much of each tenant's mail the default takes, in recipients.",
    )

    _fit = model_validator(mode="before")(derived.rewriting("always"))


class Failover(Model):
    """The ways that the tenant's mail takes while its upstream is down, under its own identity."""

    to: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Names of upstreams: the first that is not down itself. The default's, too, "
        "is taken only if it is named here."
    )
    after: f.DurationOrNone = written(
        "60s", "How long the upstream must have been down before another is used."
    )


class Pilot(Model):
    """A part of the tenant's mail that takes another upstream, to see how it does: a share of it,
    and that of named senders or to named recipients."""

    upstream: str = Field(description="The name of one of the upstreams.")
    percent: f.Percent = written(
        0, "The share of the mail, from 0 to 100; it is always that of the same recipients."
    )
    recipients: tuple[f.Address, ...] = Field(
        default=(), description="Addresses whose mail takes it whatever the share."
    )
    senders: tuple[f.Sender, ...] = Field(
        default=(), description="Senders whose mail takes it whatever the share: one application."
    )


class Acknowledge(Model):
    """When applications get their 250. A plain string is a mode with every default."""

    mode: Literal["queued", "relayed"] = Field(
        description="queued: once the message is kept safe; relayed: once the upstream has "
        "answered the first attempt, with its words, and with its refusal where it refuses every "
        "recipient for good."
    )
    within: f.Patience = written(
        "10s", "relayed waits no longer, from 1s to 5m; then it is 250 and the queue goes on."
    )


@cache
def _once_queued() -> Acknowledge:
    """One for all tenants: a kilobyte for each would be ten megabytes for ten thousand."""
    return Acknowledge(mode="queued")


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

    failover: Failover | None = Field(
        default=None, description="Other ways while the upstream is down. Absent: the mail waits."
    )
    pilot: Pilot | None = Field(
        default=None, description="A part of the mail that tries another upstream."
    )
    acknowledge: Annotated[
        Acknowledge, derived.ShortForm("mode", "mode", words=("queued", "relayed"))
    ] = Field(
        default_factory=_once_queued,
        description="When applications get their 250; a mapping with mode and the keys below, or "
        "the mode alone.",
        json_schema_extra={"default": "queued"},
    )
    dsn: f.Switch = Field(
        default=False,
        description="Whether senders get a delivery status notification (RFC 3464) for mail that "
        "failed or expired.",
    )
    dkim_selectors: tuple[f.Selector, ...] = Field(
        default=(),
        description="DKIM selectors that relay doctor looks for beside those which the provider "
        "is known by.",
    )

    _fit = model_validator(mode="before")(derived.rewriting("foreign"))
