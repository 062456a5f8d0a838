"""Secrets: references to where they are kept, shown as such, revealed only when asked.

env: and credential: and a service's variables change at its restart, file: and sealed: at its
reload: the value that was read first is kept, so that half a rotation is never seen.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from relay.config import service
from relay.config.files import trouble_reading, why_unreadable
from relay.config.sealing import KeyFile, Sealed, SealError

PLAIN = "(plain text in the file)"
_SCHEMES = ("env", "file", "credential", "sealed")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretError(Exception):
    """The secret can't be had; the text names the file or variable, and the remedy."""


class Secret:
    """``variable`` is the environment variable whose own value is the secret, if one is."""

    __slots__ = ("_environ", "_keys", "_revealed", "_setting", "_text", "_variable")

    def __init__(
        self, text: str, environ: Mapping[str, str] = os.environ, variable: str | None = None
    ) -> None:
        self._text = text
        self._environ = environ
        self._variable = variable
        self._revealed: str | None = None
        self._setting = ""
        self._keys: KeyFile | None = None

    def bind(self, setting: str, keys: KeyFile) -> None:
        """Tell it which setting it is, which a sealed: text is opened for, and by whose keys."""
        self._setting, self._keys = setting, keys

    @property
    def reference(self) -> str:
        """Where the secret is kept; fit for listings and logs."""
        if self._variable:
            return f"env:{self._variable}"
        if self.sealed:
            return f"sealed:(key {Sealed.read(self._text).key_id.hex()})"
        return self._text if self._scheme else PLAIN

    @property
    def plain(self) -> bool:
        """Whether the secret itself stands in the configuration file."""
        return not self._variable and not self._scheme

    @property
    def file(self) -> Path | None:
        """The file of a file: reference."""
        return Path(self._name) if self._scheme == "file" else None

    @property
    def sealed(self) -> bool:
        return self._scheme == "sealed"

    @property
    def seal_is_old(self) -> bool:
        """Whether it is sealed by a key that is no longer the first. Raises SecretError."""
        self.reveal()
        return self._keys is not None and self.sealed and not self._keys.seals_with(self._text)

    @property
    def changed_at(self) -> float | None:
        """When what is kept there was last changed, in Unix seconds; None where nobody knows."""
        try:
            if self._scheme == "file":
                return Path(self._name).stat().st_mtime
            if self._scheme == "credential":
                return self._credential().stat().st_mtime
        except (OSError, SecretError):
            return None
        return None

    def reveal(self) -> str:
        """The secret itself. Raises SecretError."""
        if self._revealed is None:
            self._revealed = self._read()
        return self._revealed

    @property
    def trouble(self) -> str | None:
        """Why it can't be had; None where it can."""
        try:
            self.reveal()
        except SecretError as error:
            return str(error)
        return None

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    def __str__(self) -> str:
        return self.reference

    def __eq__(self, other: object) -> bool:
        """The same reference (or the same plain text); a rotated file is not noticed here."""
        if not isinstance(other, Secret):
            return NotImplemented
        return (self._text, self._variable) == (other._text, other._variable)

    def __hash__(self) -> int:
        return hash((self._text, self._variable))

    @property
    def _scheme(self) -> str | None:
        if self._variable or not is_reference(self._text):
            return None
        return self._text.partition(":")[0]

    @property
    def _name(self) -> str:
        return self._text.partition(":")[2]

    def _read(self) -> str:
        if self._scheme == "env":
            return self._from_variable()
        if self._scheme == "file":
            return self._from_file(Path(self._name))
        if self._scheme == "credential":
            return self._from_file(self._credential())
        if self._scheme == "sealed":
            return self._checked(self._opened())
        return self._checked(self._text)

    def _from_variable(self) -> str:
        value = self._environ.get(self._name, "")
        if not value:
            closed = service.ENVIRONMENT_FILE.exists() and trouble_reading(service.ENVIRONMENT_FILE)
            raise SecretError(
                f"{self.reference}: the variable {self._name} is not set"
                + (f" here, and there is {closed}" if closed else "")
                + f"; {self._where_to_set_it()}"
            )
        return self._checked(value)

    def _from_file(self, path: Path) -> str:
        try:
            octets = path.read_bytes()
        except OSError as error:
            trouble = why_unreadable(path, error)
            raise SecretError(f"{self.reference}: {trouble}") from None
        # Not decoded strictly, since a UnicodeDecodeError would carry the octets with it.
        text = octets.decode(errors="replace").rstrip("\r\n")
        if "\ufffd" in text:
            raise SecretError(f"{self.reference}: {path} is not text in UTF-8")
        return self._checked(text)

    def _credential(self) -> Path:
        paths = service.credential_files(self._name, self._environ)
        for path in paths:
            if not _absent(path):
                return path
        places = ", ".join(str(path) for path in paths)
        raise SecretError(
            f"{self.reference}: no such credential (looked for {places}); "
            + self._where_to_put_it()
        )

    def _where_to_set_it(self) -> str:
        if service.in_container(self._environ):
            return "set it in the container's environment, and start a new one"
        return (
            f"set it in {service.ENVIRONMENT_FILE} (EnvironmentFile= of relay.service) and "
            "restart the relay"
        )

    def _where_to_put_it(self) -> str:
        if service.in_container(self._environ):
            place = service.CONTAINER_SECRETS / self._name
            return f"mount it as {place} into the container, and start a new one"
        return f"add LoadCredential={self._name}:FILE to relay.service and restart it"

    def _opened(self) -> str:
        if self._keys is None:
            raise SecretError(f"{self.reference}: it belongs to no setting")
        try:
            return self._keys.open(self._setting, self._text)
        except SealError as error:
            raise SecretError(f"{self.reference}: {error}") from None

    def _checked(self, value: str) -> str:
        if not value:
            raise SecretError(f"{self.reference}: it is empty")
        if not value.isprintable():
            raise SecretError(f"{self.reference}: it has a line break or control character in it")
        return value


def secret(text: str, environ: Mapping[str, str] = os.environ) -> Secret:
    """Read a reference or a plain secret; ValueError, which never shows a plain one."""
    scheme, colon, name = text.partition(":")
    if not text:
        raise ValueError("is empty")
    if scheme == "sealed" and colon:
        Sealed.read(text)
    if scheme == "env" and colon and not _VARIABLE.fullmatch(name):
        raise ValueError("env: wants the name of a variable, like env:ACME_PASSWORD")
    if scheme == "file" and colon and not (name.startswith("/") and name.isprintable()):
        raise ValueError("file: wants a whole path, like file:/etc/relay/secrets/acme")
    if scheme == "credential" and colon and ("/" in name or name in ("", ".", "..")):
        raise ValueError("credential: wants the credential's name, like credential:acme")
    if not text.isprintable():
        raise ValueError("has a line break or control character in it")
    return Secret(text, environ)


def is_reference(text: str) -> bool:
    """Whether the text says where a secret is kept, rather than being one."""
    scheme, colon, _ = text.partition(":")
    return bool(colon) and scheme in _SCHEMES


def _absent(path: Path) -> bool:
    """False also where a closed directory hides it: reading it then says so."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
