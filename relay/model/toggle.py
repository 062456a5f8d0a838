"""A tenant toggled on or off by an administrator; the store's word wins over the file's."""

from relay.model.value import value_class


@value_class
class Toggle:
    """``at`` and ``until`` are in Unix seconds; ``until`` is None where it holds until changed."""

    tenant: str
    enabled: bool
    reason: str
    actor: str
    at: float
    until: float | None = None


@value_class
class Switch:
    """Both words for a tenant: the store's, if there is one, and the file's; None where the file
    does not have the tenant."""

    tenant: str
    enabled_in_file: bool | None
    toggle: Toggle | None

    @property
    def enabled(self) -> bool:
        return self.toggle.enabled if self.toggle else bool(self.enabled_in_file)

    @property
    def is_news(self) -> bool:
        """It is off, or on though the file says otherwise."""
        return not self.enabled or self.enabled_in_file is not True
