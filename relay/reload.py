"""Reload: read the configuration anew, and take it over whole or not at all.

All that can fail comes first: reading, what a running relay can't change, secrets, certificates,
the store. Then every part takes the new configuration in one go, with nothing to wait for between.
What is under way ends as it began; the next attempt goes by the new one.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from typing import Any

import structlog

from relay.accept.listener import Acceptance
from relay.config import load
from relay.config.changes import Changes, changes
from relay.config.problem import ConfigError, dotted
from relay.config.schema import Config, SecretError
from relay.config.secret_settings import secrets_of
from relay.deliver.pool import Deliverer
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.herald import Herald
from relay.dispatch.keeper import Keeper
from relay.loading import load_the_rest
from relay.model import events
from relay.model.budget import Budget
from relay.model.ports import Store, StoreError
from relay.model.value import value_class
from relay.route.tenancy import Tenancy

diagnostics = structlog.get_logger("relay")


class RejectedError(Exception):
    """Nothing was changed; ``problems`` say why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@value_class
class Parts:
    """Of a running relay, as far as they follow the configuration."""

    store: Store
    deliverer: Deliverer
    herald: Herald
    dispatcher: Dispatcher
    keeper: Keeper
    acceptance: Acceptance
    budget: Budget


@value_class
class _Request:
    """``number`` is None where it came by SIGHUP."""

    actor: str
    number: int | None = None


class Reloader:
    """``ask`` it; ``run`` carries the requests out, one after the other. ``config`` is the one in
    force."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config = config
        # Entered while one is under way, for whoever is to know.
        self.reloading: Callable[[], AbstractContextManager[None]] = nullcontext
        self._parts = parts
        self._requests: asyncio.Queue[_Request] = asyncio.Queue()

    def ask(self, number: int | None, actor: str) -> None:
        self._requests.put_nowait(_Request(actor, number))

    async def run(self) -> None:
        """Until cancelled. Every request has its verdict in the trail."""
        # Else what is rotated before it was ever used could not be told from what was there.
        await asyncio.to_thread(_reveal, self.config)
        while True:
            request = await self._requests.get()
            try:
                with self.reloading():
                    changed = await self._reload()
                self._tell_reloaded(request, changed)
            except RejectedError as rejected:
                self._tell_rejected(request, rejected.problems)
            except Exception as error:
                diagnostics.exception("reload failed")
                self._tell_rejected(request, [f"{type(error).__name__}: {error}"])
            if request.number is not None:
                await self._note_answered(request.number)

    async def _note_answered(self, number: int) -> None:
        """What was not answered is asked again at the next start."""
        try:
            await self._parts.store.answered(number)
        except StoreError as error:
            diagnostics.warning("can't store that a reload was answered", error=str(error))

    def _tell_reloaded(self, request: _Request, changed: Changes) -> None:
        told, path = _as_fields(changed), _path(self.config)
        diagnostics.info("configuration reloaded", **told)
        self._parts.store.tell(events.config_reloaded(path, request.actor, request.number, told))

    def _tell_rejected(self, request: _Request, problems: Sequence[str]) -> None:
        for problem in problems:
            diagnostics.error("configuration rejected", problem=problem)
        path = _path(self.config)
        self._parts.store.tell(
            events.config_rejected(path, request.actor, request.number, problems)
        )

    async def _reload(self) -> Changes:
        new = await asyncio.to_thread(self._read)
        changed = await asyncio.to_thread(changes, self.config, new)
        toggles = self._parts.dispatcher.situation.snapshot.toggles
        disabled = [name for name, toggle in toggles.items() if not toggle.enabled]
        problems = [*_unchangeable(changed), *_without_way(new, disabled)]
        problems += await asyncio.to_thread(_unreadable, self.config, new)
        if problems:
            raise RejectedError(*problems)
        await asyncio.to_thread(_reveal, new)
        await asyncio.to_thread(load_the_rest, new)
        await self._prepare(new)
        await self._take_over(new, changed)
        return changed

    def _read(self) -> Config:
        try:
            return load(self.config.source, os.environ)
        except ConfigError as error:
            raise RejectedError(*map(str, error.problems)) from None

    async def _prepare(self, new: Config) -> None:
        """What can still fail; the last of it is the first to change anything."""
        try:
            await asyncio.to_thread(self._parts.acceptance.check_certificates)
            await self._parts.dispatcher.situation.apply_classes(new)
        except OSError as error:
            raise RejectedError(f"listen: the certificate can't be used: {error}") from error
        except StoreError as error:
            raise RejectedError(f"the store failed: {error}") from error

    async def _take_over(self, new: Config, changed: Changes) -> None:
        parts, renewed = self._parts, _renewed(new, changed)
        tenancy = Tenancy(new.tenants.values(), has_default=new.default is not None)
        self.config = new
        parts.deliverer.configure(new.upstreams, new.hostname, new.timeouts, renewed=renewed)
        parts.herald.configure(new)
        ended = parts.dispatcher.configure(new, tenancy)
        parts.keeper.configure(new)
        parts.budget.configure(new.limits.memory)
        parts.acceptance.configure(new, tenancy)
        # From here on it holds; the rest only makes it quick.
        await parts.dispatcher.situation.carry_out(ended)
        await parts.dispatcher.situation.try_now(changed.upstreams.changed)


def _unchangeable(changed: Changes) -> list[str]:
    return [f"{key}: has changed, which needs a restart; nothing was reloaded"
            for key in changed.fixed]  # fmt: skip


def _without_way(new: Config, disabled: list[str]) -> list[str]:
    """A tenant that is off has no other way than the default."""
    if new.default is not None:
        return []
    return [
        f"default: is gone, but tenant {name} is disabled and its mail leaves by it; enable the "
        "tenant first"
        for name in sorted(set(disabled) & new.tenants.keys())
    ]


def _unreadable(old: Config, new: Config) -> list[str]:
    """Secrets that can't be read though they could before: to take that over would break what
    works."""
    former = dict(secrets_of(old))
    return [
        f"{dotted(loc)}: {trouble}"
        for loc, secret in secrets_of(new)
        if (trouble := secret.trouble)
        and (secret != former.get(loc) or former[loc].trouble is None)
    ]


def _reveal(config: Config) -> None:
    """From here on they are kept as they were read."""
    for _, secret in secrets_of(config):
        with suppress(SecretError):
            secret.reveal()


def _renewed(new: Config, changed: Changes) -> list[str]:
    """Upstreams whose files hold something else now, or may."""
    with_files = [name for name, upstream in new.upstreams.items() if upstream.ca_file]
    return [*changed.upstreams.changed, *with_files]


def _as_fields(changed: Changes) -> dict[str, Any]:
    return {
        "tenants": asdict(changed.tenants),
        "upstreams": asdict(changed.upstreams),
        "sections": list(changed.sections),
    }


def _path(config: Config) -> str | None:
    return str(config.source) if config.source else None
