"""The section http by itself: what is wrong elsewhere in a configuration is no concern of whoever
asks the running relay, which goes on with the one that it has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay.config.document import Document
from relay.config.environment import override
from relay.config.loader import read
from relay.config.problem import ConfigError
from relay.config.schema import Http, Secrets
from relay.config.sealing import KeyFile


def read_http(path: Path | None, environ: Mapping[str, str]) -> Http | None:
    """None where there is none. Raises ValueError, with a sentence, where it can't be used, and
    ConfigError where the file can't be read and no variable says it either."""
    try:
        return _http_in(read(path, environ).data, environ)
    except ConfigError:
        document = Document()
        override(document, environ, fileless=False)
        if http := _http_in(document.data, environ):
            return http
        raise


def _http_in(data: Mapping[str, Any], environ: Mapping[str, str]) -> Http | None:
    section = data.get("http")
    if section is None:
        return None
    try:
        http = Http.model_validate(section, context={"environ": environ})
    except ValidationError as error:
        raise ValueError(f"http: {error.errors()[0]['msg']}") from None
    if http.token:
        http.token.bind("http.token", KeyFile(_key_file(data)))
    return http


def _key_file(data: Mapping[str, Any]) -> Path:
    section = data.get("secrets")
    named = section.get("key_file") if isinstance(section, dict) else None
    return Path(named) if isinstance(named, str) else Secrets().key_file
