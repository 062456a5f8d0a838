"""The next hops: the section upstreams."""

from typing import Any

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema

from relay.config import derived, presets
from relay.config import fields as f
from relay.config.base import Model, derived_default
from relay.config.bounds import UpstreamLimits
from relay.model.provider import Provider


class Upstream(Model):
    """A next hop: the endpoint of a provider with its TLS mode and credentials."""

    name: SkipJsonSchema[str] = Field(default="", validation_alias="(name)")
    provider: f.ProviderName | None = Field(
        default=None,
        description="The provider whose preset supplies host, port, tls, limits, and the username "
        "where it is the same for all, as far as they are not given here.",
    )
    region: f.Region | None = Field(
        default=None,
        description="Where the account is, like eu-west-1; for providers whose host depends on it.",
    )
    host: f.Host = Field(
        description="The provider's SMTP host; its certificate must be for it. Required, unless "
        "provider supplies it."
    )
    port: f.Port = derived_default(
        465,
        "By default the preset's first that fits tls, else 465 for tls implicit, 587 for starttls, "
        "25 for none.",
    )
    tls: f.Tls = derived_default(
        "implicit",
        "implicit (465), starttls (587), or none, which is for loopback only. By default what "
        "the preset has for the port, else implicit on the ports 465 and 2465 and where no port is "
        "named, starttls on all others.",
    )
    username: f.SecretReference | None = Field(
        default=None,
        description="The login, or a reference to it. By default the preset's, where there is a "
        "password. Absent: no AUTH.",
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

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        return derived.port_and_tls(presets.fill(value))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """In a file either key will do, host or provider; the preset has filled in host here."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        del schema["required"]
        schema["anyOf"] = [{"required": ["host"]}, {"required": ["provider"]}]
        return schema

    @property
    def preset(self) -> Provider | None:
        """What is known of the provider, where one is named."""
        if self.provider is None:
            return None
        from relay.config.providers import provider

        return provider(self.provider)
