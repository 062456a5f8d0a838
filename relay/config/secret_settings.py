"""Which settings are secrets: those that the schema has room for, and those of a configuration."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from relay.config import shape
from relay.config.problem import Loc, dotted
from relay.config.schema import Config, Secret
from relay.config.sealing import KeyFile


def secrets_of(config: Config) -> Iterator[tuple[Loc, Secret]]:
    """Every secret with the setting it stands at, in the order of the schema."""
    yield from _beneath(config, Config, ())


def bind_secrets(config: Config) -> None:
    """Tell each secret which setting it is: what is sealed opens for that one alone."""
    keys = KeyFile(config.secrets.key_file)
    for loc, secret in secrets_of(config):
        secret.bind(dotted(_sealed_as(config, loc, secret)), keys)


def settings_in(data: Any) -> Iterator[Loc]:
    """Every setting that is a secret, written or not, beneath the names that a document has."""
    yield from _room(data, Config, ())


def _sealed_as(config: Config, loc: Loc, secret: Secret) -> Loc:
    """A user name that is the password once more, like Postmark's token, is sealed as that."""
    if loc[0] == "upstreams" and secret == config.upstreams[str(loc[1])].password:
        return (*loc[:-1], "password")
    return loc


def _beneath(value: Any, kind: Any, loc: Loc) -> Iterator[tuple[Loc, Secret]]:
    """``kind`` has room for secrets."""
    if value is None:
        return
    if isinstance(value, Secret):
        yield loc, value
    elif shape.is_named(kind):
        for name, item in value.items():
            yield from _beneath(item, shape.within(kind, name), (*loc, name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _beneath(item, shape.within(kind, index), (*loc, index))
    else:
        for key, field, inner in _keys_with_room(kind):
            yield from _beneath(getattr(value, field), inner, (*loc, key))


def _room(data: Any, kind: Any, loc: Loc) -> Iterator[Loc]:
    """``kind`` has room for secrets. Lists have none yet: a new one would need a case here."""
    if shape.is_secret(kind):
        yield loc
    elif shape.is_named(kind):
        for name, item in data.items() if isinstance(data, dict) else ():
            yield from _room(item, shape.within(kind, name), (*loc, name))
    else:
        for key, _, inner in _keys_with_room(kind):
            item = data.get(key) if isinstance(data, dict) else None
            yield from _room(item, inner, (*loc, key))


@cache
def _keys_with_room(kind: Any) -> tuple[tuple[str, str, Any], ...]:
    """Key, field and kind. Thousands of tenants have no secret, and are not looked through."""
    fields = shape.fields_of(kind)
    keys = shape.keys_of(kind).items()
    return tuple((key, fields[key], inner) for key, inner in keys if _has_room(inner))


def _has_room(kind: Any) -> bool:
    """Whether a secret can stand in a value of this kind."""
    if shape.is_secret(kind):
        return True
    if not shape.is_section(kind) and not shape.is_list(kind):
        return False
    inner = shape.keys_of(kind).values() or (shape.within(kind, 0),)
    return any(_has_room(one) for one in inner)
