"""The audit trail in a newcomer's words: one short line for each event."""

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]


def in_words(entry: Entry) -> str:
    """``entry`` is an event as the store has it."""
    name = str(entry["event"])
    tell = _WORDS.get(name.partition(".")[0], _nothing_more)
    return f"{entry['ts'][11:23]}  {name:<18} {tell(entry)}".rstrip()


def _of_message(entry: Entry) -> str:
    recipients = ", ".join(entry["recipients"])
    if entry["event"] == "email.accepted":
        return f"{entry['header_from']} -> {recipients}"
    if "cause" in entry:
        return f"{recipients} by {entry['upstream']}: {entry['cause']}"
    if "reply" in entry:
        return f"{recipients} by {entry['upstream']}: {entry['reply']['code']}"
    return recipients


def _of_tenant(entry: Entry) -> str:
    return f"{entry['tenant']} by {entry['actor']}: {entry['reason'] or '(no reason given)'}"


def _of_configuration(entry: Entry) -> str:
    return f"{entry['tenants']} tenants, {entry['upstreams']} upstreams"


def _nothing_more(entry: Entry) -> str:
    return ""


_WORDS = {"email": _of_message, "tenant": _of_tenant, "config": _of_configuration}
