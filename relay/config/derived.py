"""Values that follow from others: names from keys, a port from a TLS mode, short forms.

These run before a mapping is checked, so they touch nothing that is not of the kind they expect.
"""

import socket
from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from relay.config.addresses import a_label
from relay.model.value import value_class

# Ports on which a provider speaks TLS from the first octet; on all others it is STARTTLS.
IMPLICIT_PORTS = (465, 2465)
_PORTS = {"implicit": 465, "starttls": 587, "none": 25}


@value_class
class ShortForm:
    """A mapping that may be written as the plain string of its one ``key``: any string of the kind
    that ``title`` names, or one of the ``words``."""

    key: str
    title: str
    words: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        def spread(value: object) -> object:
            return {self.key: value} if isinstance(value, str) else value

        return BeforeValidator(spread).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        short: dict[str, Any] = {"type": "string", "title": self.title}
        if self.words:
            short["enum"] = list(self.words)
        return {"anyOf": [short, handler(core_schema)]}


class OneOrMore:
    """A list that may be written as its one item."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        def gather(value: object) -> object:
            return [value] if isinstance(value, str) else value

        return BeforeValidator(gather).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        several = handler(core_schema)
        return {"anyOf": [several["items"], several]}


def with_names(value: object) -> object:
    """Tell each tenant or upstream the name that it is a key by."""
    if not isinstance(value, dict):
        return value
    return {
        name: {**entry, "(name)": name} if isinstance(entry, dict) else entry
        for name, entry in value.items()
    }


def port_and_tls(value: Any) -> Any:
    """An upstream's port and TLS mode: either follows from the other."""
    if not isinstance(value, dict):
        return value
    if "tls" in value:
        return {"port": _PORTS.get(str(value["tls"]), 465), **value}
    port = value.get("port", 465)
    return {**value, "port": port, "tls": "implicit" if port in IMPLICIT_PORTS else "starttls"}


def rewriting(mode: str) -> Callable[[Any], Any]:
    """``rewrite_from`` is ``mode`` where there is a ``from`` to rewrite to."""

    def fill(value: Any) -> Any:
        if not isinstance(value, dict) or not ("from" in value or "from_" in value):
            return value
        return {"rewrite_from": mode, **value}

    return fill


def own_host_name() -> str:
    """The machine's name as it stands, without asking the DNS; "localhost" if it is unfit."""
    try:
        return a_label(socket.gethostname()).replace("_", "-")
    except ValueError:
        return "localhost"
