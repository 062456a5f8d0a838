"""The suppression list: asked before every attempt, grown by strikes and by administrators.

Its key is the address in canonical form, whoever names it in whatever spelling.
"""

from collections.abc import Collection, Iterator, Sequence
from sqlite3 import Connection

from relay.model.address import canonical
from relay.model.suppression import Source, Strike, Suppression
from relay.queue.sqlite.queries import SQL
from relay.queue.sqlite.rows import json_text, micros, storable, suppression_from, suppression_row

_DAY_S = 86400
_AT_ONCE = 500


def any_at_all(connection: Connection) -> bool:
    return bool(connection.execute(SQL["any_suppression"]).fetchone()[0])


def found(
    connection: Connection, tenant: str, addresses: Collection[str], now: float
) -> dict[str, Suppression]:
    """Those of the addresses, as they are spelled, that are suppressed for the tenant or for all.
    Of two entries, the one that mail of high priority does not pass over."""
    rows = connection.execute(
        SQL["suppressed"],
        {
            "tenant": storable(tenant),
            "addresses": json_text([_key(address) for address in addresses]),
            "now": micros(now),
        },
    ).fetchall()
    entries = {entry.address: entry for entry in map(suppression_from, rows)}
    return {a: entries[_key(a)] for a in addresses if _key(a) in entries} if entries else {}


def add(connection: Connection, entries: Collection[Suppression]) -> list[Suppression]:
    """Those of the entries that say anything new."""
    rows = {(row[0], row[1]): row for row in map(suppression_row, entries)}
    added = connection.execute(SQL["set_suppressions"], (json_text(list(rows.values())),))
    return [suppression_from(row) for row in added.fetchall()]


def remove(connection: Connection, tenant: str, address: str) -> Suppression | None:
    """The entry that was there. What was held against the address is forgotten with it."""
    key = _key(address)
    removed = connection.execute(SQL["remove_suppression"], (storable(tenant), key)).fetchall()
    _forget_strikes(connection, tenant, key)
    return suppression_from(removed[0]) if removed else None


def strike(connection: Connection, strike: Strike) -> list[Suppression]:
    """The entry to which the strike was the last straw, if it was."""
    place = storable(strike.tenant), _key(strike.address)
    connection.execute(SQL["add_strike"], (*place, int(strike.at // _DAY_S)))
    days: int = connection.execute(SQL["count_strikes"], place).fetchone()[0]
    if days < strike.after or found(connection, strike.tenant, [strike.address], strike.at):
        return []
    _forget_strikes(connection, *place)
    entry = Suppression(
        tenant=strike.tenant,
        address=strike.address,
        source=Source.AUTOMATIC,
        reason=strike.reason,
        actor="relay",
        at=strike.at,
        until=strike.at + strike.expire_s,
    )
    return add(connection, [entry])


def expire(connection: Connection, now: float, most: int) -> list[Suppression]:
    """Some of the entries whose time is up; they have gone."""
    parameters = {"now": micros(now), "most": most}
    rows = connection.execute(SQL["expire_suppressions"], parameters).fetchall()
    return [suppression_from(row) for row in rows]


def forget_old_strikes(connection: Connection, before: float, most: int) -> int:
    """How many went."""
    parameters = {"before": int(before // _DAY_S), "most": most}
    return connection.execute(SQL["forget_old_strikes"], parameters).rowcount


def pages(
    connection: Connection, tenant: str | None, address: str | None, now: float
) -> Iterator[Sequence[Suppression]]:
    """What is in force, by tenant and address; of one tenant ("": for all), of one address."""
    query = SQL["list_suppressions"] if tenant is None else SQL["list_suppressions_of"]
    wanted = {"address": address and _key(address), "now": micros(now), "most": _AT_ONCE}
    place = {"after_tenant": storable(tenant or ""), "after": ""}
    while True:
        rows = connection.execute(query, wanted | place).fetchall()
        if rows:
            yield [suppression_from(row) for row in rows]
        if len(rows) < _AT_ONCE:
            return
        place = {"after_tenant": rows[-1][0], "after": rows[-1][1]}


def _forget_strikes(connection: Connection, tenant: str, key: str) -> None:
    connection.execute(SQL["forget_strikes"], {"tenant": storable(tenant), "address": key})


def _key(address: str) -> str:
    return storable(canonical(address))
