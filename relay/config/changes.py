"""What differs between two configurations, by name; for a reload, and for whoever reads of it.

Secrets count by what they are, not by where they are kept: a file that was rotated is a change.
"""

from collections.abc import Collection, Mapping
from typing import Any

from relay.config.schema import Config, Secret, SecretError
from relay.config.secret_settings import secrets_of
from relay.model.value import value_class

# What a running relay has bound and opened. A listener's auth follows from clients.users, too, so
# that it may change.
_FIXED = ("listen", "store", "http")
_APART = ("tenants", "upstreams", "source", "places", *_FIXED)


@value_class
class Difference:
    """Names, in alphabetical order."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@value_class
class Changes:
    """``sections`` are the other keys of the top level that differ. ``fixed`` are those that a
    running relay can't change."""

    tenants: Difference
    upstreams: Difference
    sections: tuple[str, ...]
    fixed: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """Reads the secrets of both."""
    rotated = _rotated(old, new)
    others = [key for key in type(new).model_fields if key not in _APART]
    return Changes(
        tenants=_difference(old.tenants, new.tenants),
        upstreams=_difference(old.upstreams, new.upstreams, rotated.get("upstreams", {})),
        sections=tuple(
            sorted(
                key for key in others if getattr(old, key) != getattr(new, key) or key in rotated
            )
        ),
        fixed=tuple(key for key in _FIXED if _fixed(old, key) != _fixed(new, key)),
    )


def _rotated(old: Config, new: Config) -> dict[str, set[str]]:
    """By section, the names beneath it whose secrets are others now, though they are kept in the
    same places."""
    former, found = dict(secrets_of(old)), dict[str, set[str]]()
    for loc, secret in secrets_of(new):
        before = former.get(loc)
        if before is not None and _revealed(before) != _revealed(secret):
            found.setdefault(str(loc[0]), set()).add(str(loc[1]))
    return found


def _revealed(secret: Secret) -> str | None:
    """One that can't be read is as none."""
    try:
        return secret.reveal()
    except SecretError:
        return None


def _difference(
    old: Mapping[str, Any], new: Mapping[str, Any], rotated: Collection[str] = ()
) -> Difference:
    both = new.keys() & old.keys()
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(n for n in both if old[n] != new[n] or n in rotated)),
    )


def _fixed(config: Config, key: str) -> object:
    if key == "listen":
        return [one.model_dump(exclude={"auth"}) for one in config.listen]
    return getattr(config, key, None)
