"""The kinds of value a key can have, as pydantic types: how each is read, checked and described.

The title in a kind's JSON Schema is the word that the reference has for it.
"""

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticKnownError

from relay.config import addresses, patterns, presets, quantities
from relay.config.secrets import Secret, secret
from relay.config.store import StoreUrl, store_url

IPNetwork = IPv4Network | IPv6Network

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,100}")  # RFC 5322 section 2.2


def _read_by(read: Callable[[str], Any], kind: type | UnionType) -> PlainValidator:
    """Read text by ``read``; leave a value of ``kind`` as it is, for models made in code."""

    def validate(value: object) -> object:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        return read(value)

    return PlainValidator(validate)


def _described(title: str, **schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "title": title, **schema})


def _quantity(read: Callable[[str], float], example: str) -> PlainValidator:
    """A number with its unit; a bare number gets the advice that its text would get."""

    def validate(value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError(f"must be written like {example}")
        return read(value)

    return PlainValidator(validate)


def _positive(value: float) -> float:
    if not value:
        raise ValueError("must be more than 0")
    return value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f'"{text}" can\'t be a name: use letters, digits, ".", "_" and "-", up to 64 of them'
        )
    return text


def _user_name(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("can't be the name of a user")
    return text


def _alias_name(text: str) -> str:
    if "@" in text:
        raise ValueError(f'"{text}" has a domain; an alias is for recipients without one')
    return text.lower()


def _host_name(text: str) -> str:
    name = addresses.a_label(text)
    if "_" in name:
        raise ValueError(f'"{text}" has an underscore, which a host\'s name may not have')
    return name


def _null_sender(text: str) -> str:
    return text if text == "keep" else addresses.address(text)


def _whole_path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(f'"{text}" is not a whole path: begin it with /')
    return Path(text)


def _network(text: str) -> IPNetwork:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(_network_advice(text)) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f'"{text}": write it as an IPv4 network; mapped peers are unmapped')
    return network


def _network_advice(text: str) -> str:
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        return f'"{text}" is not a network: write 10.1.0.0/16, 10.1.2.3 or "fd00::/8"'
    host = text.partition("/")[0]
    return f'"{text}" has bits beyond its mask: write {loose} for all of them, {host} for the one'


def _patience(value: float) -> float:
    if not 1 <= value <= 300:
        raise ValueError("must be 1s or more, and 5m or less: the application is kept waiting")
    return value


def _header_name(text: str) -> str:
    if not _HEADER_NAME.fullmatch(text):
        raise ValueError(f'"{text}" can\'t be the name of a header field')
    return text


def _selector(text: str) -> str:
    if not _SELECTOR.fullmatch(text) or len(text) > 200:
        raise ValueError(f'"{text}" is no DKIM selector: write what stands before ._domainkey')
    return text.lower()


def _line_length(value: int) -> int:
    if value < 1000:
        raise ValueError("must be 1000B or more: lines of that length are allowed to everyone")
    return value


def _secret(value: object, info: ValidationInfo) -> Secret:
    """``context["environ"]`` is where env: and credential: references are looked up."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    environ: Mapping[str, str] = (info.context or {}).get("environ", os.environ)
    return secret(value, environ)


def _password_hash(value: Secret) -> Secret:
    if value.plain and not value.reveal().startswith("$argon2"):
        raise ValueError("is not an argon2 hash, which begins with $argon2id$; quote it whole")
    return value


def _webhook(value: Secret) -> Secret:
    if value.plain:
        addresses.web_url(value.reveal())
    return value


class _ProviderNames:
    """The presets' names in the JSON Schema, looked up only when one is made."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        from relay.config.providers import provider_names

        return {"type": "string", "enum": list(provider_names())}


_DURATION = _described("duration", pattern=f"^{quantities.DURATION_PATTERN}$")
_SIZE = _described("size", pattern=f"^{quantities.SIZE_PATTERN}$")
_AS_TEXT = PlainSerializer(str)
_FROM_DURATION = _quantity(quantities.duration_s, "30s or 5m")
_FROM_SIZE = _quantity(quantities.size_bytes, "64KiB or 25MiB")

DurationOrNone = Annotated[float, _FROM_DURATION, _DURATION]
Duration = Annotated[float, _FROM_DURATION, AfterValidator(_positive), _DURATION]
SizeOrNone = Annotated[int, _FROM_SIZE, _SIZE]
Size = Annotated[int, _FROM_SIZE, AfterValidator(_positive), _SIZE]
Patience = Annotated[float, _FROM_DURATION, AfterValidator(_patience), _DURATION]
LineLength = Annotated[int, _FROM_SIZE, AfterValidator(_line_length), _SIZE]
Count = Annotated[int, Field(strict=True, ge=1, title="number")]
Port = Annotated[int, Field(strict=True, ge=1, le=65535, title="port number")]
Factor = Annotated[float, Field(strict=True, ge=1, le=100, title="number")]
Rate = Annotated[float, Field(strict=True, ge=0.001, le=100_000, title="number")]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, title="percentage")]
Switch = Annotated[bool, Field(strict=True)]

Name = Annotated[str, AfterValidator(_name)]
UserName = Annotated[str, AfterValidator(_user_name)]
AliasName = Annotated[str, AfterValidator(_alias_name)]
HostName = Annotated[str, AfterValidator(_host_name), _described("host name")]
Host = Annotated[str, AfterValidator(addresses.host), _described("host name or IP address")]
DomainPattern = Annotated[str, AfterValidator(addresses.domain_pattern), _described("domain")]
Address = Annotated[str, AfterValidator(addresses.address), _described("address")]
Sender = Annotated[str, AfterValidator(addresses.sender), _described("address")]
NullSender = Annotated[str, AfterValidator(_null_sender), _described("keep, or an address")]
Mailbox = Annotated[
    addresses.Mailbox,
    _read_by(addresses.mailbox, addresses.Mailbox),
    _AS_TEXT,
    _described("mailbox"),
]
ListenAddress = Annotated[
    addresses.ListenAddress,
    _read_by(addresses.listen_address, addresses.ListenAddress),
    _AS_TEXT,
    _described("listen address"),
]
Network = Annotated[
    IPNetwork,
    _read_by(_network, IPNetwork),
    _AS_TEXT,
    _described("network"),
]
FilePath = Annotated[Path, _read_by(_whole_path, Path), _AS_TEXT, _described("path")]
Store = Annotated[StoreUrl, _read_by(store_url, StoreUrl), _AS_TEXT, _described("store URL")]
SecretReference = Annotated[Secret, PlainValidator(_secret), _AS_TEXT, _described("secret")]
PasswordHash = Annotated[SecretReference, AfterValidator(_password_hash)]
Webhook = Annotated[
    SecretReference, AfterValidator(_webhook), _described("https or http URL, or a secret")
]

ProviderName = Annotated[str, AfterValidator(presets.provider_name), _ProviderNames()]
Region = Annotated[str, AfterValidator(presets.region), _described("region")]
Selector = Annotated[str, AfterValidator(_selector), _described("selector")]
HeaderName = Annotated[str, AfterValidator(_header_name)]
AddressPattern = Annotated[
    patterns.AddressPattern,
    _read_by(patterns.address_pattern, patterns.AddressPattern),
    _AS_TEXT,
    _described("address pattern"),
]
Expression = Annotated[
    re.Pattern[str],
    _read_by(patterns.regular_expression, re.Pattern),
    PlainSerializer(lambda expression: expression.pattern),
    _described("regular expression", maxLength=patterns.LONGEST_EXPRESSION),
]

Tls = Literal["none", "starttls", "implicit"]
Auth = Literal["none", "optional", "required"]
Rewrite = Literal["never", "foreign", "always"]
Priority = Literal["high", "normal", "low"]
