"""``relay suppress``: the addresses that are not written to any more, for a tenant or for all.

The list is in the store: a running relay looks there before its next attempt.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output, progress
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.suppression import Suppression
    from relay.queue.sqlite.admin import Administration

app = options.group("Suppressed addresses: list, add, remove, import, export.")

Addresses = Annotated[list[str], typer.Argument(metavar="ADDRESS", show_default=False)]
ForTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="For this tenant. Default: for all.")
]
_TITLES = ("ADDRESS", "TENANT", "SOURCE", "SINCE", "UNTIL", "REASON")


@app.command(
    "list",
    epilog=options.examples(
        "relay suppress list --tenant acme",
        "relay suppress list --address ann@customer.example --json",
    ),
)
def list_(
    context: typer.Context,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="NAME", help="Only this tenant's; '' is for all alike."),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="Only this one's.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """The suppressed addresses, and why they are.

    Mail to them is not handed over, but recorded as email.suppressed. Mail of priority high passes
    over those whose source is automatic.
    """
    config = access.configuration(context)
    with access.store(config) as store:
        access.check_tenant(config, tenant, any(store.suppressions(tenant)))
        entries = store.suppressions(tenant, address)
        if as_json:
            output.json_lines(map(_row, entries))
        elif not output.table(_TITLES, map(_cells, entries)):
            print("nobody is suppressed")


@app.command(
    epilog=options.examples(
        'relay suppress add ann@customer.example --reason "she has left"',
        'relay suppress add bob@customer.example --tenant acme --for 30d --reason "on leave"',
    )
)
def add(
    context: typer.Context,
    addresses: Addresses,
    reason: options.Reason,
    tenant: ForTenant = None,
    lasting: options.Lasting = None,
    as_json: options.Json = False,
) -> None:
    """Write to addresses no more.

    Also what is queued for them is not handed over.
    """
    from relay.model.suppression import Source, Suppression

    config = access.configuration(context)
    whose = _whose(config, tenant)
    why, until, now = options.one_line(reason), options.ending(lasting), time.time()
    entries = [
        Suppression(whose, address, Source.MANUAL, why, access.actor(), now, until)
        for address in map(_checked, addresses)
    ]
    with access.store(config) as store:
        store.suppress(entries)
    if as_json:
        output.json_lines(map(_row, entries))
        return
    told = f" until {output.moment(until)}" if until else ""
    for entry in entries:
        print(f"{entry.address} is suppressed for {_scope(whose)}{told}")


@app.command(
    epilog=options.examples(
        "relay suppress remove ann@customer.example",
        'relay suppress remove bob@customer.example --tenant acme --reason "he is back"',
    )
)
def remove(
    context: typer.Context,
    addresses: Addresses,
    tenant: ForTenant = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Write to addresses again.

    What was held against them is forgotten. Status 1 where one was not on the list.
    """
    config = access.configuration(context)
    whose, why, actor = tenant or "", options.one_line_or_none(reason), access.actor()
    missing = []
    with access.store(config) as store:
        for address in addresses:
            removed = store.unsuppress(whose, address, actor, why)
            if as_json:
                row = {"address": address, "tenant": whose or None, "removed": removed}
                output.json_lines([row])
            elif removed:
                print(f"{address} is not suppressed for {_scope(whose)} any more")
            if not removed:
                missing.append(_missing(store, address, whose))
    if missing:
        raise Trouble("\n".join(missing))


@app.command(
    "import",
    epilog=options.examples(
        "relay suppress import bounces.csv --tenant acme",
        "relay suppress import --format mailgun bounces.csv",
        "gunzip -c list.csv.gz | relay suppress import -",
    ),
)
def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV; - is standard input.")],
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant", metavar="NAME", help="For this tenant. Default: as the file says, or all."
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="auto (by the first line), relay, sendgrid, ses, postmark, mailgun.",
        ),
    ] = "auto",
    as_json: options.Json = False,
) -> None:
    """Take in a list: the relay's own, or a provider's of bounces or complaints.

    SendGrid, Amazon SES, Postmark and Mailgun are known; so is a list with one address a line. Rows
    that can't be read are named with their line and left out: status 1.
    """
    from relay.cli.suppress.formats import FORMATS, Import, UnknownColumns, read
    from relay.cli.suppress.intake import Taken, opened
    from relay.config.problem import did_you_mean

    if form not in FORMATS:
        advice = did_you_mean(form, FORMATS)
        raise typer.BadParameter(f'no format "{form}"{advice}', param_hint="--format")
    config = access.configuration(context)
    whose = None if tenant is None else _whose(config, tenant)
    how = Import(whose, config.tenants.keys(), access.actor(), time.time())
    taken = Taken("standard input" if file == "-" else file)
    with opened(file) as lines, access.store(config) as store:
        try:
            changed = store.suppress(taken.entries(read(lines, form, how)))
        except UnknownColumns as error:
            raise Trouble(f"{taken.name}: {error}") from None
    if as_json:
        output.json_lines([taken.row(changed)])
    else:
        print(taken.summary(changed))
    if taken.bad:
        raise typer.Exit(1)


@app.command(
    epilog=options.examples(
        "relay suppress export suppressed.csv", "relay suppress export | gzip > suppressed.csv.gz"
    )
)
def export(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: standard output.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write the list as CSV, which import reads back.

    The columns are address, tenant (empty: for all), source, reason, at, until. With --json a row
    for the file; the list itself in JSON is relay suppress list --json.
    """
    from relay.cli.suppress.formats import written
    from relay.record.audit import rfc3339

    if as_json and file is None:
        raise typer.BadParameter("standard output has the list: name a FILE", param_hint="--json")
    with access.store(access.configuration(context)) as store:
        entries = progress.told(store.suppressions(), "addresses")
        octets = (line.encode() for line in written(entries, rfc3339))
        if file is None:
            for line in octets:
                output.raw(line)
            return
        size = output.save(octets, file)
        if as_json:
            output.json_lines([{"file": str(file), "size": size}])


def _checked(text: str) -> str:
    """In canonical form."""
    from relay.config.addresses import address
    from relay.model.address import canonical

    try:
        return canonical(address(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ADDRESS") from None


def _whose(config: "Config", tenant: str | None) -> str:
    return access.named("tenant", tenant, config.tenants).name if tenant else ""


def _scope(tenant: str) -> str:
    return tenant or "all tenants"


def _missing(store: "Administration", address: str, tenant: str) -> str:
    others = [_scope(entry.tenant) for entry in store.suppressions(address=address)]
    advice = f", but for {', '.join(others)}" if others else ""
    return f"{address} is not suppressed for {_scope(tenant)}{advice}"


def _row(entry: "Suppression") -> dict[str, Any]:
    """``tenant`` is null where it is for all, ``until`` where it is for ever."""
    from relay.record.audit import rfc3339

    return {
        "address": entry.address,
        "tenant": entry.tenant or None,
        "source": entry.source,
        "reason": entry.reason,
        "actor": entry.actor,
        "at": rfc3339(entry.at),
        "until": None if entry.until is None else rfc3339(entry.until),
    }


def _cells(entry: "Suppression") -> tuple[str, ...]:
    return (
        entry.address,
        entry.tenant or "all",
        entry.source,
        output.moment(entry.at)[:10],
        "-" if entry.until is None else output.moment(entry.until)[:10],
        f"{entry.reason} ({entry.actor})",
    )
