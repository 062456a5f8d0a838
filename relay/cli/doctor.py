"""``relay doctor``: do receivers find in the DNS what our mail needs to be believed?

Looks and reports; nothing is changed, and no mail is sent.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.doctor.finding import Finding
    from relay.doctor.subject import Subject
    from relay.model.events import Event
    from relay.model.toggle import Toggle

app = typer.Typer()

_COLOURS = {"green": output.GREEN, "red": output.RED, "unknown": output.YELLOW}
_INDENT = " " * 6


Tenants = Annotated[
    list[str] | None,
    typer.Argument(metavar="TENANT", help="Only these. Default: all, and the default."),
]
Nameservers = Annotated[
    list[str],
    typer.Option(
        "--nameserver",
        metavar="ADDRESS",
        help="The DNS server to ask, like 9.9.9.9 or 127.0.0.1:5353; may be repeated. "
        "Default: doctor.nameservers, else the machine's own.",
    ),
]


@app.command(
    epilog=options.examples(
        "relay doctor",
        "relay doctor acme",
        "relay doctor acme --nameserver 9.9.9.9",
        "relay doctor --json | jq 'select(.verdict == \"red\")'",
    )
)
def doctor(
    context: typer.Context,
    tenants: Tenants = None,
    nameservers: Nameservers = [],  # noqa: B006 - typer makes its own
    as_json: options.Json = False,
) -> None:
    """Is what our mail needs in the DNS, certificates and secrets in place?

    SPF, DKIM, DMARC and MX of the domains that mail leaves under, as the relay rewrites them; each
    upstream's certificate and secrets. For what is red, the record to publish, ready to paste;
    unknown is what the DNS did not answer. Status 1 where anything is red.
    """
    import asyncio

    from relay import examination
    from relay.doctor.answers import NoNameserver

    config = _asking(access.configuration(context), nameservers)
    for name in tenants or ():
        access.named("tenant", name, config.tenants)
    toggles = _toggles(config)
    subjects = examination.subjects(config, toggles, list(dict.fromkeys(tenants or ())))
    everybody = examination.subjects(config, toggles, ()) if tenants else ()
    try:
        found = asyncio.run(examination.examine(config, subjects, everybody))
    except NoNameserver as error:
        raise Trouble(str(error)) from None
    if as_json:
        output.json_lines(_rows(subjects, found))
    else:
        _show(subjects, found)
    output.flush()
    access.put_on_record(config, [_event(*one) for one in zip(subjects, found, strict=True)])
    if any(_counted(findings)["red"] for findings in found):
        raise typer.Exit(1)


def _toggles(config: "Config") -> "Mapping[str, Toggle]":
    """Those in force; where the store can't be read, the file's word counts."""
    try:
        return access.toggles(config)
    except Trouble:
        return {}


def _asking(config: "Config", nameservers: Sequence[str]) -> "Config":
    """The configuration with the servers of the command line, where there are some."""
    from relay.config.doctor import nameserver

    if not nameservers:
        return config
    try:
        named = tuple(map(nameserver, nameservers))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--nameserver") from None
    section = config.doctor.model_copy(update={"nameservers": named})
    return config.model_copy(update={"doctor": section})


def _rows(
    subjects: "Sequence[Subject]", found: "Sequence[Sequence[Finding]]"
) -> Iterator[dict[str, Any]]:
    for subject, findings in zip(subjects, found, strict=True):
        for finding in findings:
            yield {"tenant": subject.tenant} | finding.row


def _show(subjects: "Sequence[Subject]", found: "Sequence[Sequence[Finding]]") -> None:
    """By tenant, then by domain or upstream; a record that mends several is shown once."""
    for subject, findings in zip(subjects, found, strict=True):
        print(output.plain(subject.tenant or "(default)"))
        for title, group in groupby(findings, key=lambda finding: finding.subject):
            print(f"  {output.plain(title)}")
            shown: set[str] = set()
            for finding in group:
                _tell(finding, shown)
        print()
    total = sum(map(_counted, found), Counter[str]())
    print(", ".join(f"{total[verdict]} {verdict}" for verdict in _COLOURS) or "nothing to check")


def _tell(finding: "Finding", shown: set[str]) -> None:
    verdict = str(finding.verdict)
    said = output.styled(verdict.ljust(9), _COLOURS[verdict])
    by = f" ({finding.upstream})" if finding.domain and finding.upstream else ""
    print(f"    {said}{finding.check.ljust(13)} {output.plain(finding.text)}{by}")
    for line in map(str, finding.records):
        if line not in shown:
            print(f"{_INDENT}{output.plain(line)}")
        shown.add(line)


def _counted(findings: "Sequence[Finding]") -> Counter[str]:
    return Counter(str(finding.verdict) for finding in findings)


def _event(subject: "Subject", findings: "Sequence[Finding]") -> "Event":
    from relay.model.events import doctor_checked

    counted = _counted(findings)
    red = [f"{one.check} {one.subject}" for one in findings if one.verdict == "red"]
    numbers = {verdict: counted[verdict] for verdict in _COLOURS}
    return doctor_checked(subject.tenant, access.actor(), numbers, list(dict.fromkeys(red)))
