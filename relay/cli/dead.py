"""``relay dead``: what gave up, and why; how it gets another chance, or goes."""

from pathlib import Path
from typing import Annotated

import typer

from relay.cli import access, options, output, progress
from relay.cli.messages import listing, picking, showing

app = options.group("Dead letters: what gave up, why, and what to do with it.")


@app.command(
    "list",
    epilog=options.examples("relay dead list", "relay dead list --tenant acme --json | jq .remedy"),
)
def list_(
    context: typer.Context,
    tenant: options.OneTenant = None,
    cause: options.OneCause = None,
    as_json: options.Json = False,
) -> None:
    """The dead letters, the longest dead first.

    Messages that will not be tried again by themselves, with cause and reply.
    """
    config = access.configuration(context)
    with access.store(config) as store:
        access.check_tenant(config, tenant, any(store.messages(True, tenant, limit=1)))
        listed = picking.having(cause, store.messages(dead=True, tenant=tenant))
        if as_json:
            output.json_lines(map(listing.row, listed))
        elif not output.table(listing.DEAD_TITLES, map(listing.dead_cells, listed)):
            print("no dead letters")


@app.command(epilog=options.examples("relay dead show 0C5Q2J7XKM3ZA"))
def show(context: typer.Context, queue_id: options.QueueId, as_json: options.Json = False) -> None:
    """One message in full.

    Envelope, recipients, header section and trail; of one that is gone, the trail.
    """
    config = access.configuration(context)
    with access.store(config) as store:
        showing.show(config, store, queue_id, as_json=as_json)


@app.command(
    epilog=options.examples(
        "relay dead retry 0C5Q2J7XKM3ZA",
        "relay dead retry --tenant acme --cause message_too_large",
        "relay dead retry --all",
    )
)
def retry(
    context: typer.Context,
    queue_ids: options.QueueIds = [],  # noqa: B006 - typer makes its own
    tenant: options.OneTenant = None,
    cause: options.OneCause = None,
    everything: options.Everything = False,
    as_json: options.Json = False,
) -> None:
    """Give dead letters another life.

    They go to those recipients alone who have not got them, and may grow as old as new ones.
    """
    picked = picking.Picked(queue_ids, tenant, cause, everything)
    config = access.configuration(context)
    with access.store(config) as store:
        access.check_tenant(config, tenant, any(store.messages(True, tenant, limit=1)))
        picking.retry(store, picked, dead=True, as_json=as_json)


@app.command(
    epilog=options.examples(
        "relay dead export 0C5Q2J7XKM3ZA --to letter.eml",
        "relay dead export 0C5Q2J7XKM3ZA 0C5Q2J7XKM40B --to letters/",
        "relay dead export 0C5Q2J7XKM3ZA | less",
    )
)
def export(
    context: typer.Context,
    queue_ids: options.QueueIds,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A new file; or a directory, where each gets its name: QUEUE_ID.eml. Default: "
            "standard output.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write messages to files (.eml).

    Header section and body as they were accepted, CRLF line ends included. With --json a row for
    each file.
    """
    if as_json and to is None:
        raise typer.BadParameter("standard output has the messages: say --to", param_hint="--json")
    if len(queue_ids) > 1 and not (to and to.is_dir()):
        raise typer.BadParameter("name a directory for several messages", param_hint="--to")
    with access.store(access.configuration(context)) as store:
        named = picking.named(store, queue_ids, dead=True)
        for queue_id in progress.told(named, "messages"):
            octets = showing.unstuffed(store.content(queue_id))
            if to is None:
                for piece in octets:
                    output.raw(piece)
                continue
            file = to / f"{queue_id}.eml" if to.is_dir() else to
            size = output.save(octets, file)
            if as_json:
                output.json_lines([{"queue_id": queue_id, "file": str(file), "size": size}])


@app.command(epilog=options.examples("relay dead drop 0C5Q2J7XKM3ZA"))
def drop(
    context: typer.Context, queue_ids: options.QueueIds, as_json: options.Json = False
) -> None:
    """Remove dead letters for good.

    The trail keeps what became of them.
    """
    with access.store(access.configuration(context)) as store:
        picking.drop(store, queue_ids, dead=True, as_json=as_json)
