"""Where the state is kept, by its URL: a file of SQLite's, or a database of PostgreSQL's."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Scheme = Literal["sqlite", "postgresql"]

STANDARD = "sqlite:///var/lib/relay/relay.db"

_STORE_LINE = re.compile(r"^store:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
_HOST = r"(?:[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_POSTGRESQL = re.compile(
    r"postgresql://(?:(?P<user>[^:/?@]*)(?P<password>:[^/?@]*)?@)?"
    rf"(?P<place>{_HOST}(?:,{_HOST})*(?:/[\w.-]*)?)(?:\?.*)?"
)


@dataclass(frozen=True, slots=True, repr=False)
class StoreUrl:
    """``path`` is SQLite's file. ``url`` may hold a password of PostgreSQL's; str() never does."""

    scheme: Scheme
    url: str
    path: Path | None = None

    @property
    def has_password(self) -> bool:
        match = _POSTGRESQL.fullmatch(self.url)
        return bool(match and match["password"]) or "password=" in self.url

    def __str__(self) -> str:
        """The URL without its password and its parameters, which can hold one too."""
        if self.scheme == "sqlite":
            return self.url
        match = _POSTGRESQL.fullmatch(self.url)
        if match is None:
            return "postgresql://..."
        return "postgresql://" + (f"{match['user']}@" if match["user"] else "") + match["place"]

    def __repr__(self) -> str:
        return f"StoreUrl({self})"


def store_url(text: str) -> StoreUrl:
    """Read the URL; ValueError with a sentence that shows no password."""
    scheme, separator, rest = text.partition("://")
    if scheme == "postgresql" and separator and rest:
        return StoreUrl("postgresql", text)
    if scheme == "postgres" and separator:
        raise ValueError("write postgresql:// for postgres://")
    if scheme == "sqlite" and separator:
        return _sqlite(rest)
    if text.startswith("/"):
        raise ValueError(f"write sqlite://{text}")
    raise ValueError("must be sqlite:///PATH, or postgresql://USER@HOST/DATABASE")


def _sqlite(rest: str) -> StoreUrl:
    if not rest.startswith("/"):
        raise ValueError("wants three slashes and a whole path: sqlite:///var/lib/relay/relay.db")
    if "?" in rest or "#" in rest or "%" in rest:
        raise ValueError("sqlite:/// is followed by a plain path, without parameters or escapes")
    path = Path("/", rest.lstrip("/"))
    return StoreUrl("sqlite", f"sqlite://{path}", path)


def likely_store(config_file: Path | None, environ: Mapping[str, str]) -> StoreUrl:
    """Where the state is kept by a configuration that can't be used: by its variable, the line that
    says so, or as ever. Raises ValueError."""
    text = ""
    if config_file:
        with suppress(OSError):
            text = config_file.read_text(errors="replace")
    line = _STORE_LINE.search(text)
    return store_url(environ.get("RELAY_STORE") or (line[1] if line else STANDARD))
