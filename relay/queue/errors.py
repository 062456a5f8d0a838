"""What a person is told when the store can't be used: each text names the file and the way out."""

from relay.model.ports import StoreError


class StoreUnusable(StoreError):
    """Damaged, truncated, made by a newer relay, or not a relay's at all."""


class StoreMissing(StoreError):
    """There is no store yet."""


class StoreForbidden(StoreError):
    """The person may not read the store; the text names the file and the group that may."""


class NoSuchMessage(StoreError):
    """No message of this queue_id waits or lies in the dead letters."""


class UnderWay(StoreError):
    """A running relay is handing the message over just now."""
