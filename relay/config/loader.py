"""load(): file, then environment, then schema, then cross checks; every problem at once."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from relay.config import shape
from relay.config.checks import findings
from relay.config.document import Document, read_document
from relay.config.environment import override
from relay.config.files import why_unreadable
from relay.config.location import LOCAL_FILE, SYSTEM_FILE
from relay.config.problem import ConfigError, Loc, Place, Problem
from relay.config.schema import Config
from relay.config.secret_settings import bind_secrets
from relay.config.wording import in_words


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of ``path``, or of RELAY_SMTP_* alone; raises ConfigError."""
    return load_with_document(path, environ)[0]


def load_with_document(path: Path | None, environ: Mapping[str, str]) -> tuple[Config, Document]:
    """As ``load``, and what it was made of."""
    with _no_collection():
        return _load(path, environ)


def read(path: Path | None, environ: Mapping[str, str]) -> Document:
    """What stands in the file, under the environment's word; it may be anything but sound.

    Raises ConfigError where there is nothing to be read.
    """
    document = _read(path)
    override(document, environ, fileless=path is None)
    return document


@contextmanager
def _no_collection() -> Iterator[None]:
    """Of ten thousand tenants everything is still in use: to look for garbage among it again and
    again doubles the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(path: Path | None, environ: Mapping[str, str]) -> tuple[Config, Document]:
    document = read(path, environ)
    if path is None and not document.data and not document.problems:
        raise ConfigError([Problem(None, "", _NOTHING)])
    config, faulty = _Validation(document, environ).run(source=path)
    for finding in findings(config) if config else ():
        if not finding.is_about(faulty):
            document.note(finding.loc, finding.message)
    if config is None or document.problems:
        raise ConfigError(document.problems)
    bind_secrets(config)
    return config, document


_NOTHING = (
    f"no configuration: there is no {SYSTEM_FILE} and no ./{LOCAL_FILE}; name a file with "
    "--config or RELAY_CONFIG, or set RELAY_SMTP_HOST"
)


def _read(path: Path | None) -> Document:
    if path is None:
        return Document()
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(Place(str(path)), "", why_unreadable(path, error))]) from None
    document = read_document(octets, str(path))
    if document.problems and not document.data:
        raise ConfigError(document.problems)
    return document


class _Validation:
    """Validates a document; what is faulty is noted and taken out, until the rest is sound.

    So the cross checks see all that could be understood, and one typing error in a file does not
    hide the dangling reference further down.
    """

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._faulty = set(document.faulty)

    def run(self, source: Path | None) -> tuple[Config | None, set[Loc]]:
        """What could be understood, and what was taken out."""
        self._take_out_blanks()
        self._document.data |= {"(source)": source, "(places)": self._document.places}
        config, errors = self._attempt()
        for error in errors:
            self._note(error)
        while config is None:
            removable = {self._removable(error) for error in errors}
            if () in removable:
                break
            for loc in removable:
                _take_out(self._document.data, loc)
            # What is said from here on comes of what was taken out.
            config, errors = self._attempt()
        return config, self._faulty

    def _attempt(self) -> tuple[Config | None, list[ErrorDetails]]:
        data, context = self._document.data, {"environ": self._environ}
        try:
            return Config.model_validate(data, by_alias=True, by_name=False, context=context), []
        except ValidationError as error:
            return None, error.errors(include_url=False)

    def _note(self, error: ErrorDetails) -> None:
        missing = error["type"] == "missing"
        loc = error["loc"] if missing else self._standing(error["loc"])
        if missing and loc in self._faulty:  # a blank, and noted as such
            return
        self._document.note(loc, in_words(error, loc, self._document.written.get(loc)))
        self._faulty.add(self._removable(error))

    def _take_out_blanks(self) -> None:
        """An empty section is as good as none; an empty value is a fault."""
        for loc in list(_blanks(self._document.data, ())):
            kind = shape.kind_at(loc)
            if kind is None:  # an unknown key, which the schema refuses
                continue
            _take_out(self._document.data, loc)
            if not shape.is_section(kind) and loc not in self._faulty:
                self._faulty.add(loc)
                self._document.note(loc, "has no value: write one, or remove the key")

    def _standing(self, loc: Loc) -> Loc:
        """As far along ``loc`` as there is something in the document."""
        data: Any = self._document.data
        for depth, key in enumerate(loc):
            if not _has(data, key):
                return loc[:depth]
            data = data[key]
        return loc

    def _removable(self, error: ErrorDetails) -> Loc:
        """What to take out: an unknown key alone, a whole list rather than one of its items."""
        loc = self._standing(error["loc"])
        if error["type"] == "extra_forbidden":
            return loc
        first_item = next((i for i, key in enumerate(loc) if isinstance(key, int)), len(loc))
        return loc[:first_item]


def _blanks(data: Any, loc: Loc) -> Iterator[Loc]:
    """Every key without a value."""
    if isinstance(data, dict):
        for key, value in data.items():
            if value is None:
                yield (*loc, key)
            yield from _blanks(value, (*loc, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _blanks(item, (*loc, index))


def _has(data: Any, key: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(key, int) and key < len(data)
    return isinstance(data, dict) and key in data


def _take_out(data: Any, loc: Loc) -> None:
    """Remove what stands at ``loc``, if it does still."""
    for key in loc[:-1]:
        if not _has(data, key):
            return
        data = data[key]
    if _has(data, loc[-1]):
        del data[loc[-1]]
