"""What differs between two configurations, by name; for a reload, and for whoever reads of it.

Secrets count by what they are, not by where they are kept: a file that was rotated is a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.config.schema import Config, Secret, SecretError, Upstream

# What a running relay has bound and opened. A listener's auth follows from clients.users, too, so
# that it may change.
_FIXED = ("listen", "store", "http")
_APART = ("tenants", "upstreams", "source", "places", *_FIXED)


@dataclass(frozen=True, slots=True)
class Difference:
    """Names, in alphabetical order."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Changes:
    """``sections`` are the other keys of the top level that differ. ``fixed`` are those that a
    running relay can't change."""

    tenants: Difference
    upstreams: Difference
    sections: tuple[str, ...]
    fixed: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """Reads the secrets of both."""
    others = [key for key in type(new).model_fields if key not in _APART]
    return Changes(
        tenants=_difference(old.tenants, new.tenants),
        upstreams=_difference(_with_secrets(old), _with_secrets(new)),
        sections=tuple(sorted(key for key in others if getattr(old, key) != getattr(new, key))),
        fixed=tuple(key for key in _FIXED if _fixed(old, key) != _fixed(new, key)),
    )


def credentials(upstream: Upstream) -> tuple[str | None, ...]:
    """User name and password as they are now; a secret that can't be read is as none."""
    return tuple(_revealed(secret) for secret in (upstream.username, upstream.password))


def _with_secrets(config: Config) -> dict[str, tuple[Upstream, tuple[str | None, ...]]]:
    return {name: (one, credentials(one)) for name, one in config.upstreams.items()}


def _revealed(secret: Secret | None) -> str | None:
    try:
        return None if secret is None else secret.reveal()
    except SecretError:
        return None


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if old[name] != new[name])),
    )


def _fixed(config: Config, key: str) -> object:
    if key == "listen":
        return [one.model_dump(exclude={"auth"}) for one in config.listen]
    return getattr(config, key, None)
