"""``relay upstream``: the next hops, which of them are held back and why; pause and resume.

A pause is in the store: a running relay looks there before its next attempt.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.upstream import pauses

if TYPE_CHECKING:
    from relay.cli.upstream.ways import Ways
    from relay.config.schema import Config
    from relay.model.pause import Held, Pause

app = options.group("Upstreams: which are open, which are held back and why; pause, resume.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The upstream, as the file names it.")]
_TITLES = ("UPSTREAM", "ENDPOINT", "PROVIDER", "STATE", "SINCE", "NEXT TRY", "WHY")


@app.command(
    "list",
    epilog=options.examples(
        "relay upstream list", "relay upstream list --json | jq 'select(.state != \"open\")'"
    ),
)
def list_(context: typer.Context, as_json: options.Json = False) -> None:
    """Every upstream, open or held back, and why.

    Below it, indented, the tenants whose way through it is held back, and the senders whose mail
    is. What a failure has paused is tried again by itself at the time shown, with one message; a
    running relay resumes it then, if that goes well.
    """
    from relay.cli.upstream.ways import Ways

    config = access.configuration(context)
    ways = Ways(config, access.orders(config))
    rows = list(_rows(config, ways))
    if as_json:
        output.json_lines(pauses.row(held, pause) | _hop(config, held) for held, pause in rows)
    elif output.table(_TITLES, (_cells(config, held, pause) for held, pause in rows)):
        _tell_remedies(pause for _, pause in rows if pause)
    else:
        print("no upstreams")


@app.command(
    epilog=options.examples(
        'relay upstream pause acme-sendgrid --reason "the provider asked us to wait" --for 2h',
        'relay upstream pause platform --reason "the account is being moved"',
    )
)
def pause(
    context: typer.Context,
    name: Name,
    reason: options.Reason,
    lasting: options.Lasting = None,
    as_json: options.Json = False,
) -> None:
    """Hold back all that would go through an upstream.

    Its mail waits, or takes the tenant's failover; nobody's attempts are used up. It ends when it
    is resumed, or after --for.
    """
    from relay.model.pause import Held

    config = access.configuration(context)
    access.named("upstream", name, config.upstreams)
    until = options.ending(lasting)
    with access.store(config) as store:
        store.pause_upstream(name, access.actor(), options.one_line(reason), until)
        made = next((one for one in store.pauses() if one.held == Held(name)), None)
    if as_json:
        output.json_lines([pauses.row(Held(name), made) | _hop(config, Held(name))])
        return
    told = "until it is resumed" if until is None else f"until {output.moment(until)}"
    print(f"{name} is paused {told}")


@app.command(
    epilog=options.examples(
        "relay upstream resume acme-sendgrid",
        'relay upstream resume acme-sendgrid --reason "the new key is in place"',
    )
)
def resume(
    context: typer.Context, name: Name, reason: options.Reason = "", as_json: options.Json = False
) -> None:
    """End every pause on an upstream, by hand or not.

    Also those of tenants' ways through it and of senders on it. A running relay tries it at once.
    """
    from relay.model.pause import Held

    config = access.configuration(context)
    why = options.one_line_or_none(reason)
    with access.store(config) as store:
        # Also of an upstream that a reload has removed, which left its pauses behind.
        ended = store.resume_upstream(name, access.actor(), why)
    if not ended:
        access.named("upstream", name, config.upstreams)
    if as_json:
        row = pauses.row(Held(name), None) | _hop(config, Held(name))
        output.json_lines([row | {"pauses_ended": ended}])
    elif ended:
        print(f"{name} is open: {ended} {'pause has' if ended == 1 else 'pauses have'} ended")
    else:
        print(f"{name} was not paused")


def endpoint(config: "Config", name: str) -> str:
    """host:port, TLS mode."""
    upstream = config.upstreams[name]
    tls = {"implicit": "implicit TLS", "starttls": "STARTTLS", "none": "no TLS"}[upstream.tls]
    return f"{upstream.host}:{upstream.port}, {tls}"


def _rows(config: "Config", ways: "Ways") -> "Iterator[tuple[Held, Pause | None]]":
    """Each upstream with its pause, then what is held back on it beside that."""
    from relay.model.pause import Held

    gone = sorted({held.upstream for held in ways.pauses} - config.upstreams.keys())
    for name in (*config.upstreams, *gone):
        whole = Held(name)
        yield whole, ways.pauses.get(whole)
        beside = [held for held in ways.pauses if held.upstream == name and held != whole]
        for held in sorted(beside, key=lambda held: (held.tenant, held.sender)):
            yield held, ways.pauses[held]


def _hop(config: "Config", held: "Held") -> dict[str, Any]:
    """Nulls for an upstream that the configuration has no more."""
    known = config.upstreams.get(held.upstream)
    return {
        "host": known and known.host,
        "port": known and known.port,
        "tls": known and known.tls,
        "provider": known and known.provider,
    }


def _cells(config: "Config", held: "Held", pause: "Pause | None") -> tuple[str, ...]:
    whole = not (held.tenant or held.sender)
    known = config.upstreams.get(held.upstream)
    hop = endpoint(config, held.upstream) if known else "not in the configuration"
    return (
        held.upstream if whole else f"  {held.sender or held.tenant}",
        hop if whole else "",
        (known and known.provider) or "-" if whole else "",
        pauses.state(pause),
        output.since(pause.since) if pause else "-",
        pauses.end(pause) if pause else "-",
        pauses.why(pause) if pause else "-",
    )


def _tell_remedies(held_back: "Iterable[Pause]") -> None:
    """What the upstream said, and what to do about it: too long for a column."""
    told = {
        pauses.subject(pause.held): "\n".join(filter(None, (pause.detail, pause.remedy)))
        for pause in held_back
        if not pause.by_hand
    }
    if told:
        print()
        output.facts(told)
