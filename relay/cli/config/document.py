"""The inventory as a table, and as a Markdown document for the next admin.

Whatever was written in the configuration, and whatever a provider answered, is text here: nothing
of it becomes markup.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from relay.cli import output

Row = dict[str, Any]

_TITLES = (
    "TENANT", "STATE", "UPSTREAM", "DOMAINS", "OWNER", "SECRETS", "TOGGLED", "TESTED",
    "DOCTOR", "DRILL", "SENT", "FAILED",
)  # fmt: skip
# How the last of each reads; what is not here is told by the event's own "result".
_RESULTS = {
    "tenant.disabled": "disabled",
    "tenant.enabled": "enabled",
    "tenant.reset": "reset",
    "test.sent": "sent",
    "test.failed": "failed",
    "email.send_failed": "failed",
    "email.expired": "expired",
}
_SHOWN_USERS = 20
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")
_BEGINS_BLOCK = re.compile(r"^(\d*)([-+=.):])")
_WEB_ADDRESS = re.compile(r"https?://[^\s<>]+")


def table(rows: Sequence[Row]) -> None:
    tenants = [row for row in rows if row["about"] == "tenant"]
    if not output.table(_TITLES, map(_cells, tenants)):
        print("no tenants")
    incomplete = {row["tenant"]: " and ".join(row["missing"]) for row in tenants if row["missing"]}
    if incomplete:
        print(f"\nmissing, for {len(incomplete)} of {len(tenants)} tenants")
        output.facts({f"  {name}": missing for name, missing in incomplete.items()})


def show(rows: Sequence[Row]) -> None:
    for line in _document(rows):
        print(line)


def _cells(row: Row) -> tuple[str, ...]:
    ages = [_age(secret["changed_at"]) for secret in row["secrets"] if secret["changed_at"]]
    return (
        row["tenant"],
        _state(row),
        row["upstream"] or "(default)",
        output.shortened([*row["domains"], *row["senders"]]) or "-",
        row["owner"] or "MISSING",
        ", ".join(ages) or "-",
        *(_brief(row[key]) for key in ("last_toggle", "last_test", "last_doctor", "last_drill")),
        _age(row["last_sent"]) if row["last_sent"] else "-",
        _brief(row["last_failure"]),
    )


def _state(row: Row) -> str:
    """The store's word, and the file's where it is another."""
    now, written = ("enabled" if row[key] else "disabled" for key in ("enabled", "enabled_in_file"))
    return now if now == written else f"{now} ({written} in the file)"


def _brief(event: Row | None) -> str:
    """What came of it, and how long ago."""
    if event is None:
        return "-"
    return " ".join(filter(None, (event.get("cause") or _result(event), _age(event["ts"]))))


def _result(event: Row) -> str:
    return str(event.get("result") or _RESULTS.get(event["event"], ""))


def _age(moment: str) -> str:
    return output.since(_unix_s(moment))


def _unix_s(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


# -- Markdown


def _document(rows: Sequence[Row]) -> Iterator[str]:
    relay = rows[0]
    yield f"# The mail relay on {_text(relay['hostname'])}"
    yield f"\nAs of {output.moment(time.time())}. No secret stands here, only where each is kept.\n"
    yield from _facts(_of_relay(relay))
    defaults = [row for row in rows if row["about"] == "default"]
    yield "\n## The default\n"
    for row in defaults:
        yield from _facts(_of_way(row))
    if not defaults:
        yield "None: unrouted senders are refused, and no tenant can be disabled."
    yield "\n## Upstreams"
    for row in rows:
        if row["about"] == "upstream":
            yield f"\n### {_text(row['upstream'])}\n"
            yield from _facts(_of_upstream(row))
    tenants = [row for row in rows if row["about"] == "tenant"]
    yield "\n## Tenants"
    for row in tenants:
        yield f"\n### {_text(row['tenant'])}\n"
        yield from _facts(_of_tenant(row))
        yield from _quoted(row["notes"])
    yield "\n## What is missing\n"
    yield from _missing(tenants)


def _of_relay(row: Row) -> Iterator[tuple[str, str]]:
    yield "Configuration", _code(row["configuration"] or "the environment alone")
    yield "Store", _code(row["store"])
    yield "Listens on", _codes(row["listen"])
    alerts = [_text(row["alerts"])] if row["alerts"] else []
    alerts += ["a webhook"] if row["alerts_webhook"] else []
    yield "Alerts go to", ", ".join(alerts) or "nobody but the tenants' owners"
    if row["alerts_upstream"]:
        yield "Alerts go by", _code(row["alerts_upstream"])


def _of_way(row: Row) -> Iterator[tuple[str, str]]:
    yield "Upstream", _code(row["upstream"]) if row["upstream"] else "the default's"
    if row["from"]:
        yield "Identity", f"{_text(row['from'])}, rewrite_from: {row['rewrite_from']}"
    else:
        yield "Identity", "the application's own"
    if row["reply_to"]:
        yield "Replies go to", _text(row["reply_to"])


def _of_upstream(row: Row) -> Iterator[tuple[str, str]]:
    yield "Endpoint", f"{_code(row['host'] + ':' + str(row['port']))}, tls: {row['tls']}"
    if row["provider"]:
        yield "Provider", _text(row["provider"])
    users = row["used_by"]
    more = f" and {len(users) - _SHOWN_USERS} more" if len(users) > _SHOWN_USERS else ""
    yield "Used by", (_codes(users[:_SHOWN_USERS]) + more) if users else "nobody"
    for secret in row["secrets"]:
        yield _text(secret["setting"].rpartition(".")[2].capitalize()), _kept(secret)


def _of_tenant(row: Row) -> Iterator[tuple[str, str]]:
    yield "State", _text(_state(row)) + _switched(row["toggle"])
    if row["domains"]:
        yield "Domains", _codes(row["domains"])
    if row["senders"]:
        yield "Senders", _codes(row["senders"])
    yield from _of_way(row)
    if row["pilot"]:
        yield "Pilot", f"{row['pilot']['percent']:g}% by {_code(row['pilot']['upstream'])}"
    if row["failover"]:
        yield "Failover", _codes(row["failover"])
    yield "Owner", _text(row["owner"]) if row["owner"] else "**missing**"
    yield "Recovery", _text(row["recovery"]) if row["recovery"] else "**missing**"
    for secret in row["secrets"]:
        yield f"Secret {_code(secret['setting'])}", _kept(secret)
    yield "Last toggle", _last(row["last_toggle"])
    yield "Last test", _last(row["last_test"])
    yield "Last doctor", _last(row["last_doctor"])
    yield "Last drill", _last(row["last_drill"])
    yield "Last sent", _moment(row["last_sent"]) if row["last_sent"] else "never"
    yield "Last failure", _last(row["last_failure"])


def _switched(toggle: Row | None) -> str:
    if toggle is None:
        return ""
    until = f", until {_moment(toggle['until'])}" if toggle["until"] else ""
    why = f": {_text(toggle['reason'])}" if toggle["reason"] else ""
    return f", switched by {_text(toggle['actor'])} at {_moment(toggle['since'])}{until}{why}"


def _kept(secret: Row) -> str:
    changed = secret["changed_at"]
    age = f"changed {_moment(changed)}, {_age(changed)} ago" if changed else "age unknown"
    return f"{_code(secret['reference'])}, {age}"


def _last(event: Row | None) -> str:
    """When, what came of it, by whom, why."""
    if event is None:
        return "never"
    words = [_moment(event["ts"]), _result(event), event.get("cause"), _reply(event.get("reply"))]
    if event.get("upstream"):
        words.append(f"via {event['upstream']}")
    if event.get("actor"):
        words.append(f"by {event['actor']}")
    told = ", ".join(_text(str(word)) for word in words if word)
    return f"{told}: {_text(event['reason'])}" if event.get("reason") else told


def _reply(reply: Any) -> str:
    if not isinstance(reply, dict):
        return ""
    return " ".join(str(part) for part in reply.values() if part is not None)


def _missing(tenants: Sequence[Row]) -> Iterator[str]:
    incomplete = [row for row in tenants if row["missing"]]
    for row in incomplete:
        yield f"- **{_text(row['tenant'])}** has no {' and no '.join(row['missing'])}."
    if not incomplete:
        yield "Nothing: every tenant has an owner and says where its recovery is."


def _facts(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in named:
        yield f"- {name}: {value}"


def _quoted(text: str | None) -> Iterator[str]:
    """A quotation, line by line as it was written."""
    if text:
        yield ""
    for line in (text or "").strip().splitlines():
        told = _BEGINS_BLOCK.sub(r"\1\\\2", _text(line.expandtabs(4).strip()))
        yield f"> {told}  " if told else ">"


def _text(text: str) -> str:
    """As it was written; a web address alone is a link."""
    shown = output.plain(text)
    if _WEB_ADDRESS.fullmatch(shown):
        return f"<{shown}>"
    return _MARKUP.sub(r"\\\1", shown)


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


def _code(text: str) -> str:
    """In a fence that is longer than any within."""
    shown = output.plain(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    gap = " " if shown[:1] == "`" or shown[-1:] == "`" else ""
    return f"{fence}{gap}{shown}{gap}{fence}"


def _moment(moment: str) -> str:
    return output.moment(_unix_s(moment))
