"""Loads what a start has no time for, before it is needed: an upgrade lays other files in the place
of ours while the process goes on, and what was imported then would be another release's."""

from collections.abc import Iterator
from importlib import import_module

from relay.config.schema import Config

# Alerts and reports, which a relay may live for months without.
_OURS = ("relay.record.alerts.rendering", "relay.record.dsn", "relay.record.webhook")


def load_the_rest(config: Config) -> None:
    """For a thread: it takes a tenth of a second, with aiohttp half of one. Raises ImportError."""
    for name in (*_OURS, *_of_others(config)):
        import_module(name)


def _of_others(config: Config) -> Iterator[str]:
    """Libraries that weigh, where the configuration has a need of them."""
    if config.alerts.webhook:
        yield "aiohttp"
    if config.clients.users:
        yield "argon2"
