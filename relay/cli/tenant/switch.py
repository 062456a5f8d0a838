"""A tenant's switch: the store's word and the file's, as people and programs are told of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.cli import output

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.toggle import Toggle


@dataclass(frozen=True, slots=True)
class Switch:
    """Both words for a tenant: the store's, if there is one, and the file's; None where the file
    does not have the tenant."""

    tenant: str
    enabled_in_file: bool | None
    toggle: "Toggle | None"

    @classmethod
    def of(cls, config: "Config", name: str, toggle: "Toggle | None") -> "Switch":
        tenant = config.tenants.get(name)
        return cls(name, tenant.enabled if tenant else None, toggle)

    @property
    def enabled(self) -> bool:
        return self.toggle.enabled if self.toggle else bool(self.enabled_in_file)

    @property
    def is_news(self) -> bool:
        """It is off, or on though the file says otherwise."""
        return not self.enabled or self.enabled_in_file is not True

    @property
    def state(self) -> str:
        state = state_word(self.enabled)
        if self.enabled_in_file is None:
            return f"{state} (not in the file)"
        if self.enabled_in_file is self.enabled:
            return state
        return f"{state} ({state_word(self.enabled_in_file)} in the file)"

    @property
    def ends(self) -> str:
        return output.until(self.toggle.until) if self.toggle and self.toggle.until else "-"

    @property
    def why(self) -> str:
        if self.toggle is None:
            return "as the file says" if not self.enabled else "-"
        return f"{self.toggle.reason or 'no reason given'} ({self.toggle.actor})"

    @property
    def row(self) -> dict[str, Any]:
        return {
            "tenant": self.tenant,
            "enabled": self.enabled,
            "enabled_in_file": self.enabled_in_file,
        } | toggle_row(self.toggle)


def switches(config: "Config", toggles: "Mapping[str, Toggle]") -> list[Switch]:
    """Of all tenants of the file, and of those that only have a toggle left."""
    gone = sorted(set(toggles) - set(config.tenants))
    return [Switch.of(config, name, toggles.get(name)) for name in (*config.tenants, *gone)]


def toggle_row(toggle: "Toggle | None") -> dict[str, Any]:
    """Nulls where the configuration alone counts."""
    from relay.record.audit import rfc3339

    return {
        "actor": toggle.actor if toggle else None,
        "reason": toggle.reason if toggle else None,
        "since": rfc3339(toggle.at) if toggle else None,
        "until": rfc3339(toggle.until) if toggle and toggle.until else None,
    }


def state_word(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"
