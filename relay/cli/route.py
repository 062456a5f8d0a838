"""``relay route``: which way a sender's mail would go just now, under which identity, and why.

It asks the same function as the running relay.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output

if TYPE_CHECKING:
    from relay.model.reply import Reply
    from relay.route.identity import Identity
    from relay.route.plan import Snapshot, Way

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "relay route shop@acme.example",
        "relay route www-data@web01 --from 'Acme <noreply@acme.example>'",
        "relay route '' --from shop@acme.example",
    )
)
def route(
    context: typer.Context,
    senders: Annotated[
        list[str], typer.Argument(metavar="SENDER", help="The reverse-path; '' is the null one.")
    ],
    header_from: Annotated[
        str | None,
        typer.Option("--from", metavar="HEADER_FROM", help="The From field. Default: the sender."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Which way a sender's mail goes, and why.

    Tenant, upstream and identity, as the relay would choose them just now, with the steps that
    lead there. Status 1 where the relay would refuse it.
    """
    snapshot = _snapshot(context)
    answers = [_answer(snapshot, sender.strip("<>"), header_from) for sender in senders]
    if as_json:
        output.json_lines([answer.row for answer in answers])
    else:
        for answer in answers:
            answer.show()
    if any(answer.refusal for answer in answers):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Answer:
    """``header_from`` and ``reply_to`` are the fields' values as they would leave."""

    sender: str
    way: "Way"
    endpoint: str
    reverse_path: str
    header_from: str
    reply_to: str
    refusal: "Reply | None"

    @property
    def row(self) -> dict[str, Any]:
        return {
            "sender": self.sender,
            "tenant": self.way.tenant or None,
            "route": self.way.kind,
            "upstream": self.way.upstream,
            "reverse_path": self.reverse_path,
            "from": self.header_from,
            "reply_to": self.reply_to or None,
            "steps": list(self.way.steps),
            "refused": str(self.refusal) if self.refusal else None,
        }

    def show(self) -> None:
        print(output.plain(self.sender or "<>"))
        facts = {"  because": "\n".join(self.way.steps)}
        if self.refusal:
            facts = {"  refused": str(self.refusal)} | facts
        else:
            facts = self._way_and_identity() | facts
        output.facts(facts)

    def _way_and_identity(self) -> dict[str, str]:
        facts = {
            "  tenant": self.way.tenant or "none",
            "  upstream": f"{self.way.upstream} ({self.endpoint})",
            "  reverse-path": self.reverse_path or "<>",
            "  From": self.header_from,
        }
        return facts | ({"  Reply-To": self.reply_to} if self.reply_to else {})


def _snapshot(context: typer.Context) -> "Snapshot":
    from relay.route.plan import Snapshot
    from relay.route.tenancy import Tenancy

    config = access.configuration(context)
    tenancy = Tenancy(config.tenants.values(), has_default=config.default is not None)
    return Snapshot(config, tenancy, access.toggles(config))


def _answer(snapshot: "Snapshot", sender: str, header_from: str | None) -> Answer:
    from relay.model import header as headers
    from relay.model.reply import Reply
    from relay.route.identity import reverse_path_under
    from relay.route.plan import way_of

    field = sender if header_from is None else header_from
    mailbox = headers.one_mailbox(field.encode())
    way = way_of(snapshot, sender, mailbox, None)
    admitted = snapshot.tenancy.admit(sender, mailbox, None)
    left, reply_to = _fields_under(way.identity, field)
    return Answer(
        sender=sender,
        way=way,
        endpoint=_endpoint(snapshot, way.upstream),
        reverse_path=reverse_path_under(way.identity, sender),
        header_from=left,
        reply_to=reply_to,
        refusal=admitted if isinstance(admitted, Reply) else None,
    )


def _fields_under(identity: "Identity | None", header_from: str) -> tuple[str, str]:
    """From and Reply-To as they would leave, of a header section that has this From alone."""
    from relay.model import header as headers
    from relay.route.identity import header_under

    section = f"From: {header_from}\r\n\r\n".encode()
    if identity:
        section = header_under(identity, section)
    values = {f.name: headers.value(section, f).decode() for f in headers.fields(section)}
    return values.get(b"from", ""), values.get(b"reply-to", "")


def _endpoint(snapshot: "Snapshot", name: str | None) -> str:
    if name is None:
        return "no upstream"
    upstream = snapshot.config.upstreams[name]
    tls = {"implicit": "implicit TLS", "starttls": "STARTTLS", "none": "no TLS"}[upstream.tls]
    return f"{upstream.host}:{upstream.port}, {tls}"
