"""What an alert says of each kind of incident: what broke, what happens by itself, what to do.

The remedy is that of the very reply or of its cause (model.causes); here are those of the kinds
that have no cause.
"""

from collections.abc import Callable, Iterable, Sequence

from relay.model.causes import REMEDIES
from relay.model.notice import IncidentKind
from relay.record.alerts.concern import Concern
from relay.record.wording import clean

_HEADLINES: dict[IncidentKind, Callable[[Concern, int], str]] = {
    IncidentKind.STORE_FAILED: lambda c, n: "the store failed, mail is refused for the moment",
    IncidentKind.QUEUE_FULL: lambda c, n: "the queue is full, mail is refused for the moment",
    IncidentKind.NO_ROUTE: lambda c, n: "mail waits, it has no way",
    IncidentKind.UPSTREAM_PAUSED: lambda c, n: "mail waits",
    IncidentKind.TENANT_WAY_PAUSED: lambda c, n: "mail waits",
    IncidentKind.DEAD_LETTER: lambda c, n: counted(n, "dead letter"),
    IncidentKind.SENDER_HELD: lambda c, n: (
        f"mail from {clean(c.address, 100) or 'a sender'} is held"
    ),
    IncidentKind.FAILURE_RATE: lambda c, n: "more mail fails than usual",
    IncidentKind.PURGE_SOON: lambda c, n: f"{counted(n, 'dead letter')} will be purged",
}

_WHAT_BROKE: dict[IncidentKind, str] = {
    IncidentKind.STORE_FAILED: "The relay could not write to its store.",
    IncidentKind.QUEUE_FULL: "The queue has reached a limit, and new mail is refused.",
    IncidentKind.NO_ROUTE: "The configuration has no way for accepted mail.",
    IncidentKind.UPSTREAM_PAUSED: "The upstream can't be used; nothing is handed over to it.",
    IncidentKind.TENANT_WAY_PAUSED: "The provider refuses one sender address after another; "
    "nothing of the tenant is handed over to this upstream.",
    IncidentKind.DEAD_LETTER: "Messages could not be handed over.",
    IncidentKind.SENDER_HELD: "The provider refuses a sender address; its mail is held back on "
    "this upstream.",
    IncidentKind.FAILURE_RATE: "Far more attempts fail or are deferred than is usual here.",
    IncidentKind.PURGE_SOON: "Dead letters come to the end of queue.keep_dead.",
}

_BY_ITSELF: dict[IncidentKind, str] = {
    IncidentKind.STORE_FAILED: "Applications get 4yz and try again. What was accepted is kept.",
    IncidentKind.QUEUE_FULL: "Applications get 452 and try again. Mail is taken again as soon as "
    "there is room.",
    IncidentKind.NO_ROUTE: "The mail waits, and goes out when the configuration has a way again; "
    "past give_up_after it becomes dead letters.",
    IncidentKind.UPSTREAM_PAUSED: "The mail waits, or takes the failover where there is one. The "
    "upstream is tried again and again; when it works, all goes out. Mail that waits longer than "
    "give_up_after becomes dead letters.",
    IncidentKind.TENANT_WAY_PAUSED: "The tenant's mail waits. The way is tried again and again; "
    "when it works, all goes out. Mail that waits longer than give_up_after becomes dead letters.",
    IncidentKind.DEAD_LETTER: "Nothing more: these messages are not tried again. They are kept "
    "whole for queue.keep_dead.",
    IncidentKind.SENDER_HELD: "Other senders' mail goes out. This one's waits and is tried again; "
    "past give_up_after it becomes dead letters.",
    IncidentKind.FAILURE_RATE: "What was deferred is tried again.",
    IncidentKind.PURGE_SOON: "They are deleted for good within a week.",
}

_REMEDIES: dict[IncidentKind, str] = {
    IncidentKind.STORE_FAILED: "look for a full disk, missing rights or a failing disk; the "
    "journal has the error",
    IncidentKind.QUEUE_FULL: "find out why mail does not leave, or raise the limit under queue",
    IncidentKind.FAILURE_RATE: "see which cause has become frequent, and mend that",
    IncidentKind.PURGE_SOON: "retry or export what is still wanted, or raise queue.keep_dead",
}

_COMMANDS: dict[IncidentKind, Sequence[str]] = {
    IncidentKind.STORE_FAILED: ("relay status", "journalctl -u relay"),
    IncidentKind.QUEUE_FULL: ("relay status", "relay queue list"),
    IncidentKind.NO_ROUTE: ("relay check", "relay queue list{tenant}"),
    IncidentKind.UPSTREAM_PAUSED: ("relay upstream list", "relay check --connect"),
    IncidentKind.TENANT_WAY_PAUSED: ("relay upstream list", "relay queue list{tenant}"),
    IncidentKind.DEAD_LETTER: ("relay dead list{tenant}", "relay dead retry{these}"),
    IncidentKind.SENDER_HELD: ("relay queue list{tenant}",),
    IncidentKind.FAILURE_RATE: ("relay status", "relay audit --since 1h{tenant}"),
    IncidentKind.PURGE_SOON: ("relay dead list{tenant}", "relay dead export QUEUE_ID"),
}


def headline(concern: Concern, count: int) -> str:
    """ "mail waits", "12 dead letters": what broke, in a few words; not for what is over."""
    return _HEADLINES[concern.kind](concern, count)


def what_broke(concern: Concern) -> str:
    if concern.ended_at is not None:
        return "It works again, and the mail that waited goes out."
    return _WHAT_BROKE[concern.kind]


def by_itself(concern: Concern) -> str:
    """ "" where it is over."""
    return "" if concern.ended_at is not None else _BY_ITSELF[concern.kind]


def remedy(concern: Concern) -> str:
    """ "" where there is nothing to mend."""
    if concern.ended_at is not None:
        return ""
    if concern.cause:
        return concern.own_remedy or REMEDIES[concern.cause]
    return _REMEDIES.get(concern.kind, "")


def commands(kinds: Iterable[IncidentKind], tenants: Sequence[str]) -> list[str]:
    """For the tenant, where it is one."""
    tenant = f" --tenant {tenants[0]}" if len(tenants) == 1 and tenants[0] else ""
    which = {"tenant": tenant, "these": tenant or " QUEUE_ID"}
    found = (command.format(**which) for kind in kinds for command in _COMMANDS[kind])
    return list(dict.fromkeys(found))


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
