"""Which ways are open just now: the configuration, with the toggles and pauses of the store.

It decides nothing: it asks the functions that the dispatcher asks.
"""

import time

from relay.config.schema import Config
from relay.dispatch.pauses import Pauses
from relay.model.message import Message
from relay.model.pause import Held, Pause
from relay.model.ports import Orders
from relay.route.plan import Plan, Snapshot, plan
from relay.route.tenancy import Tenancy


class Ways:
    """As they were when this was made."""

    def __init__(self, config: Config, orders: Orders) -> None:
        self._now = time.time()
        tenancy = Tenancy(config.tenants.values(), has_default=config.default is not None)
        self.snapshot = Snapshot(config, tenancy, orders.toggles)
        self.pauses = {h: p for h, p in orders.pauses.items() if not p.is_over(self._now)}
        self._known = Pauses(config.retry.schedule)
        self._known.begin_with(self.pauses, self._now)

    def is_down(self, upstream: str, tenant: str, after_s: float) -> bool:
        """What ``plan`` asks: whether it has been down for the tenant for so long."""
        since = self._known.down_since(upstream, tenant)
        return since is not None and self._now - since >= after_s

    def plan(self, message: Message) -> Plan:
        return plan(self.snapshot, message, self.is_down)

    def pause_on(self, upstream: str | None, tenant: str, sender: str) -> Pause | None:
        """What holds a sender's mail back on the way; of several pauses the one that ends last."""
        if upstream is None or not self.pauses:
            return None
        chain = dict.fromkeys(
            (Held(upstream), Held(upstream, tenant), Held(upstream, tenant, sender))
        )
        found = [self.pauses[held] for held in chain if held in self.pauses]
        return max(found, key=_end, default=None)

    def waits_for(self, message: Message) -> Pause | None:
        """The pause that holds back its recipients, or the first of those that do."""
        if not self.pauses:
            return None
        planned = self.plan(message)
        for route in planned.routes:
            if pause := self.pause_on(route.upstream, planned.tenant, message.reverse_path):
                return pause
        return None


def _end(pause: Pause) -> float:
    return float("inf") if pause.until is None else pause.until
