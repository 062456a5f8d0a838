"""relay/providers/*.yaml -> checked, frozen values: the presets, and what replies mean anywhere.

A file is read when its provider is first asked for, so that a relay without presets reads none.
Raises ValueError, naming the file, for data that is not as it should be.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from relay.config.base import Model
from relay.config.document import read_document
from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.provider import (
    Counts,
    Endpoint,
    Provider,
    ProviderDkim,
    ProviderLimits,
    ProviderSpf,
    ReplyRule,
)

_FOLDER = Path(__file__).parent.with_name("providers")
_GENERAL = "general"


@cache
def provider_names() -> tuple[str, ...]:
    """In alphabetical order."""
    return tuple(sorted({file.stem for file in _FOLDER.glob("*.yaml")} - {_GENERAL}))


@cache
def provider(name: str) -> Provider:
    """Raises KeyError for a name that is not in provider_names()."""
    if name not in provider_names():
        raise KeyError(name)
    return read_provider(name, _octets(name))


@cache
def providers() -> Mapping[str, Provider]:
    """All of them, by name."""
    return MappingProxyType({name: provider(name) for name in provider_names()})


@cache
def general_rules() -> tuple[ReplyRule, ...]:
    """What a reply means at any server; there is a row for every negative reply.

    Every start needs them. They come with the program, and a test reads them with all checks, which
    would take a twentieth of the time until the relay is ready.
    """
    rows = yaml.load(_octets(_GENERAL), Loader=yaml.CSafeLoader)["replies"]
    return tuple(_rule(row) for row in rows)


def _rule(row: Mapping[str, Any]) -> ReplyRule:
    return ReplyRule(
        cause=Cause(row["cause"]),
        scope=Scope(row["scope"]),
        example=row["example"],
        source=row["source"],
        codes=_as_tuple(row.get("code", [])),
        statuses=_as_tuple(row.get("status", [])),
        text=tuple(row.get("text", ())),
        phases=frozenset(map(Phase, row.get("phases", ()))),
        permanent=row.get("permanent", False),
        remedy=row.get("remedy"),
    )


def _octets(name: str) -> bytes:
    return (_FOLDER / f"{name}.yaml").read_bytes()


def read_provider(name: str, octets: bytes) -> Provider:
    """The provider that a file of this name and content describes."""
    return _checked(_ProviderFile, name, octets).provider(name)


def read_rules(name: str, octets: bytes) -> tuple[ReplyRule, ...]:
    """The rows of a file that holds nothing else."""
    return tuple(row.rule() for row in _checked(_RulesFile, name, octets).replies)


_FileT = TypeVar("_FileT", bound=Model)


def _checked(kind: type[_FileT], name: str, octets: bytes) -> _FileT:
    document = read_document(octets, f"{name}.yaml")
    if document.problems:
        raise ValueError("\n".join(str(problem) for problem in document.problems))
    try:
        return kind.model_validate(document.data)
    except ValidationError as error:
        raise ValueError(f"{name}.yaml: {error}") from None


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """One value may stand without brackets, and codes are written as numbers."""
    items = value if isinstance(value, list) else [value]
    return tuple(str(item) if type(item) is int else item for item in items)


_Text = Annotated[str, Field(min_length=1)]
_Source = Annotated[str, Field(pattern=r"^\w.*, \d{4}-\d{2}$")]
_Code = Annotated[str, Field(pattern=r"^[45](\d\d)?$")]
_Status = Annotated[str, Field(pattern=r"^[45](\.\d{1,3}){1,2}$")]
_Host = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.([a-z0-9-]+|\{region\}))+$")]
_Domain = Annotated[str, Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$")]
_Selector = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
_Count = Annotated[int, Field(gt=0, strict=True)]
_Rate = Annotated[float, Field(gt=0)]


class _Row(Model):
    example: Annotated[str, Field(pattern=r"^[45]\d\d \S")]
    cause: Cause
    scope: Scope
    source: _Source
    codes: Annotated[tuple[_Code, ...], BeforeValidator(_as_tuple)] = Field((), alias="code")
    statuses: Annotated[tuple[_Status, ...], BeforeValidator(_as_tuple)] = Field((), alias="status")
    text: tuple[_Text, ...] = ()
    phases: frozenset[Phase] = frozenset()
    permanent: Annotated[bool, Field(strict=True)] = False
    remedy: _Text | None = None

    @model_validator(mode="after")
    def _makes_a_rule(self) -> Self:
        self.rule()
        return self

    def rule(self) -> ReplyRule:
        return ReplyRule(**dict(self))


class _RulesFile(Model):
    replies: tuple[_Row, ...]


class _Endpoint(Model):
    host: _Host
    port: Annotated[int, Field(gt=0, lt=65536, strict=True)]
    tls: Literal["implicit", "starttls"]
    source: _Source


class _Username(Model):
    literal: _Text | None = None
    form: _Text | None = None
    source: _Source

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.literal is None) == (self.form is None):
            raise ValueError("must have either literal or form")
        return self


class _Figure(Model):
    """What is known, and who says so."""

    value: Any
    source: _Source


class _Limits(Model):
    """Their values; a model for each kind of figure would take three times as long to make."""

    connections: _Count | None = None
    messages_per_connection: _Count | None = None
    idle_s: _Rate | None = None
    recipients: _Count | None = None
    message_bytes: _Count | None = None
    per_second: _Rate | None = None
    per_minute: _Count | None = None
    per_hour: _Count | None = None
    per_day: _Count | None = None
    counts: Counts | None = None
    per_day_counts: Counts | None = None


class _Regions(Model):
    value: tuple[_Text, ...]
    source: _Source


class _Header(Model):
    value: _Text
    source: _Source


class _Spf(Model):
    include: _Domain | None = None
    keeps_reverse_path: Annotated[bool, Field(strict=True)]
    source: _Source

    def spf(self) -> ProviderSpf:
        return ProviderSpf(self.include, self.keeps_reverse_path)


class _Dkim(Model):
    selectors: tuple[_Selector, ...] = ()
    fixed: Annotated[bool, Field(strict=True)] = False
    where: _Text
    cname: _Text | None = None
    source: _Source

    def dkim(self) -> ProviderDkim:
        return ProviderDkim(self.selectors, self.fixed, self.where, self.cname)


class _ProviderFile(Model):
    title: _Text
    endpoints: Annotated[tuple[_Endpoint, ...], Field(min_length=1)]
    username: _Username
    limits: dict[str, _Figure] = Field(default_factory=dict)
    regions: _Regions | None = None
    idempotency_header: _Header | None = None
    spf: _Spf | None = None
    dkim: _Dkim | None = None
    notes: tuple[_Text, ...] = ()
    replies: tuple[_Row, ...] = ()

    def provider(self, name: str) -> Provider:
        return Provider(
            name=name,
            title=self.title,
            endpoints=tuple(Endpoint(e.host, e.port, e.tls) for e in self.endpoints),
            username=self.username.literal,
            username_form=self.username.form or "",
            limits=self._known_limits(),
            replies=tuple(row.rule() for row in self.replies),
            notes=self.notes,
            sources=tuple(f"{what}: {source}" for what, source in self._sources()),
            regions=self.regions.value if self.regions else (),
            idempotency_header=self.idempotency_header.value if self.idempotency_header else None,
            spf=self.spf.spf() if self.spf else None,
            dkim=self.dkim.dkim() if self.dkim else None,
        )

    @model_validator(mode="after")
    def _has_sound_limits(self) -> Self:
        self._known_limits()
        return self

    def _known_limits(self) -> ProviderLimits:
        """Those that are not named keep their neutral default."""
        values = {key: figure.value for key, figure in self.limits.items()}
        return ProviderLimits(**_Limits.model_validate(values).model_dump(exclude_unset=True))

    def _sources(self) -> Iterator[tuple[str, str]]:
        for endpoint in self.endpoints:
            yield f"{endpoint.host} {endpoint.port} {endpoint.tls}", endpoint.source
        yield "user name", self.username.source
        limits = self._known_limits()
        for key, figure in self.limits.items():
            yield f"{key} {getattr(limits, key)}", figure.source
        if self.regions:
            yield "regions", self.regions.source
        if self.idempotency_header:
            yield self.idempotency_header.value, self.idempotency_header.source
        if self.spf:
            yield f"SPF {self.spf.include or 'without an include'}", self.spf.source
        if self.dkim:
            yield f"DKIM {', '.join(self.dkim.selectors) or 'by account'}", self.dkim.source
