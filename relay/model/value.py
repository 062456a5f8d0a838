"""``@value_class``: a frozen dataclass with slots, for the type checker as for the reader.

A class of the library's ``dataclass(frozen=True, slots=True)`` takes 0.6 ms to make, since Python
compiles six methods for it; a hundred and fifty of them were a fifth of the time until the relay
is ready. Here all values share these methods but ``__init__``. That nobody assigns to a field is
left to mypy alone: to forbid it at run time, too, doubles what it costs to make one.
"""

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[_T]) -> type[_T]:
    """Values of one class are equal where their fields are. What the class defines itself stays;
    ``replace``, ``fields`` and ``asdict`` of the library work."""
    made: Any = dataclass(slots=True, eq=False, repr=False)(cls)
    compared = [one.name for one in fields(made) if one.compare]
    made._compared = attrgetter(*compared) if compared else type
    for name, method in _SHARED.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    found: type[_T] = made
    return found


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _shown(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


_SHARED = {"__eq__": _equal, "__hash__": _hash, "__repr__": _shown}
