"""``relay health``: whether the running relay takes mail and can keep it, asked over ``http``, for
what restarts a container, sends it traffic, or waits for it.
"""

import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.addresses import ListenAddress
    from relay.config.http import Http, UnixSocket

app = typer.Typer()

# Longer than the relay itself waits for its store's writer.
_PATIENCE_S = 12.0
_ANSWERS = (200, 503)


@app.command(epilog=options.examples("relay health", "relay health --alive"))
def health(
    context: typer.Context,
    alive: Annotated[
        bool,
        typer.Option(
            "--alive", help="Only whether it lives: a full disk is no reason to start it anew."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Whether the running relay takes mail and can keep it.

    Asks as /readyz does, or /healthz with --alive, where http says that it answers; a paused
    upstream is no illness. Mistakes elsewhere in the configuration are none of its business: the
    relay goes on with the one that it has. Status 0: yes; 1: no, or no answer.
    """
    word, path = ("alive", "/healthz") if alive else ("ready", "/readyz")
    answer = _answer(_http(context), path, word)
    if as_json:
        output.json_lines([answer])
        raise typer.Exit(0 if answer[word] else 1)
    if not answer[word]:
        raise Trouble(f"not {word}: {output.plain(str(answer.get('reason')))}")
    print(word)


def _http(context: typer.Context) -> "Http":
    from relay.config.http_alone import read_http

    try:
        with access.problems_told():
            http = read_http(*access.sources(context))
    except ValueError as error:
        raise Trouble(f"{error}; relay check tells more") from None
    if http is None:
        raise Trouble("http is not set in the configuration; it is where a running relay is asked")
    return http


def _answer(http: "Http", path: str, word: str) -> dict[str, object]:
    """What the relay says of itself. Trouble where that can't be had."""
    import orjson

    try:
        status, body = _get(_connection(http.listen), path, _headers(http))
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Trouble(f"no relay answers at {http.listen}: {output.plain(why.strip())}") from None
    if status == 401:
        raise Trouble(f"{http.listen} does not take the token of the configuration")
    try:
        answer = orjson.loads(body) if status in _ANSWERS else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or word not in answer:
        raise Trouble(f"what answers at {http.listen} is no relay: status {status}")
    return answer


def _headers(http: "Http") -> dict[str, str]:
    from relay.config.schema import SecretError

    if http.token is None:
        return {}
    try:
        return {"Authorization": f"Bearer {http.token.reveal()}"}
    except SecretError as error:
        raise Trouble(f"http.token: {error}") from None


def _connection(listen: "ListenAddress | UnixSocket") -> HTTPConnection:
    """Linux takes a wildcard address for the machine's own."""
    from relay.config.http import UnixSocket

    if isinstance(listen, UnixSocket):
        return _UnixConnection(str(listen.path))
    return HTTPConnection(listen.host, listen.port, timeout=_PATIENCE_S)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("relay", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE_S)
        self.sock.connect(self._path)


def _get(connection: HTTPConnection, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
