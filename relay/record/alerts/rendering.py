"""An alert as mail and as JSON, a summary as mail.

Written for a person at three in the morning: what broke, since when, how much mail is concerned,
what happens by itself, what to do, which command to run.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relay.config.addresses import Mailbox
from relay.model.notice import IncidentKind, Notice, NoticeKind
from relay.model.value import value_class
from relay.record.alerts import words
from relay.record.alerts.alarm import Alert
from relay.record.alerts.concern import PAUSES, Concern
from relay.record.alerts.section import Section, sections
from relay.record.alerts.withheld import OfTenant, Summary
from relay.record.audit import rfc3339
from relay.record.wording import Heading, clean, letter, text_part

_WIDTH = 76
_INDENT = 15
_MOST_SECTIONS = 20
_MOST_TENANTS = 10
# Messages that wait now, by upstream.
Waiting = Mapping[str, int]


@value_class
class Envoy:
    """In whose name the relay writes."""

    hostname: str
    from_: Mailbox


def alert_mail(
    alert: Alert, *, envoy: Envoy, message_id: str, waiting: Waiting | None = None
) -> Notice:
    """``waiting`` says how much mail waits for an upstream as the alert is written."""
    assert alert.addressee.mailbox is not None, "the webhook takes alert_json"
    found = sections(alert)
    blocks = [_block(section, alert, waiting or {}) for section in found[:_MOST_SECTIONS]]
    blocks += _others(found[_MOST_SECTIONS:])
    blocks.append(f"-- \nThe relay at {clean(envoy.hostname)}\n")
    subject = f"[relay] {_summarised(found, envoy.hostname)}"
    return _notice("alert", alert.addressee.mailbox, subject, blocks, envoy, message_id, alert.at)


def alert_json(alert: Alert, *, hostname: str, waiting: Waiting | None = None) -> dict[str, Any]:
    """For the webhook. ``text`` is what chats show, and holds no words from outside; on top stand
    the facts of the gravest trouble, ``troubles`` has them for each."""
    found = sections(alert)
    troubles = [_facts(section, alert, waiting or {}) for section in found[:_MOST_SECTIONS]]
    return {
        "text": f"[relay] {_summarised(found, hostname)}",
        "hostname": hostname,
        "at": rfc3339(alert.at),
        **troubles[0],
        "troubles": troubles,
        "more": max(0, len(found) - _MOST_SECTIONS),
    }


def summary_mail(summary: Summary, *, envoy: Envoy, message_id: str) -> Notice:
    """The day's suppressions."""
    assert summary.addressee.mailbox is not None, "the webhook has no part in summaries"
    messages = sum(sum(t.addresses.values()) + t.others for t in summary.tenants)
    names = _names([of_tenant.tenant for of_tenant in summary.tenants]) or "default"
    subject = f"[relay] {names}: {words.counted(messages, 'message')} to suppressed addresses"
    since, until = _moment(summary.since), _moment(summary.at)
    introduction = (
        f"From {since} to {until} mail to these addresses was withheld, since they "
        "are on the suppression list: they were refused again and again as not existing, or "
        "somebody put them there. Other recipients of the same messages got theirs."
    )
    blocks = [textwrap.fill(introduction, _WIDTH) + "\n"]
    blocks += [_suppressed(of_tenant) for of_tenant in summary.tenants]
    blocks.append("To see the list, or to take an address off it:\n")
    blocks.append("    relay suppress list\n    relay suppress remove ADDRESS\n")
    blocks.append(f"-- \nThe relay at {clean(envoy.hostname)}\n")
    mailbox = summary.addressee.mailbox
    return _notice("summary", mailbox, subject, blocks, envoy, message_id, summary.at)


def _notice(
    kind: NoticeKind,
    to: Mailbox,
    subject: str,
    blocks: Sequence[str],
    envoy: Envoy,
    message_id: str,
    at: float,
) -> Notice:
    heading = Heading(envoy.from_, to, subject, message_id, at, "auto-generated")
    content, header_size = letter(heading, text_part("\n".join(blocks)))
    return Notice(kind, to.address, content, header_size, envoy.from_.address, message_id)


# -- an alert


def _summarised(found: Sequence[Section], hostname: str) -> str:
    """ "acme: mail waits, authentication_failed at acme-sendgrid, and 2 more"."""
    first = found[0]
    who = _names(first.tenants, most=1) or clean(hostname, 100)
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    what = [first.title] if first.first.cause or first.first.ended_at is not None else []
    if first.first.ended_at is None:
        what.insert(0, words.headline(first.first, first.count))
    return f"{who}: {', '.join(what)}{more}"


def _names(tenants: Sequence[str], most: int = 3) -> str:
    """ "" for none; "" among them is mail of no tenant."""
    named = [clean(tenant, 60) or "no tenant" for tenant in tenants[:most]]
    if len(tenants) > most:
        named.append(f"{len(tenants) - most} more")
    return ", ".join(named[:-1]) + " and " + named[-1] if len(named) > 1 else "".join(named)


def _block(section: Section, alert: Alert, waiting: Waiting) -> str:
    first = section.first
    lines = [section.title, "=" * len(section.title), ""]
    for label, text in (
        ("What broke", " ".join(dict.fromkeys(words.what_broke(c) for c in section.concerns))),
        ("Reason", clean(first.detail)),
        ("Sender", clean(first.address)),
        ("Tenants", _names(section.tenants, _MOST_TENANTS)),
        ("Since", _times(section, alert.at)),
        ("Mail", _mail(section, waiting)),
        ("By itself", " ".join(dict.fromkeys(words.by_itself(c) for c in section.concerns))),
        ("To do", words.remedy(first)),
    ):
        lines += _labelled(label, text)
    for tenant in section.tenants[:_MOST_TENANTS]:
        if recovery := alert.recoveries.get(tenant):
            lines += _labelled("Recovery", f"{clean(recovery)} ({tenant})")
    ongoing = [concern.kind for concern in section.concerns if concern.ended_at is None]
    if commands := words.commands(ongoing, section.tenants):
        lines += ["", *(f"    {command}" for command in commands)]
    return "\n".join(lines) + "\n"


def _others(found: Sequence[Section]) -> list[str]:
    """The sections that there was no room for."""
    if not found:
        return []
    dead = sum(c.count for s in found for c in s.concerns if c.kind is IncidentKind.DEAD_LETTER)
    mail = f", with {words.counted(dead, 'dead letter')}" if dead else ""
    return [f"And {words.counted(len(found), 'more trouble')}{mail}: see relay status.\n"]


def _labelled(label: str, text: str) -> list[str]:
    if not text.strip():
        return []
    indent = " " * _INDENT
    first = f"{label}:".ljust(_INDENT)
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=indent)


def _times(section: Section, now: float) -> str:
    ended_at = section.first.ended_at
    text = f"{_moment(section.since)} ({_span(now - section.since)} ago)"
    if ended_at is not None:
        return f"{text}, until {_moment(ended_at)}"
    again = section.last_at - section.since >= 60
    return f"{text}, last {_moment(section.last_at)}" if again else text


def _mail(section: Section, waiting: Waiting) -> str:
    """How much, and examples."""
    facts = []
    if (messages := _waiting(section, waiting)) is not None:
        facts.append(f"{words.counted(messages, 'message')} waiting now")
    for kind in dict.fromkeys(c.kind for c in section.concerns if c.count):
        if kind in _COUNTED:
            facts.append(_counted([c for c in section.concerns if c.kind is kind]))
    if section.queue_ids:
        facts.append(f"for example {', '.join(section.queue_ids)}")
    return "; ".join(facts)


def _waiting(section: Section, waiting: Waiting) -> int | None:
    """Only of a pause that goes on does it say anything."""
    paused = any(c.kind in PAUSES and c.ended_at is None for c in section.concerns)
    return waiting.get(section.first.upstream or "") if paused else None


_COUNTED = {
    IncidentKind.DEAD_LETTER: "dead letter",
    IncidentKind.PURGE_SOON: "dead letter",
    IncidentKind.NO_ROUTE: "attempt",
}


def _counted(concerns: Sequence[Concern]) -> str:
    """Of one kind."""
    count, total = sum(c.count for c in concerns), sum(c.total for c in concerns)
    recipients = sum(c.recipients for c in concerns)
    text = words.counted(count, _COUNTED[concerns[0].kind])
    if recipients:
        text += f" ({words.counted(recipients, 'recipient')})"
    if concerns[0].others:
        text += " of further tenants and causes"
    return f"{text}, {total} in all" if total > count else text


def _facts(section: Section, alert: Alert, waiting: Waiting) -> dict[str, Any]:
    first = section.first
    tenants = section.tenants
    recoveries = (alert.recoveries[t] for t in tenants if t in alert.recoveries)
    return {
        "kind": first.kind if first.ended_at is None else IncidentKind.UPSTREAM_RESUMED,
        "tenant": tenants[0] if len(tenants) == 1 else None,
        "tenants": list(tenants[:_MOST_TENANTS]),
        "upstream": first.upstream,
        "cause": first.cause,
        "detail": clean(first.detail),
        "remedy": words.remedy(first) or None,
        "recovery": next(recoveries, None),
        "count": sum(c.count for c in section.concerns),
        "recipients": sum(c.recipients for c in section.concerns),
        "waiting": _waiting(section, waiting),
        "queue_ids": list(section.queue_ids),
        "since": rfc3339(section.since),
        "last": rfc3339(section.last_at),
        "ended": rfc3339(first.ended_at) if first.ended_at is not None else None,
    }


def _moment(unix_s: float) -> str:
    return f"{rfc3339(unix_s)[:19].replace('T', ' ')} UTC"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


# -- a summary


def _suppressed(of_tenant: OfTenant) -> str:
    rows: Iterable[tuple[str, int]] = sorted(of_tenant.addresses.items())
    lines = [f"{clean(of_tenant.tenant) or 'no tenant'}:"]
    lines += [f"    {clean(address, 320)}  {_withheld(count)}" for address, count in rows]
    if of_tenant.others:
        lines.append(f"    and {words.counted(of_tenant.others, 'message')} to further addresses")
    return "\n".join(lines) + "\n"


def _withheld(count: int) -> str:
    return f"{words.counted(count, 'message')} withheld" if count else "newly suppressed"
