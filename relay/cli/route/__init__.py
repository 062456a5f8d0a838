"""``relay route``: which way a sender's mail would go just now, under which identity, and why.

It asks the same functions as the running relay.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import access, options, output

if TYPE_CHECKING:
    from relay.config.schema import Config

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "relay route shop@acme.example",
        "relay route www-data@web01 --from 'Acme <noreply@acme.example>'",
        "relay route '' --from shop@acme.example",
        "relay route shop@acme.example --recipient ann@customer.example --subject 'Your code'",
        "relay route news@acme.example --header 'List-Unsubscribe=<https://acme.example/u>'",
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
    recipients: Annotated[
        list[str],
        typer.Option(
            "--recipient",
            metavar="ADDRESS",
            help="Who gets it, by which pilots and classes may go; may be repeated.",
        ),
    ] = [],  # noqa: B006 - typer makes its own
    subject: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The Subject, by which classes may go.")
    ] = None,
    headers: Annotated[
        list[str],
        typer.Option("--header", metavar="NAME=VALUE", help="Another field; may be repeated."),
    ] = [],  # noqa: B006
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Under which name the client logs in.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Which way a sender's mail goes, and why.

    Tenant, class, upstream and identity, as the relay would choose them just now, with the steps
    that lead there; pilot, failover and what is paused included. Status 1 where the relay would
    refuse it.
    """
    from relay.cli.route.answer import Letter, answer
    from relay.cli.upstream.ways import Ways

    config = access.configuration(context)
    asked = [_sender(sender, header_from) for sender in senders]
    fields = [("Subject", subject)] if subject is not None else []
    fields += map(_field, headers)
    bound = _bound(config, user)
    letters = [
        Letter(sender, header_from, tuple(map(_recipient, recipients)), tuple(fields), user, bound)
        for sender in asked
    ]
    ways = Ways(config, access.orders(config))
    answers = [answer(ways, letter) for letter in letters]
    if as_json:
        output.json_lines(one.row for one in answers)
    else:
        for one in answers:
            print(output.plain(one.letter.sender or "<>"))
            output.facts(one.facts)
    if any(one.refusal for one in answers):
        raise typer.Exit(1)


def _sender(text: str, header_from: str | None) -> str:
    """ "" is the null one. Where the From field has a word to say, it may lack a domain, as old
    devices' do."""
    bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if bare:
        lacks_domain = "@" not in bare and header_from is not None
        _check_address(f"{bare}@localhost" if lacks_domain else bare, "SENDER")
    return bare


def _recipient(text: str) -> str:
    _check_address(text, "--recipient")
    return text


def _check_address(text: str, hint: str) -> None:
    from relay.config.addresses import address

    try:
        address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None


def _field(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise typer.BadParameter(f'write NAME=VALUE, not "{text}"', param_hint="--header")
    return name.strip(), value


def _bound(config: "Config", user: str | None) -> tuple[str, ...] | None:
    """The tenants to which the user is bound; None: to none."""
    if user is None:
        return None
    return access.named("user", user, config.clients.users).tenants or None
