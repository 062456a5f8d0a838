"""What one should know who sends a test: that the way is closed to mail just now, say."""

from collections.abc import Iterator

from relay.cli import pausing
from relay.cli.trial_way import TrialWay
from relay.cli.ways import Ways
from relay.config.schema import Config
from relay.model.address import canonical
from relay.model.ports import Orders
from relay.queue.sqlite.admin import Administration

NOT_ON_RECORD = "there is no store yet: this test is not on record"


def notes(
    config: Config, orders: Orders, store: Administration | None, way: TrialWay, recipient: str
) -> Iterator[str]:
    if store is None:
        yield NOT_ON_RECORD
    if not way.chosen:
        yield f"{way.tenant.name} has no upstream of its own: this tests the default"
    yield from _toggle(config, orders, way)
    pause = Ways(config, orders).pause_on(way.upstream, way.tenant.name, way.reverse_path)
    if pause:
        held = pausing.sentence(pause).replace("\n", "; ")
        yield f"{held}; the test is sent all the same"
    if store is not None:
        yield from _suppressions(store, way, recipient)


def _toggle(config: Config, orders: Orders, way: TrialWay) -> Iterator[str]:
    name = way.tenant.name
    toggle = orders.toggles.get(name)
    enabled = toggle.enabled if toggle else config.tenants[name].enabled
    if not enabled and way.kind != "default":
        yield f"{name} is disabled: its mail takes the default just now, and this test does not"


def _suppressions(store: Administration, way: TrialWay, recipient: str) -> Iterator[str]:
    for entry in store.suppressions(address=canonical(recipient)):
        if entry.tenant in ("", way.tenant.name):
            scope = f"for {entry.tenant}" if entry.tenant else "for all tenants"
            why = f" ({entry.reason})" if entry.reason else ""
            yield f"{recipient} is suppressed {scope}{why}; the test is sent all the same"
            return
