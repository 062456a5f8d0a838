"""Whose queued mail is, by the tenants of another configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from sqlite3 import Connection

import orjson

from relay.model.ports import Bound
from relay.queue.sqlite.changes import Outcome
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import storable

# A bite of some 10 ms of the writer.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Sender:
    """Queued mail that is all of one tenant; ``bound`` as it is stored."""

    tenant: str
    reverse_path: str
    header_from: str
    bound: str | None


def moves(
    connection: Connection, tenancy: str, tenant_of: Callable[[str, str, Bound], str]
) -> list[tuple[Sender, str]] | None:
    """Senders whose tenant is another now, and which; None where the tenancy is the same. Looks at
    every message that is queued."""
    if connection.execute(SQL["tenancy"]).fetchone()[0] == tenancy:
        return None
    moved = []
    for tenant, reverse_path, header_from, bound in connection.execute(SQL["senders_queued"]):
        now = storable(tenant_of(reverse_path, header_from, _bound(bound)))
        if now != tenant:
            moved.append((Sender(tenant, reverse_path, header_from, bound), now))
    return moved


def move(connection: Connection, sender: Sender, tenant: str) -> Outcome:
    """How many were moved; there may be more."""
    parameters = {
        "tenant": sender.tenant,
        "reverse_path": sender.reverse_path,
        "header_from": sender.header_from,
        "bound": sender.bound,
        "to": tenant,
        "most": _AT_ONCE,
    }
    return Outcome(connection.execute(SQL["move_to_tenant"], parameters).rowcount)


def done(connection: Connection, tenancy: str) -> Outcome:
    connection.execute(SQL["set_tenancy"], (tenancy,))
    return Outcome(None)


def _bound(stored: str | None) -> Bound:
    return None if stored is None else tuple(orjson.loads(stored))
