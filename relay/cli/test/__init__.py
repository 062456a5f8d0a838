"""``relay test``: two real messages by a tenant's own way, with the dialogue, on record."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble
from relay.cli.upstream import endpoint

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.deliver.watching import Line
    from relay.queue.sqlite.admin import Administration
    from relay.trial.run import Tried
    from relay.trial.way import SampleWay

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="TENANT", help="As the file names it.")]
To = Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Who gets the messages.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="ADDRESS",
        help="Who they are from; '<>' is the null reverse-path. Default: the tenant's from, else "
        "postmaster at its first domain.",
    ),
]
Via = Annotated[
    str | None,
    typer.Option(
        metavar="default|UPSTREAM",
        help="default: under the default's identity, as while the tenant is off. Else by this "
        "upstream, under the tenant's. Default: the tenant's own upstream.",
    ),
]

_MARKS = {"client": ">", "server": "<", "relay": "*"}


@app.command(
    "test",
    epilog=options.examples(
        "relay test acme --to dana@acme.example",
        "relay test acme --to dana@acme.example --via default",
        "relay test acme --to dana@acme.example --via acme-postmark --from billing@acme.example",
    ),
)
def send(
    context: typer.Context,
    tenant: Name,
    to: To,
    sender: From = None,
    via: Via = None,
    as_json: options.Json = False,
) -> None:
    """Send two messages by a tenant's way, and see how they go.

    One has text, HTML and a picture, one is plain text. They go at once, even while the tenant is
    off or the upstream is paused, past the queue; the dialogue is shown with times, without
    secrets. The trail has it as test.sent or test.failed. Status 1 where either failed.
    """
    import asyncio

    from relay.trial.way import DEFAULT, NoWay, way_for

    recipient = _address(to)
    config = access.configuration(context)
    known = access.named("tenant", tenant, config.tenants)
    if via not in (None, DEFAULT):
        access.named("upstream", via or "", config.upstreams)
    try:
        way = way_for(config, known, sender, via)
    except NoWay as error:
        raise Trouble(str(error)) from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from") from None
    with ExitStack() as stack:
        session = _Session(config, way, recipient, _store(config, stack), as_json)
        session.begin()
        asyncio.run(session.run())
    if not session.all_sent:
        raise typer.Exit(1)


def _address(text: str) -> str:
    from relay.config.addresses import address

    try:
        return address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None


def _store(config: "Config", stack: ExitStack) -> "Administration | None":
    """Opened before anything is sent, so that nothing is sent that can't be put on record; None
    where there is none yet."""
    from relay.queue.errors import StoreMissing

    try:
        return stack.enter_context(access.store(config))
    except Trouble as trouble:
        if isinstance(trouble.__cause__, StoreMissing):
            return None
        raise


class _Session:
    """One test: what is said before, while and after it."""

    def __init__(
        self,
        config: "Config",
        way: "SampleWay",
        recipient: str,
        store: "Administration | None",
        as_json: bool,
    ) -> None:
        self._config = config
        self._way = way
        self._recipient = recipient
        self._store = store
        self._as_json = as_json
        self._upstream = config.upstreams[way.upstream]
        self._notes = list(self._found_notes())
        self.all_sent = True

    def _found_notes(self) -> "Iterator[str]":
        from relay.cli.test.notes import notes
        from relay.model.ports import Orders

        orders = access.orders_in(self._store) if self._store else Orders({}, {})
        return notes(self._config, orders, self._store, self._way, self._recipient)

    def begin(self) -> None:
        if self._as_json:
            return
        way = self._way
        hop = endpoint(self._config, way.upstream)
        sender = way.leaves_as(self._upstream.null_sender) or "<>"
        print(f"{way.tenant.name} by {way.upstream} ({hop}): {sender} to {self._recipient}")
        for note in self._notes:
            print(f"note: {output.plain(note)}")

    async def run(self) -> None:
        from relay.trial.run import SampleRun
        from relay.trial.samples import Facts, samples

        way = self._way
        facts = Facts(
            tenant=way.tenant.name,
            upstream=way.upstream,
            hostname=self._config.hostname,
            sender=way.sender,
            reverse_path=way.reverse_path,
            recipient=self._recipient,
        )
        run = SampleRun(self._config, way, self._hear)
        async for tried in run.send(samples(facts)):
            self.all_sent &= tried.sent
            self._record(tried)
            self._tell(tried)

    def _hear(self, line: "Line") -> None:
        """As it happens: an upstream may take its time."""
        if not self._as_json:
            mark = _MARKS[line.speaker]
            print(f"{line.at_s * 1000:8.0f} ms  {mark} {output.plain(line.text)}", flush=True)

    def _record(self, tried: "Tried") -> None:
        from relay.model.events import Sample, Way, tested

        if self._store is None or not tried.tried:
            return
        way, message = self._way, tried.message
        sample = Sample(way.tenant.name, message.reverse_path, self._recipient, message.message_id)
        hop = Way(way.upstream, way.kind)
        self._store.tell(tested(sample, access.actor(), hop, tried.result, tried.duration_s))

    def _tell(self, tried: "Tried") -> None:
        if self._as_json:
            output.json_lines([self._row(tried)])
            return
        for line in _verdict(tried):
            print(output.plain(line))

    def _row(self, tried: "Tried") -> dict[str, Any]:
        way, reply, trouble = self._way, tried.result.reply, tried.trouble
        return {
            "sample": tried.kind,
            "tenant": way.tenant.name,
            "upstream": way.upstream,
            "route": way.kind,
            "reverse_path": way.leaves_as(self._upstream.null_sender),
            "recipient": self._recipient,
            "message_id": tried.message.message_id,
            "sent": tried.sent,
            "tried": tried.tried,
            "reply": str(reply) if reply else None,
            "detail": (trouble and trouble.detail) or None,
            "cause": trouble and trouble.cause,
            "remedy": trouble and trouble.remedy,
            "duration_ms": round(tried.duration_s * 1000, 1),
            "on_record": self._store is not None and tried.tried,
            "notes": self._notes,
            "dialogue": [_line_row(line) for line in tried.lines],
        }


def _line_row(line: "Line") -> dict[str, Any]:
    return {"ms": round(line.at_s * 1000, 1), "from": line.speaker, "text": line.text}


def _verdict(tried: "Tried") -> Iterator[str]:
    """In a line what became of it; of a failure its cause, what was said, and the remedy."""
    trouble = tried.trouble
    if not tried.tried:
        yield f"{tried.kind}: NOT TRIED, for the same reason"
    elif trouble:
        yield f"{tried.kind}: FAILED: {trouble.cause}"
        said = str(trouble.reply or trouble.detail)
        yield from (f"  {text}" for text in (said, trouble.remedy) if text)
    else:
        yield f"{tried.kind}: sent: {tried.result.reply} (Message-ID {tried.message.message_id})"
