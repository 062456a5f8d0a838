"""Where the relay shows how it is: the section http."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticKnownError

from relay.config import fields as f
from relay.config.addresses import ListenAddress, is_loopback, listen_address
from relay.config.base import Model
from relay.model.value import value_class

_UNIX = "unix:"
# What sockaddr_un has room for, less the zero at its end (unix(7)).
_LONGEST_PATH_BYTES = 107


@value_class
class UnixSocket:
    path: Path

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


def _http_address(value: object) -> ListenAddress | UnixSocket:
    """ "127.0.0.1:8025" or "unix:/run/relay/http.sock"; ValueError with a sentence."""
    if isinstance(value, ListenAddress | UnixSocket):
        return value
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    if not value.startswith(_UNIX):
        return listen_address(value)
    path = value.removeprefix(_UNIX)
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError(f'"{value}": unix: wants a whole path, like unix:/run/relay/http.sock')
    if len(path.encode()) > _LONGEST_PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {_LONGEST_PATH_BYTES} octets")
    return UnixSocket(Path(path))


HttpAddress = Annotated[
    ListenAddress | UnixSocket,
    PlainValidator(_http_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "title": "listen address or unix:PATH"}),
]


class Http(Model):
    """How the relay is, over HTTP, for monitoring: /healthz, /readyz, /metrics, /api/v1/status.
    See docs/monitoring.md."""

    listen: HttpAddress = Field(
        description="Where it answers, like 127.0.0.1:8025, or unix:/run/relay/http.sock."
    )
    token: f.SecretReference | None = Field(
        default=None,
        description="Who asks must say it, as Authorization: Bearer TOKEN. Needed for anything "
        "beyond loopback.",
    )

    @model_validator(mode="after")
    def _is_private(self) -> "Http":
        if isinstance(self.listen, UnixSocket) or is_loopback(self.listen.host):
            return self
        if self.token is None:
            raise ValueError(
                f"would tell every machine that reaches {self.listen} of the mail: set a token, "
                "like file:/etc/relay/secrets/http, or listen on 127.0.0.1"
            )
        return self
