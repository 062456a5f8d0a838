"""What the schema objects to, in words for the person who wrote the file.

Values are quoted where that helps, but never those of keys that hold secrets.
"""

from collections.abc import Callable
from typing import Any

from pydantic_core import ErrorDetails

from relay.config.problem import Loc, did_you_mean
from relay.config.shape import is_secret, keys_of, kind_at


def in_words(error: ErrorDetails, loc: Loc, written: str | None) -> str:
    """``written`` is the text of a value that YAML took for a number or a truth value."""
    if error["type"] == "extra_forbidden":
        return _unknown_key(loc)
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["input"] is None:
        return "has no value: write one, or remove the key"
    if is_secret(kind_at(loc)):
        return _SECRET.get(type(error["input"]), "must be text")
    say = _WORDS.get(error["type"])
    return say(error, written) if say else error["msg"]


def _unknown_key(loc: Loc) -> str:
    known = keys_of(kind_at(loc[:-1]))
    return f"unknown key{did_you_mean(str(loc[-1]), known)}"


def _not_text(error: ErrorDetails, written: str | None) -> str:
    value = error["input"]
    if isinstance(value, bool):
        return f"YAML reads {written or value} as {str(value).lower()}: put it in quotes"
    if isinstance(value, int | float):
        return f"YAML reads {written or value} as a number: put it in quotes"
    return f"must be text, not {_named(value)}"


def _not_a_number(error: ErrorDetails, written: str | None) -> str:
    value = error["input"]
    if isinstance(value, str) and value.strip().isdigit():
        return f"must be a number: write {value.strip()}, without quotes"
    if isinstance(value, str):
        return f'must be a number, not "{value}"'
    return f"must be a whole number, not {written or _named(value)}"


def _not_a_switch(error: ErrorDetails, written: str | None) -> str:
    return "must be true or false, without quotes"


def _not_a_list(error: ErrorDetails, written: str | None) -> str:
    value = error["input"]
    if isinstance(value, dict):
        return "must be a list [...], not a mapping"
    return f"must be a list: write [{written or value}]"


def _not_a_mapping(error: ErrorDetails, written: str | None) -> str:
    if isinstance(error["input"], list):
        return 'must be a mapping, not a list: write "name: ..." instead of "- ..." or [...]'
    # The value is not quoted: somebody may have written a URL with a password for an upstream.
    return "must be a mapping, with keys and values beneath it"


def _not_one_of(error: ErrorDetails, written: str | None) -> str:
    value, expected = error["input"], error["ctx"]["expected"].replace("'", "")
    if isinstance(value, bool):
        return f"YAML reads {written or value} as {str(value).lower()}: write {expected}"
    if not isinstance(value, str):
        return f"must be {expected}"
    words = expected.replace(" or ", ", ").split(", ")
    hint = did_you_mean(value, words)
    return f'must be {expected}, not "{value}"' + (hint if hint.startswith(";") else "")


def _empty(error: ErrorDetails, written: str | None) -> str:
    return "is empty: name one, or remove the key"


def _out_of_range(error: ErrorDetails, written: str | None) -> str:
    bounds = error["ctx"]
    if "ge" in bounds:
        return f"must be {bounds['ge']:g} or more"
    return f"must be {bounds['le']:g} or less"


def _named(value: Any) -> str:
    """What a value is called that is not text."""
    return _KINDS.get(type(value)) or str(value)


_KINDS: dict[type, str] = {dict: "a mapping", list: "a list"}

_SECRET: dict[type, str] = {
    bool: "must be text: put it in quotes",
    int: "must be text: put the number in quotes",
    float: "must be text: put the number in quotes",
    dict: "must be text, not a mapping: what begins with { needs quotes",
    list: "must be text, not a list: what begins with [ or - needs quotes",
}

_WORDS: dict[str, Callable[[ErrorDetails, str | None], str]] = {
    "string_type": _not_text,
    "int_type": _not_a_number,
    "int_from_float": _not_a_number,
    "float_type": _not_a_number,
    "bool_type": _not_a_switch,
    "tuple_type": _not_a_list,
    "dict_type": _not_a_mapping,
    "model_type": _not_a_mapping,
    "literal_error": _not_one_of,
    "greater_than_equal": _out_of_range,
    "less_than_equal": _out_of_range,
    "too_short": _empty,
}
