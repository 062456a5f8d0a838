"""SPF of a reverse-path's domain: the record, its limits, and whether the upstreams may send."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from relay.doctor.answers import Dns, is_address
from relay.doctor.finding import Finding, Record, Verdict, quoted
from relay.doctor.spf_mend import mended
from relay.doctor.spf_record import SpfRecord, is_spf, spf_record
from relay.doctor.spf_walk import MOST_LOOKUPS, MOST_VOIDS, Walk, walk
from relay.doctor.subject import Hop


async def check_spf(
    dns: Dns, domain: str, hops: Sequence[Hop], senders: Sequence[Hop]
) -> list[Finding]:
    """``hops`` are the tenant's that send with this reverse-path; ``senders`` those of the whole
    configuration, so that there is one record to publish and not one for each."""
    answer = await dns.texts(domain)
    if answer.trouble:
        return [Finding("spf", Verdict.UNKNOWN, answer.trouble, domain)]
    records = [spf_record(text) for text in answer.values if is_spf(text)]
    if len(records) != 1:
        return [_not_one(domain, records, senders)]
    record = records[0]
    walked = await walk(dns, domain, record)
    lacking = [one for one in _includes(senders) if not await _lets_pass(dns, walked, one)]
    useless = walked.broken | (walked.empty if len(walked.voids) > MOST_VOIDS else set())
    better = mended(records, [f"include:{one}" for one in lacking], useless)
    publish = (Record(domain, "TXT", better),)
    then = (await walk(dns, domain, spf_record(better))).lookups
    return [
        _soundness(domain, record, walked, publish),
        _limits(domain, record, walked, better),
        *[await _of_hop(dns, domain, walked, hop, publish, then) for hop in hops],
    ]


def _includes(senders: Sequence[Hop]) -> list[str]:
    return list(dict.fromkeys(hop.include for hop in senders if hop.include))


def _to_begin_with(senders: Sequence[Hop]) -> list[str]:
    """Who sends, as far as it is known: the provider's include, or the host's own addresses; else
    the servers that take the domain's mail."""
    terms = []
    for hop in senders:
        if hop.include:
            terms.append(f"include:{hop.include}")
        elif hop.provider is None and not is_address(hop.host):
            terms.append(f"a:{hop.host}")
    return terms or ["mx"]


def _not_one(domain: str, records: Sequence[SpfRecord], senders: Sequence[Hop]) -> Finding:
    terms = [f"include:{one}" for one in _includes(senders)] if records else _to_begin_with(senders)
    publish = (Record(domain, "TXT", mended(records, terms)),)
    if not records:
        text = "there is no SPF record"
    else:
        text = f"there are {len(records)} SPF records, which counts as none; leave one"
    return Finding("spf", Verdict.RED, text, domain, records=publish)


def _soundness(
    domain: str, record: SpfRecord, walked: Walk, publish: tuple[Record, ...]
) -> Finding:
    errors = [*record.errors, *walked.errors]
    if errors:
        text = f"it counts as none, being in error: {'; '.join(errors)}"
        return Finding("spf", Verdict.RED, text, domain, records=publish)
    if walked.all and walked.all.passes:
        text = f"{quoted(record.text)} lets everybody send as {domain}"
        return Finding("spf", Verdict.RED, text, domain, records=publish)
    if walked.all is None and not walked.unknown:
        text = f"{quoted(record.text)} has no all at its end, so it refuses nobody"
        return Finding("spf", Verdict.RED, text, domain, records=publish)
    if walked.uses_ptr:
        text = "it uses ptr, which is slow and not to be used (RFC 7208 section 5.5)"
        return Finding("spf", Verdict.RED, text, domain, records=publish)
    if walked.unknown and walked.all is None:
        return Finding("spf", Verdict.UNKNOWN, "; ".join(walked.unknown), domain)
    return Finding("spf", Verdict.GREEN, quoted(record.text), domain)


def _limits(domain: str, record: SpfRecord, walked: Walk, better: str) -> Finding:
    """Beyond them receivers take the record for none."""
    publish = (Record(domain, "TXT", better),) if _is_shorter(better, record) else ()
    told = f"{walked.lookups} of {MOST_LOOKUPS} look-ups"
    if walked.lookups > MOST_LOOKUPS:
        costs = sorted(walked.costs.items(), key=lambda cost: -cost[1])
        dear = ", ".join(f"{term} {count}" for term, count in costs)
        text = f"{told}, so that it counts as none; take out what you don't use: {dear}"
        return Finding("spf_lookups", Verdict.RED, text, domain, records=publish)
    if len(walked.voids) > MOST_VOIDS:
        text = (
            f"{len(walked.voids)} of {MOST_VOIDS} look-ups that find nothing, so that it counts as "
            f"none; take out {', '.join(walked.voids)}"
        )
        return Finding("spf_lookups", Verdict.RED, text, domain, records=publish)
    if walked.unknown:
        text = f"at least {told}: {'; '.join(walked.unknown)}"
        return Finding("spf_lookups", Verdict.UNKNOWN, text, domain)
    return Finding("spf_lookups", Verdict.GREEN, told, domain)


def _is_shorter(better: str, record: SpfRecord) -> bool:
    return len(better.split()) < len(record.text.split())


async def _of_hop(
    dns: Dns, domain: str, walked: Walk, hop: Hop, publish: tuple[Record, ...], then: int
) -> Finding:
    """``then`` look-ups it will take, when the record to publish is there."""

    def found(verdict: Verdict, text: str) -> Finding:
        records = publish if verdict is Verdict.RED else ()
        return Finding("spf_provider", verdict, text, domain, hop.upstream, records)

    if hop.include is None:
        return found(*await _by_address(dns, walked, hop))
    if await _lets_pass(dns, walked, hop.include):
        return found(Verdict.GREEN, f"{hop.title} may send (include:{hop.include})")
    if walked.unknown:
        return found(Verdict.UNKNOWN, "; ".join(walked.unknown))
    text = f"{hop.title} may not send: the record lacks include:{hop.include}"
    if not hop.keeps_reverse_path:
        text += "; it matters where the provider keeps this return path, not where it puts its own"
    if then > MOST_LOOKUPS:
        told = f"{then} of {MOST_LOOKUPS} look-ups"
        text += f"; with it there are {told}: take out what you don't use"
    return found(Verdict.RED, text)


async def _lets_pass(dns: Dns, walked: Walk, include: str) -> bool:
    """By including it, or by listing every address that it has, as "flattened" records do."""
    if include in walked.included:
        return True
    answer = await dns.texts(include)
    records = [spf_record(text) for text in answer.values if is_spf(text)]
    if len(records) != 1:
        return False
    of_provider = await walk(dns, include, records[0])
    return not of_provider.unknown and walked.lets_pass(of_provider.networks)


async def _by_address(dns: Dns, walked: Walk, hop: Hop) -> tuple[Verdict, str]:
    """Where no include is known: the host's own addresses may be those that mail goes out by."""
    if hop.provider and not hop.keeps_reverse_path:
        return Verdict.GREEN, f"{hop.title} sends with a return path of its own, and asks for none"
    answer = await dns.addresses(hop.host)
    if answer.trouble:
        return Verdict.UNKNOWN, answer.trouble
    public = [address for address in answer.values if ip_address(address).is_global]
    if walked.lets_pass([ip_network(address) for address in public]):
        return Verdict.GREEN, f"{hop.host} may send ({', '.join(public)})"
    return Verdict.UNKNOWN, "".join(_unlisted(hop, public))


def _unlisted(hop: Hop, public: Sequence[str]) -> Iterator[str]:
    yield f"nothing is known of the addresses that {hop.host} sends from"
    if public:
        terms = " ".join(f"ip{ip_address(address).version}:{address}" for address in public)
        yield f"; if they are its own, add {terms} to the record"
