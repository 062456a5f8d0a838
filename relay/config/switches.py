"""Tenants as the store and the file have them: on or off, by whose word."""

from collections.abc import Mapping

from relay.config.schema import Config
from relay.model.toggle import Switch, Toggle


def switch_of(config: Config, tenant: str, toggle: Toggle | None) -> Switch:
    known = config.tenants.get(tenant)
    return Switch(tenant, known.enabled if known else None, toggle)


def switches(config: Config, toggles: Mapping[str, Toggle]) -> list[Switch]:
    """Of all tenants of the file, and of those that only have a toggle left."""
    gone = sorted(toggles.keys() - config.tenants.keys())
    return [switch_of(config, name, toggles.get(name)) for name in (*config.tenants, *gone)]
