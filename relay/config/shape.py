"""The shape of the schema: which keys can stand where, for messages and for the environment."""

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from relay.config.base import Model
from relay.config.problem import Loc
from relay.config.schema import Config
from relay.config.secrets import Secret


def kind_at(loc: Loc) -> Any:
    """The kind of value at ``loc``: a model, a dict, tuple or plain type; None where none is."""
    kind: Any = Config
    for key in loc:
        kind = within(kind, key)
    return kind


@cache
def keys_of(kind: Any) -> Mapping[str, Any]:
    """The keys of a model as they are written, with their kinds; {} for anything else."""
    return {
        key: _plain(kind.model_fields[name].annotation) for key, name in fields_of(kind).items()
    }


@cache
def fields_of(kind: Any) -> Mapping[str, str]:
    """The keys of a model as they are written, with the names of their fields."""
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        return {}
    keys = {str(field.validation_alias or name): name for name, field in kind.model_fields.items()}
    return {key: name for key, name in keys.items() if not key.startswith("(")}


def is_section(kind: Any) -> bool:
    """Whether keys stand beneath: settings, or names."""
    return bool(keys_of(kind)) or get_origin(kind) is dict


def is_named(kind: Any) -> bool:
    """Whether the keys beneath are names that the user has chosen."""
    return get_origin(kind) is dict


def is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


def is_secret(kind: Any) -> bool:
    return kind is Secret


def within(kind: Any, key: str | int) -> Any:
    """The kind of what stands there at ``key``; None where nothing can."""
    if get_origin(kind) is dict:
        return _plain(get_args(kind)[1])
    if is_list(kind):
        return _plain(get_args(kind)[0])
    return keys_of(kind).get(str(key))


def _plain(annotation: Any) -> Any:
    """Without Annotated and "| None"."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        first = next(arg for arg in get_args(annotation) if arg is not NoneType)
        return _plain(first)
    return annotation
