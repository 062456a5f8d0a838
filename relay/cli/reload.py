"""``relay reload``: tell the running relay to read its configuration anew, wait for its verdict.

The request and the verdict go by the store, so that whoever may use the store may ask, and the
trail has both. A configuration that is broken is no reason not to ask: the relay is to say so on
record.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.queue.sqlite.admin import Administration

app = typer.Typer()

_LOOK_EVERY_S = 0.05
# A relay looks for requests every second; ten thousand tenants are read in three.
_PATIENCE_S = 60.0
_NOT_RUNNING = (
    "no relay is running with the store of the configuration, which is read when it starts; a "
    "change of store needs a restart"
)
_NOT_SERVED = (
    "store: no relay serves {}, which is not there; a change of store needs a restart, and nothing "
    "was reloaded"
)
_VERDICTS = ("config.reloaded", "config.rejected")


@app.command(epilog=options.examples("relay reload", "relay reload --json | jq .problems"))
def reload(context: typer.Context, as_json: options.Json = False) -> None:
    """Have the running relay read its configuration anew.

    All or nothing: a configuration with a mistake changes nothing. What is under way ends as it
    began; the next attempt goes the new way, also of what is queued. listen, store and http need a
    restart. Status 0: reloaded; 78: rejected, with its problems; 1: no verdict.
    """
    with _store(_store_path(context)) as store:
        _must_run(store, _NOT_RUNNING)
        verdict = _verdict(store, store.ask_reload(access.actor()))
    if as_json:
        output.json_lines([verdict])
    else:
        _show(verdict)
    if verdict["event"] == "config.rejected":
        raise typer.Exit(access.CONFIGURATION)


def _store_path(context: typer.Context) -> Path:
    """Also of a configuration with mistakes, as far as it can be read."""
    from relay.config import ConfigError, load
    from relay.config.store import likely_store

    config_file, environ = access.sources(context)
    with access.problems_told():
        try:
            store = load(config_file, environ).store
        except ConfigError:
            if config_file and _is_closed(config_file):
                raise
            try:
                store = likely_store(config_file, environ)
            except ValueError as error:
                raise Trouble(f"store: {error}") from None
    if store.path is None:
        raise Trouble("this verb knows only sqlite: stores yet")
    return store.path


def _is_closed(file: Path) -> bool:
    try:
        file.open("rb").close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def _store(path: Path) -> "Iterator[Administration]":
    """Where there is none, nothing was ever served, and the mistake is in the configuration."""
    from relay.queue.errors import StoreMissing

    try:
        with access.store_at(path) as store:
            yield store
    except Trouble as trouble:
        if not isinstance(trouble.__cause__, StoreMissing):
            raise
        print(_NOT_SERVED.format(path), file=sys.stderr)
        raise typer.Exit(access.CONFIGURATION) from None


def _must_run(store: "Administration", otherwise: str) -> None:
    if store.served_by() is None:
        raise Trouble(otherwise)


def _verdict(store: "Administration", request: int) -> dict[str, Any]:
    """The event that answers the request."""
    import orjson

    since, deadline = time.time() - 1.0, time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for line in store.events(since, names=_VERDICTS):
            event: dict[str, Any] = orjson.loads(line)
            if (event.get("request") or 0) >= request:
                return event
        _must_run(store, "the relay has ended meanwhile; its log says why")
        time.sleep(_LOOK_EVERY_S)
    raise Trouble("no verdict yet: the relay is busy or stuck; see relay audit --event "
                  "config.reloaded --event config.rejected")  # fmt: skip


def _show(verdict: dict[str, Any]) -> None:
    if verdict["event"] == "config.rejected":
        print("rejected: the relay goes on with the configuration it has", flush=True)
        for problem in verdict["problems"]:
            print(output.plain(problem), file=sys.stderr)
        return
    print(f"reloaded {verdict['path'] or 'the environment'}")
    told = {f"  {kind}": _difference(verdict[kind]) for kind in ("tenants", "upstreams")}
    told["  other"] = ", ".join(verdict["sections"]) or "no change"
    output.facts(told)


def _difference(names: dict[str, list[str]]) -> str:
    """ "2 added (a, b), 1 changed (c)"."""
    parts = [f"{len(some)} {word} ({output.shortened(some, 5)})"
             for word, some in names.items() if some]  # fmt: skip
    return ", ".join(parts) or "no change"
