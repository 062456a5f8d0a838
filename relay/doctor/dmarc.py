"""DMARC of a From's domain: the policy, and whether what the mail leaves under aligns with it."""

from dataclasses import dataclass

from relay.doctor.answers import Answer, Dns
from relay.doctor.dkim import Signing
from relay.doctor.dmarc_record import DmarcRecord, dmarc_record, is_dmarc
from relay.doctor.finding import Finding, Record, Verdict, quoted
from relay.doctor.organisation import are_aligned, organisational_domain
from relay.doctor.subject import Leaving


@dataclass(frozen=True, slots=True)
class Policy:
    """``record`` None: there is none that receivers would take, or it is not known."""

    finding: Finding
    record: DmarcRecord | None = None


async def check_dmarc(dns: Dns, domain: str) -> Policy:
    """At the domain, else at its organisational domain (RFC 7489 section 6.6.3)."""
    top = organisational_domain(domain)
    for place in dict.fromkeys((domain, top)):
        answer = await dns.texts(f"_dmarc.{place}")
        if answer.trouble:
            return Policy(Finding("dmarc", Verdict.UNKNOWN, answer.trouble, domain))
        if policy := _policy(domain, place, answer):
            return policy
    text = f"there is no DMARC record at _dmarc.{domain}"
    if top != domain:
        text += f" nor at _dmarc.{top}"
    return Policy(Finding("dmarc", Verdict.RED, text, domain, records=(_to_begin_with(top),)))


def _policy(domain: str, place: str, answer: Answer) -> Policy | None:
    """None where the place has none."""
    texts = [text for text in answer.values if is_dmarc(text)]
    if not texts:
        return None
    if len(texts) > 1:
        text = f"_dmarc.{place} has {len(texts)} DMARC records, which counts as none; leave one"
        sound = _first_sound(texts)
        record = Record(f"_dmarc.{place}", "TXT", sound) if sound else _to_begin_with(place)
        return Policy(Finding("dmarc", Verdict.RED, text, domain, records=(record,)))
    try:
        record_found = dmarc_record(texts[0])
    except ValueError as error:
        text = f"_dmarc.{place}: {error}"
        finding = Finding("dmarc", Verdict.RED, text, domain, records=(_to_begin_with(place),))
        return Policy(finding)
    text = _in_words(record_found, place, inherited=place != domain)
    return Policy(Finding("dmarc", Verdict.GREEN, text, domain), record_found)


def _first_sound(texts: list[str]) -> str | None:
    for text in texts:
        try:
            return dmarc_record(text).text
        except ValueError:
            continue
    return None


def _to_begin_with(place: str) -> Record:
    """It changes nothing but that its owner hears who sends under the name."""
    return Record(f"_dmarc.{place}", "TXT", f"v=DMARC1; p=none; rua=mailto:postmaster@{place}")


def _in_words(record: DmarcRecord, place: str, *, inherited: bool) -> str:
    policy = record.beneath if inherited else record.policy
    told = [f"p={policy}"]
    if inherited:
        told.append(f"from {place}")
    if policy == "none":
        told.append("receivers are asked for nothing yet: quarantine or reject once all is green")
    if record.percent < 100:
        told.append(f"for {record.percent} % of the mail")
    if not record.reports:
        told.append("nobody gets reports (rua=)")
    return f"{', '.join(told)}: {quoted(record.text)}"


def check_alignment(leaving: Leaving, policy: Policy, signing: Signing) -> Finding:
    """DMARC passes where the From aligns with what SPF or DKIM has shown (RFC 7489 section 3.1)."""
    domain, record = leaving.from_domain, policy.record
    strict_spf, strict_dkim = (record.strict_spf, record.strict_dkim) if record else (False, False)
    ways = []
    if leaving.hop.keeps_reverse_path and are_aligned(
        domain, leaving.reverse_domain, strictly=strict_spf
    ):
        ways.append(f"by SPF (reverse-path at {leaving.reverse_domain})")
    ways += [
        f"by DKIM (d={signer})"
        for signer in signing.domains
        if are_aligned(domain, signer, strictly=strict_dkim)
    ]
    if ways:
        return _aligned(leaving, Verdict.GREEN, f"From {domain} aligns {' and '.join(ways)}")
    if not signing.is_known:
        text = f"not {_why_not_by_spf(leaving, strict_spf)}; by DKIM it is not known"
        return _aligned(leaving, Verdict.UNKNOWN, text)
    text = f"From {domain} aligns with nothing: not {_why_not_by_spf(leaving, strict_spf)}, nor "
    return _aligned(leaving, Verdict.RED, text + _why_not_by_dkim(signing, strict_dkim), signing)


def _aligned(
    leaving: Leaving, verdict: Verdict, text: str, signing: Signing | None = None
) -> Finding:
    """A key for the From's domain mends it, whatever becomes of the reverse-path."""
    found = signing.findings if signing else ()
    records = tuple(dict.fromkeys(record for finding in found for record in finding.records))
    return Finding("alignment", verdict, text, leaving.from_domain, leaving.hop.upstream, records)


def _why_not_by_spf(leaving: Leaving, strictly: bool) -> str:
    if not leaving.hop.keeps_reverse_path:
        return f"by SPF, since {leaving.hop.title} puts a return path of its own"
    how = " exactly (aspf=s)" if strictly else ""
    return f"by SPF, since the reverse-path at {leaving.reverse_domain} is not{how} of its domain"


def _why_not_by_dkim(signing: Signing, strictly: bool) -> str:
    if not signing.domains:
        return "by DKIM, since there is no good key"
    how = " exactly (adkim=s)" if strictly else ""
    return f"by DKIM, since d={', '.join(signing.domains)} is not{how} its domain"
