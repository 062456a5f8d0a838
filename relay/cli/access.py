"""What the verbs go by: the configuration, the store, who asks; and how one says that it can't.

It may not print anything but what is wrong.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import typer

    from relay.config.schema import Config
    from relay.model.events import Event
    from relay.model.ports import Orders
    from relay.model.toggle import Toggle
    from relay.queue.sqlite.admin import Administration

_NamedT = TypeVar("_NamedT")

CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class Trouble(Exception):
    """The thing asked about is wrong, status 1; the text is for whoever asked."""


def configuration(context: "typer.Context") -> "Config":
    """All that is wrong with it is told, and ends the verb with status 78."""
    from relay.config import load

    with problems_told():
        return load(*sources(context))


def sources(context: "typer.Context") -> tuple[Path | None, Mapping[str, str]]:
    """The file and the variables, the service's own among them, that ``configuration`` is of."""
    from relay.config.location import environ_of_verbs, find_config_file

    environ = environ_of_verbs(context.obj, os.environ)
    return find_config_file(context.obj, environ), environ


@contextmanager
def problems_told() -> Iterator[None]:
    """All that is wrong with a configuration is told, and ends the verb with status 78."""
    import typer

    from relay.config import ConfigError

    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        raise typer.Exit(CONFIGURATION) from None


@contextmanager
def store(config: "Config") -> Iterator["Administration"]:
    """The store, whether a relay runs or not. What it can't do is Trouble, in its own words."""
    with store_at(store_path(config)) as administration:
        yield administration


@contextmanager
def store_at(path: Path) -> Iterator["Administration"]:
    from relay.model.ports import StoreError
    from relay.queue.sqlite.admin import Administration

    try:
        with Administration(path, render=_line) as administration:
            yield administration
    except StoreError as error:
        raise Trouble(str(error)) from error


def put_on_record(config: "Config", events: "Sequence[Event]") -> None:
    """Where there is no store to put it in, what was found is as true as with one."""
    try:
        with store(config) as administration:
            administration.tell(*events)
    except Trouble as trouble:
        print(f"relay: not on record: {trouble}", file=sys.stderr)


def _line(event: "Event") -> bytes:
    """Most verbs only look, and need nothing of what renders events."""
    from relay.record.audit import json_line

    return json_line(event)


def store_path(config: "Config") -> Path:
    if config.store.path is None:
        raise Trouble("this verb knows only sqlite: stores yet")
    return config.store.path


def toggles(config: "Config") -> "Mapping[str, Toggle]":
    """The toggles in force; none where there is no store yet."""
    return orders(config).toggles


def orders(config: "Config") -> "Orders":
    """Toggles and pauses, as they are stored; none where there is no store yet."""
    from relay.model.ports import Orders
    from relay.queue.errors import StoreMissing

    try:
        with store(config) as administration:
            return orders_in(administration)
    except Trouble as trouble:
        if isinstance(trouble.__cause__, StoreMissing):
            return Orders({}, {})
        raise


def orders_in(administration: "Administration") -> "Orders":
    from relay.model.ports import Orders

    pauses = {pause.held: pause for pause in administration.pauses()}
    return Orders(administration.toggles(), pauses)


def named(kind: str, name: str, known: Mapping[str, _NamedT]) -> _NamedT:
    """What the configuration has under that name; Trouble, with the nearest, where it has not."""
    if name not in known:
        from relay.config.problem import did_you_mean

        raise Trouble(f'no {kind} named "{name}"{did_you_mean(name, known)}')
    return known[name]


def check_tenant(config: "Config", tenant: str | None, found: object) -> None:
    """Trouble where nothing was ``found`` of a tenant that the configuration does not have: it was
    misspelt, and would look as if all were well. One that has been removed may still be asked
    for what it left."""
    if tenant and not found:
        named("tenant", tenant, config.tenants)


def actor() -> str:
    """Who asks, for the trail: the login name, also behind sudo."""
    if behind_sudo := os.environ.get("SUDO_USER"):
        return behind_sudo
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
