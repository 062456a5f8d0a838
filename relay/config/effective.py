"""The effective configuration, value by value, each with its origin: for ``relay config show``.

Values are as a person would write them; a secret is its reference, whatever stood in the file.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relay.config import presets, shape
from relay.config.base import Model
from relay.config.document import Document
from relay.config.loader import load_with_document
from relay.config.problem import Loc, dotted
from relay.config.quantities import DURATION_PATTERN, SIZE_PATTERN
from relay.config.schema import Config, Secret
from relay.model.value import value_class

_DEFAULT = "default"
# A listener's auth, where it is not written: the one default that another section decides.
_WITH_USERS = "default, since there are clients.users"
_ABSENT = object()
_QUANTITY = re.compile(f"{DURATION_PATTERN}|{SIZE_PATTERN}")


@value_class
class Setting:
    """``value`` is text, a number, a truth value or a list of them; ``origin`` is a line of a file,
    a variable, a preset, or the default."""

    loc: Loc
    value: Any
    origin: str

    @property
    def key(self) -> str:
        return dotted(self.loc)


def effective(path: Path | None, environ: Mapping[str, str]) -> list[Setting]:
    """Every value in force, in the order of the schema; what is absent is not in it. As load()."""
    config, document = load_with_document(path, environ)
    return list(_Explained(document).section(config, Config, ()))


class _Explained:
    def __init__(self, document: Document) -> None:
        self._document = document

    def section(self, model: Model, kind: Any, loc: Loc) -> Iterator[Setting]:
        fields = shape.fields_of(kind)
        for key, inner in shape.keys_of(kind).items():
            yield from self._value(model, fields[key], inner, (*loc, key))

    def _value(self, model: Model, field: str, kind: Any, loc: Loc) -> Iterator[Setting]:
        value = getattr(model, field)
        if isinstance(value, Model):
            yield from self.section(value, kind, loc)
        elif isinstance(value, dict):
            for name, item in value.items():
                yield from self._item(item, shape.within(kind, name), (*loc, name))
        elif shape.is_list(kind) and shape.is_section(shape.within(kind, 0)):
            for index, item in enumerate(value):
                yield from self._item(item, shape.within(kind, index), (*loc, index))
        elif value not in (None, ()):
            yield self._setting(model, field, loc)

    def _item(self, item: Any, kind: Any, loc: Loc) -> Iterator[Setting]:
        if isinstance(item, Model):
            yield from self.section(item, kind, loc)
        else:
            yield Setting(loc, _shown(item), self._place(loc))

    def _setting(self, model: Model, field: str, loc: Loc) -> Setting:
        value, info = getattr(model, field), type(model).model_fields[field]
        written, preset = self._written(loc), self._preset(loc)
        if written is not _ABSENT:
            return Setting(loc, _shown(value, written), self._place(loc))
        if isinstance(self._written(loc[:-1]), str) and info.is_required():
            # The short form of a section is the value of its one key that must be there.
            return Setting(loc, _shown(value), self._place(loc[:-1]))
        if preset is not _ABSENT:
            provider = self._written(loc[:2])["provider"]
            literal = loc[-1] == "username" and presets.username_of(provider) is not None
            return Setting(loc, preset if literal else _shown(value, preset), f"preset {provider}")
        default = None if info.is_required() else info.default
        follows = field == "auth" and value != default
        origin = _WITH_USERS if follows else _DEFAULT
        return Setting(loc, _shown(value, default), origin)

    def _place(self, loc: Loc) -> str:
        place = self._document.places.get(loc)
        if place is None:
            return _DEFAULT
        return f"{place.source}:{place.line}" if place.line else f"variable {place.source}"

    def _written(self, loc: Loc) -> Any:
        """As the file or a variable has it."""
        return _at(self._document.data, loc)

    def _preset(self, loc: Loc) -> Any:
        """What a preset says, if it does, of a setting that is not written."""
        if loc[0] != "upstreams":
            return _ABSENT
        return _at(presets.fill(self._written(loc[:2])), loc[2:])


def _at(data: Any, loc: Loc) -> Any:
    for key in loc:
        in_list = isinstance(data, list) and isinstance(key, int) and key < len(data)
        if not in_list and not (isinstance(data, dict) and key in data):
            return _ABSENT
        data = data[key]
    return data


def _shown(value: Any, written: Any = None) -> Any:
    """``written`` is what the value was read from: 5m says more than 300.0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if isinstance(written, str) and _QUANTITY.fullmatch(written):
            return written
        return int(value) if value == int(value) else value
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if isinstance(value, re.Pattern):
        return value.pattern
    return value.reference if isinstance(value, Secret) else str(value)
