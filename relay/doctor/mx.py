"""MX of a reverse-path's domain: whether bounces find their way back."""

import asyncio

from relay.doctor.answers import Dns
from relay.doctor.finding import Finding, Record, Verdict
from relay.doctor.organisation import organisational_domain

_NULL = "."  # RFC 7505


async def check_mx(dns: Dns, domain: str) -> Finding:
    answer = await dns.exchanges(domain)
    if answer.trouble:
        return Finding("mx", Verdict.UNKNOWN, answer.trouble, domain)
    hosts = [value.split()[1] for value in answer.values]
    if hosts == [_NULL]:
        text = f"{domain} takes no mail (a null MX), so that bounces are lost, and mail is refused"
        return Finding("mx", Verdict.RED, text, domain, records=await _publish(dns, domain))
    if not hosts:
        return await _without_mx(dns, domain)
    return await _of_hosts(dns, domain, [host for host in hosts if host != _NULL])


async def _of_hosts(dns: Dns, domain: str, hosts: list[str]) -> Finding:
    answers = await asyncio.gather(*[dns.addresses(host) for host in hosts])
    if any(answer.values for answer in answers):
        lost = [host for host, answer in zip(hosts, answers, strict=True) if answer.is_void]
        note = f"; but {', '.join(lost)} has no address" if lost else ""
        return Finding("mx", Verdict.GREEN, f"bounces go to {', '.join(hosts)}{note}", domain)
    for answer in answers:
        if answer.trouble:
            return Finding("mx", Verdict.UNKNOWN, answer.trouble, domain)
    text = f"bounces are lost: {', '.join(hosts)} has no address"
    return Finding("mx", Verdict.RED, text, domain, records=await _publish(dns, domain))


async def _without_mx(dns: Dns, domain: str) -> Finding:
    """Then it is the domain's own address (RFC 5321 section 5.1)."""
    answer = await dns.addresses(domain)
    if answer.trouble:
        return Finding("mx", Verdict.UNKNOWN, answer.trouble, domain)
    if answer.values:
        text = f"there is no MX: bounces go to {domain} itself ({', '.join(answer.values)})"
        return Finding("mx", Verdict.GREEN, text, domain)
    text = f"bounces are lost: {domain} has neither MX nor address"
    return Finding("mx", Verdict.RED, text, domain, records=await _publish(dns, domain))


async def _publish(dns: Dns, domain: str) -> tuple[Record, ...]:
    """The organisation's own mail servers, where it has some; which else, only the owner knows."""
    top = organisational_domain(domain)
    if top != domain:
        answer = await dns.exchanges(top)
        values = [value for value in answer.values if value.split()[1] != _NULL]
        if values:
            return tuple(Record(domain, "MX", value) for value in values)
    return (Record(domain, "MX", None),)
