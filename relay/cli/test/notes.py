"""What one should know who sends a test: that the way is closed to mail just now, say."""

from collections.abc import Iterator

from relay.cli.upstream import pauses
from relay.cli.upstream.ways import Ways
from relay.config.schema import Config
from relay.model.address import canonical
from relay.model.ports import Orders
from relay.queue.sqlite.admin import Administration
from relay.trial.way import SampleWay

_DISABLED = "{} is disabled: its mail takes the default just now, and this test does not"
_NOT_ON_RECORD = "there is no store yet: this test is not on record"


def notes(
    config: Config, orders: Orders, store: Administration | None, way: SampleWay, recipient: str
) -> Iterator[str]:
    if store is None:
        yield _NOT_ON_RECORD
    if not way.chosen:
        yield f"{way.tenant.name} has no upstream of its own: this tests the default"
    ways = Ways(config, orders)
    if way.kind != "default" and not ways.snapshot.is_enabled(config.tenants[way.tenant.name]):
        yield _DISABLED.format(way.tenant.name)
    pause = ways.pause_on(way.upstream, way.tenant.name, way.reverse_path)
    if pause:
        held = pauses.sentence(pause).replace("\n", "; ")
        yield f"{held}; the test is sent all the same"
    if store is not None:
        yield from _suppressions(store, way, recipient)


def _suppressions(store: Administration, way: SampleWay, recipient: str) -> Iterator[str]:
    for entry in store.suppressions(address=canonical(recipient)):
        if entry.tenant in ("", way.tenant.name):
            scope = f"for {entry.tenant}" if entry.tenant else "for all tenants"
            why = f" ({entry.reason})" if entry.reason else ""
            yield f"{recipient} is suppressed {scope}{why}; the test is sent all the same"
            return
