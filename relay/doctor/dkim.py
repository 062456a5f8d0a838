"""DKIM: the keys of the provider's selectors, and of those that the tenant names."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from relay.doctor.answers import Answer, Dns
from relay.doctor.dkim_key import BadKey, DkimKey, dkim_key
from relay.doctor.finding import Finding, Record, Verdict
from relay.doctor.organisation import with_its_parents
from relay.doctor.subject import Hop


@dataclass(frozen=True, slots=True)
class Signing:
    """What a hop signs by. ``domains`` are those (d=) of which a good key was found; with none,
    ``is_known`` says whether all keys that there may be were looked at."""

    findings: tuple[Finding, ...]
    domains: tuple[str, ...]
    is_known: bool


@dataclass(frozen=True, slots=True)
class _Selected:
    """A selector of mail from ``domain``; its record is at ``place``, there or above."""

    selector: str
    domain: str
    place: str
    answer: Answer
    key: DkimKey | None = None
    fault: str = ""

    @property
    def name(self) -> str:
        return f"{self.selector}._domainkey.{self.place}"


async def check_dkim(dns: Dns, domain: str, hop: Hop, named: Sequence[str]) -> Signing:
    """Of mail whose From has this ``domain``; ``named`` are the tenant's own selectors."""
    known = hop.provider.dkim if hop.provider else None
    usual = [one for one in (known.selectors if known else ()) if one not in named]
    selected = await asyncio.gather(*[_look(dns, domain, one) for one in (*named, *usual)])
    own, others = selected[: len(named)], selected[len(named) :]
    findings = [_seen(one, hop) or _absent(one, hop) for one in own]
    findings += _of_usual(others, hop, relieved=any(one.key for one in own))
    if not findings:
        findings = [Finding("dkim", Verdict.UNKNOWN, _ask(hop), domain, hop.upstream)]
    places = tuple(dict.fromkeys(one.place for one in selected if one.key))
    certain = all(finding.verdict is Verdict.RED for finding in findings)
    return Signing(tuple(findings), places, is_known=bool(places) or certain)


async def _look(dns: Dns, domain: str, selector: str) -> _Selected:
    """In the From's domain, else in those above it: a provider may sign for the whole."""
    for place in with_its_parents(domain):
        answer = await dns.texts(f"{selector}._domainkey.{place}")
        if not answer.is_void:
            return _judged(_Selected(selector, domain, place, answer))
    return _Selected(selector, domain, domain, Answer())


def _judged(one: _Selected) -> _Selected:
    values = one.answer.values
    if len(values) > 1:
        return replace(one, fault=f"there are {len(values)} records, of which receivers take any")
    try:
        return replace(one, key=dkim_key(values[0])) if values else one
    except BadKey as error:
        return replace(one, fault=str(error))


def _of_usual(selected: Sequence[_Selected], hop: Hop, *, relieved: bool) -> Iterator[Finding]:
    """The provider's. What is absent is a fault only where every account has it, and the tenant
    names none that is good."""
    known = hop.provider.dkim if hop.provider else None
    seen = [finding for one in selected if (finding := _seen(one, hop))]
    yield from seen
    absent = [one for one in selected if one.answer.is_void]
    if known and known.fixed and not relieved:
        yield from (_absent(one, hop) for one in absent)
    elif absent and not seen and not relieved:
        names = ", ".join(one.selector for one in absent)
        text = f"nothing at the selector that most have ({names}); {_ask(hop)}"
        yield Finding("dkim", Verdict.UNKNOWN, text, absent[0].domain, hop.upstream)


def _seen(one: _Selected, hop: Hop) -> Finding | None:
    """None where the DNS has nothing."""
    if one.answer.trouble:
        return Finding("dkim", Verdict.UNKNOWN, one.answer.trouble, one.domain, hop.upstream)
    if one.key:
        text = f"{one.name}: {one.key}"
        return Finding("dkim", Verdict.GREEN, text, one.domain, hop.upstream)
    if one.fault:
        text = f"{one.name}: {one.fault}{_shown(hop)}"
        return Finding("dkim", Verdict.RED, text, one.domain, hop.upstream, _publish(one, hop))
    return None


def _absent(one: _Selected, hop: Hop) -> Finding:
    text = f"there is no {one.name}{_shown(hop)}"
    return Finding("dkim", Verdict.RED, text, one.domain, hop.upstream, _publish(one, hop))


def _publish(one: _Selected, hop: Hop) -> tuple[Record, ...]:
    """The provider's alias where that is known; else the value is the provider's to tell."""
    known = hop.provider.dkim if hop.provider else None
    if known and known.cname and one.selector in known.selectors:
        target = known.cname.format(selector=one.selector, domain=one.place)
        return (Record(one.name, "CNAME", target),)
    kind = "CNAME" if known and known.fixed and one.selector in known.selectors else "TXT"
    return (Record(one.name, kind, None),)


def _ask(hop: Hop) -> str:
    text = f"ask {hop.title} for the selectors, and name them in the tenant's dkim_selectors"
    return f"{text}{_shown(hop)}"


def _shown(hop: Hop) -> str:
    known = hop.provider.dkim if hop.provider else None
    return f"; see {known.where}" if known else ""
