"""All checks of all subjects, at once; a domain that several send under is asked about once."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain

from relay.doctor.answers import Dns
from relay.doctor.dkim import Signing, check_dkim
from relay.doctor.dmarc import check_alignment, check_dmarc
from relay.doctor.finding import Finding, Verdict
from relay.doctor.mx import check_mx
from relay.doctor.spf import check_spf
from relay.doctor.subject import Hop, Leaving, Subject


async def check_up(
    dns: Dns, subjects: Sequence[Subject], others: Sequence[Subject] = ()
) -> list[list[Finding]]:
    """For each subject in its order, what was found of its domains. ``others`` are not looked at,
    but a record to publish has to do for them, too."""
    senders = _senders([*subjects, *others])
    return await asyncio.gather(*[_check_subject(dns, one, senders) for one in subjects])


def _senders(subjects: Sequence[Subject]) -> dict[str, list[Hop]]:
    """By the domain of a reverse-path, all that send with it."""
    senders: dict[str, list[Hop]] = {}
    for domain, hop in chain.from_iterable(map(_reverse_paths, subjects)):
        if hop not in senders.setdefault(domain, []):
            senders[domain].append(hop)
    return senders


def _reverse_paths(subject: Subject) -> list[tuple[str, Hop]]:
    return [*((one.reverse_domain, one.hop) for one in subject.leaving), *subject.bounces]


async def _check_subject(
    dns: Dns, subject: Subject, senders: Mapping[str, Sequence[Hop]]
) -> list[Finding]:
    hops_of = _senders([subject])
    of_reverse = [_of_reverse(dns, name, hops, senders[name]) for name, hops in hops_of.items()]
    by_from: dict[str, list[Leaving]] = {}
    for one in dict.fromkeys(subject.leaving):
        by_from.setdefault(one.from_domain, []).append(one)
    of_from = [_of_from(dns, name, ones, subject.selectors) for name, ones in by_from.items()]
    found = await asyncio.gather(*of_reverse, *of_from)
    return [*_by_domain([*chain.from_iterable(found)]), *map(_wildcard, subject.wildcards)]


def _by_domain(findings: Sequence[Finding]) -> list[Finding]:
    """Those of one domain together, in the order in which the domains came up."""
    order = {
        name: place for place, name in enumerate(dict.fromkeys(one.subject for one in findings))
    }
    return sorted(findings, key=lambda one: order[one.subject])


async def _of_reverse(
    dns: Dns, domain: str, hops: Sequence[Hop], senders: Sequence[Hop]
) -> list[Finding]:
    spf, mx = await asyncio.gather(check_spf(dns, domain, hops, senders), check_mx(dns, domain))
    return [*spf, mx]


async def _of_from(
    dns: Dns, domain: str, leaving: Sequence[Leaving], selectors: Sequence[str]
) -> list[Finding]:
    hops = list(dict.fromkeys(one.hop for one in leaving))
    policy = await check_dmarc(dns, domain)
    signings = await asyncio.gather(*[check_dkim(dns, domain, hop, selectors) for hop in hops])
    signing_of: dict[Hop, Signing] = dict(zip(hops, signings, strict=True))
    return [
        *chain.from_iterable(signing.findings for signing in signings),
        policy.finding,
        *[check_alignment(one, policy, signing_of[one.hop]) for one in leaving],
    ]


def _wildcard(domain: str) -> Finding:
    text = "each domain beneath it needs records of its own; name one under domains to have it seen"
    return Finding("spf", Verdict.UNKNOWN, text, f"*.{domain}")
