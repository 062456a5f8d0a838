"""docs/failures.md, made from the tables: python -m relay.deliver.failures_reference > FILE.

What it says of a reply, a silence or a breakage is what classify decides.
"""

from collections.abc import Iterable, Iterator, Sequence

from relay.config.providers import providers
from relay.deliver import classify
from relay.model.causes import REMEDIES, Scope
from relay.model.phase import Phase
from relay.model.provider import FROM_MAIL_ON, Provider, ReplyRule

_INTRODUCTION = """\
# Failures

<!-- Made from the tables by `python -m relay.deliver.failures_reference`; do not edit. -->

What the relay makes of every failure, without being asked. A failure has a *cause* (what went
wrong), a *scope* (how far it reaches), and a *remedy* (what you can do); all three stand in the
trail: `relay audit`. Mail is only ever failed for a permanent (5yz) refusal of its recipient or its
content. Whatever is wrong with the network, the machine, the provider, the account or the sender's
standing makes it wait, until `retry.give_up_after`.

| scope | what happens |
| --- | --- |
| recipient | that recipient waits or fails; the others go on |
| message | the message waits or fails; other messages go on |
| tenant | the message waits, and other mail of that sender address on that upstream too |
| upstream | the upstream is paused and tried again by itself; mail waits or takes the failover |

When three sender addresses of a tenant were refused on an upstream without a success between, the
tenant's way through it is paused. From MAIL on, a 421, a silence or a lost connection pauses the
upstream only when two different messages met it; until then it is the one message that waits.

A row holds where all that it names holds. The provider's own rows are asked first, then those for
any server, from the top; the first that fits decides. Text is recognised by its words, whatever
their case, and never by an address in it; the wording of an example is one of many. A 4yz never
fails anything. A reply that is neither good nor a 4yz or 5yz is a `protocol_error` of the upstream.
"""

_THEN = {
    Scope.RECIPIENT: "the recipient waits",
    Scope.MESSAGE: "the message waits",
    Scope.TENANT: "the sender's mail waits",
    Scope.UPSTREAM: "the upstream is paused",
}
_PHASES = {
    Phase.CONNECT: "connect",
    Phase.BANNER: "banner",
    Phase.EHLO: "EHLO",
    Phase.TLS: "TLS",
    Phase.AUTH: "AUTH",
    Phase.MAIL: "MAIL",
    Phase.RCPT: "RCPT",
    Phase.DATA: "DATA",
    Phase.CONTENT: "content",
    Phase.AFTER_DOT: "after the dot",
}
_OWN_REMEDY = "remedy, if not the cause's"


def reference() -> str:
    """The whole page, in Markdown."""
    sections = [_INTRODUCTION, _causes(), _without_reply(), _any_server()]
    return "\n".join([*sections, "## Providers\n", *map(_provider, providers().values())])


def _causes() -> str:
    rows = ((f"`{cause}`", remedy) for cause, remedy in REMEDIES.items())
    return f"## Causes\n\n{_table(('cause', 'remedy'), rows)}"


def _without_reply() -> str:
    silent = [_silence(_PHASES[phase], row) for phase, row in classify.SILENCES.items()]
    other = _silence("any other", classify.OTHER_SILENCE)
    broken = (
        (row.words, _where(row.phases), f"`{row.cause}`", row.scope, _THEN[row.scope], "")
        for row in classify.BREAKAGES
    )
    rows = (*silent, other, *broken)
    heads = ("what happened", "phase", "cause", "scope", "then", _OWN_REMEDY)
    return f"## No reply at all\n\n{_table(heads, rows)}"


def _silence(phase: str, row: classify.Silence) -> tuple[str, ...]:
    remedy = row.remedy or ""
    return "no answer in time", phase, f"`{row.cause}`", row.scope, _THEN[row.scope], remedy


def _any_server() -> str:
    return f"## Replies of any server\n\n{_replies(classify.GENERAL_RULES)}"


def _replies(rules: Sequence[ReplyRule]) -> str:
    heads = (
        "reply, for example", "recognised by", "phase", "cause", "scope", "then",
        _OWN_REMEDY, "source",
    )  # fmt: skip
    rows = (
        (
            f"`{rule.example}`",
            _recognised(rule),
            _where(rule.phases),
            f"`{rule.cause}`",
            _scope(rule),
            _then(rule),
            rule.remedy or "",
            rule.source,
        )
        for rule in rules
    )
    return _table(heads, rows)


def _recognised(rule: ReplyRule) -> str:
    codes = (code if len(code) == 3 else f"{code}yz" for code in rule.codes)
    named = [" or ".join(codes), " or ".join(rule.statuses), "its words" if rule.text else ""]
    return ", ".join(part for part in named if part) or "anything"


def _where(phases: frozenset[Phase]) -> str:
    if phases == FROM_MAIL_ON:
        return "from MAIL on"
    return ", ".join(_PHASES[phase] for phase in Phase if phase in phases) or "any"


def _reached(rule: ReplyRule) -> list[Scope]:
    """The scopes that a row comes to at its phases."""
    reached = {classify.reach(rule, phase) for phase in rule.phases or Phase}
    return [scope for scope in Scope if scope in reached]


def _scope(rule: ReplyRule) -> str:
    return " or ".join(_reached(rule))


def _then(rule: ReplyRule) -> str:
    if not rule.permanent:
        return " or ".join(_THEN[scope] for scope in _reached(rule))
    fails = " or ".join(f"the {scope}" for scope in _reached(rule)) + " fails"
    return fails if rule.codes == ("5",) else f"{fails}, or waits if it is a 4yz"


def _provider(provider: Provider) -> str:
    rows = (source.rsplit(": ", 1) for source in provider.sources)
    user = f"`{provider.username}`" if provider.username else provider.username_form
    parts = [
        f"### {provider.name}: {provider.title}\n",
        f"User name: {user}.\n",
        *(f"- {note}" for note in provider.notes),
        "" if provider.notes else None,
        _table(("what is known", "source"), rows),
        _replies(provider.replies) if provider.replies else None,
    ]
    return "\n".join(part for part in parts if part is not None)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_lines(heads, rows)) + "\n"


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


if __name__ == "__main__":
    print(reference(), end="")
