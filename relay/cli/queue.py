"""``relay queue``: what waits."""

from functools import partial

import typer

from relay.cli import access, options, output
from relay.cli.messages import listing, picking, showing

app = options.group("What waits: list it, look at one, try it now, drop it.")


@app.command(
    "list",
    epilog=options.examples(
        "relay queue list", "relay queue list --tenant acme --json | jq .cause"
    ),
)
def list_(
    context: typer.Context, tenant: options.OneTenant = None, as_json: options.Json = False
) -> None:
    """What waits or is under way, by arrival, and what for."""
    from relay.cli.upstream.ways import Ways

    config = access.configuration(context)
    with access.store(config) as store:
        ways = Ways(config, access.orders_in(store))
        access.check_tenant(config, tenant, any(store.messages(False, tenant, limit=1)))
        listed = store.messages(dead=False, tenant=tenant)
        if as_json:
            output.json_lines(map(partial(listing.queue_row, ways=ways), listed))
            return
        rows = map(partial(listing.queue_cells, ways=ways), listed)
        if not output.table(listing.QUEUE_TITLES, rows):
            print("nothing waits")


@app.command(epilog=options.examples("relay queue show 0C5Q2J7XKM3ZA"))
def show(context: typer.Context, queue_id: options.QueueId, as_json: options.Json = False) -> None:
    """One message in full.

    Envelope, recipients, header section and trail; of one that is gone, the trail.
    """
    config = access.configuration(context)
    with access.store(config) as store:
        showing.show(config, store, queue_id, as_json=as_json)


@app.command(
    epilog=options.examples("relay queue retry 0C5Q2J7XKM3ZA", "relay queue retry --tenant acme")
)
def retry(
    context: typer.Context,
    queue_ids: options.QueueIds = [],  # noqa: B006 - typer makes its own
    tenant: options.OneTenant = None,
    cause: options.OneCause = None,
    everything: options.Everything = False,
    as_json: options.Json = False,
) -> None:
    """Try messages now, due or not."""
    picked = picking.Picked(queue_ids, tenant, cause, everything)
    config = access.configuration(context)
    with access.store(config) as store:
        access.check_tenant(config, tenant, any(store.messages(False, tenant, limit=1)))
        picking.retry(store, picked, dead=False, as_json=as_json)


@app.command(epilog=options.examples("relay queue drop 0C5Q2J7XKM3ZA"))
def drop(
    context: typer.Context, queue_ids: options.QueueIds, as_json: options.Json = False
) -> None:
    """Remove messages for good.

    Whoever has not got them never will, and no one is told; the trail keeps it.
    """
    with access.store(access.configuration(context)) as store:
        picking.drop(store, queue_ids, dead=False, as_json=as_json)
