"""The closed list of audit events: one function each, so that free text can't drift in.

Rendering is the record room's; these are the facts. Addresses yes; content and secrets never.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, get_args

from relay.model.identifiers import new_identifier
from relay.model.message import Kind, Message, Recipient
from relay.model.pause import Pause
from relay.model.reply import Reply
from relay.model.result import Attempt, Relayed, Result
from relay.model.suppression import Suppression
from relay.model.toggle import Toggle
from relay.model.value import value_class

EventName = Literal[
    "email.accepted", "email.rejected", "email.sent", "email.deferred", "email.send_failed",
    "email.dead_lettered", "email.expired", "email.retried", "email.dropped", "email.purged",
    "email.suppressed", "email.dsn_sent", "tenant.disabled", "tenant.enabled", "tenant.reset",
    "upstream.paused", "upstream.resumed", "queue.full", "store.failed", "suppression.added",
    "suppression.removed", "config.loaded", "config.reloaded", "config.rejected",
    "client.refused", "client.authenticated", "client.auth_failed", "test.sent", "test.failed",
    "doctor.checked", "drill.run", "alert.sent", "alert.failed", "relay.started",
    "relay.stopping", "relay.stopped",
]  # fmt: skip
EVENT_NAMES: tuple[str, ...] = get_args(EventName)


@value_class
class Event:
    """``ts`` in Unix seconds. ``queue_id`` is None for what is not about a message."""

    name: EventName
    fields: dict[str, Any]
    tenant: str | None = None
    queue_id: str | None = None
    message_id: str | None = None
    ts: float = field(default_factory=time.time)
    event_id: str = field(default_factory=new_identifier)


@value_class
class Way:
    """Which way an attempt took: the names that every event of an attempt carries."""

    upstream: str | None
    route: str | None
    message_class: str | None = None


@value_class
class Sample:
    """What ``relay test`` sends; it is in no queue."""

    tenant: str
    reverse_path: str
    recipient: str
    message_id: str


def _of_message(name: EventName, message: Message, fields: dict[str, Any]) -> Event:
    return Event(name, fields, message.tenant or None, message.queue_id, message.message_id)


def _reply(reply: Reply | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {"code": reply.code, "enhanced_status": reply.enhanced_status, "text": reply.text}


# -- a message's life


def email_accepted(message: Message) -> Event:
    return _of_message(
        "email.accepted",
        message,
        {
            "reverse_path": message.reverse_path,
            "header_from": message.header_from,
            "recipients": [recipient.address for recipient in message.recipients],
            "size": message.content.size,
            "client": message.origin.address,
            "helo": message.origin.helo,
            "user": message.origin.user,
            "class": message.message_class or None,
        },
    )


def email_rejected(client: str, reverse_path: str | None, reply: Reply, *, count: int = 1) -> Event:
    """Gathered by minute and client: ``count`` refusals of this kind, this the latest."""
    fields = {
        "client": client,
        "reverse_path": reverse_path,
        "reply": _reply(reply),
        "count": count,
    }
    return Event("email.rejected", fields)


def of_attempt(
    message: Message, way: Way, recipients: Sequence[Recipient], result: Result, attempt: Attempt
) -> Event:
    """email.sent, email.deferred or email.send_failed: what one attempt came to, for the
    ``recipients`` who share the result."""
    names: dict[str, EventName] = {
        "Relayed": "email.sent",
        "Deferred": "email.deferred",
        "Failed": "email.send_failed",
    }
    tls = attempt.tls
    fields: dict[str, Any] = {
        "upstream": way.upstream,
        "route": way.route,
        "class": way.message_class,
        "reverse_path": message.reverse_path,
        "recipients": [recipient.address for recipient in recipients],
        "attempt": message.attempt,
        "reply": _reply(result.reply),
        "remote_mta": attempt.remote_mta,
        "tls": tls and {"mode": tls.mode, "version": tls.version, "cipher": tls.cipher},
        "duration_ms": round(attempt.duration_s * 1000, 1),
        "queued_ms": round((time.time() - message.arrived_at) * 1000, 1),
    }
    if attempt.unchanged_8bit:
        fields["unchanged_8bit"] = True
    if any(recipient.unknown for recipient in recipients):
        fields["possible_duplicate"] = True
    if message.kind is not Kind.MAIL:
        fields["kind"] = message.kind
    if not isinstance(result, Relayed):
        fields["cause"] = result.cause
        fields["scope"] = result.scope
        fields["remedy"] = result.remedy
        if result.detail:
            fields["detail"] = result.detail
    return _of_message(names[type(result).__name__], message, fields)


def email_expired(
    message: Message, way: Way, recipients: Sequence[Recipient], remedy: str
) -> Event:
    last = recipients[0]
    return _of_message(
        "email.expired",
        message,
        {
            "upstream": way.upstream,
            "route": way.route,
            "class": way.message_class,
            "reverse_path": message.reverse_path,
            "recipients": [recipient.address for recipient in recipients],
            "attempt": message.attempt,
            "reply": _reply(last.reply),
            "queued_ms": round((time.time() - message.arrived_at) * 1000, 1),
            "cause": "expired",
            "last_cause": last.cause,
            "scope": "message",
            "remedy": remedy,
        },
    )


def email_dead_lettered(message: Message, recipients: Sequence[Recipient]) -> Event:
    return _of_message(
        "email.dead_lettered",
        message,
        {
            "reverse_path": message.reverse_path,
            "recipients": [recipient.address for recipient in recipients],
            "cause": recipients[0].cause,
        },
    )


def email_suppressed(message: Message, recipients: Sequence[Recipient], remedy: str) -> Event:
    fields = {
        "reverse_path": message.reverse_path,
        "recipients": [recipient.address for recipient in recipients],
        "cause": "suppressed",
        "scope": "recipient",
        "remedy": remedy,
    }
    return _of_message("email.suppressed", message, fields)


def email_dsn_sent(message: Message, recipients: Sequence[Recipient], dsn: Message) -> Event:
    """``dsn`` tells the sender of ``message`` what became of the recipients."""
    fields = {
        "reverse_path": message.reverse_path,
        "recipients": [recipient.address for recipient in recipients],
        "dsn_queue_id": dsn.queue_id,
    }
    return _of_message("email.dsn_sent", message, fields)


def email_retried(message: Message, recipients: Sequence[Recipient], actor: str) -> Event:
    return _of_message("email.retried", message, _handled(message, recipients, actor))


def email_dropped(message: Message, recipients: Sequence[Recipient], actor: str) -> Event:
    return _of_message("email.dropped", message, _handled(message, recipients, actor))


def email_purged(message: Message, recipients: Sequence[Recipient]) -> Event:
    """``queue.keep_dead`` or ``queue.max_dead_bytes`` has ended a dead letter."""
    return _of_message("email.purged", message, _handled(message, recipients, "config"))


def _handled(message: Message, recipients: Sequence[Recipient], actor: str) -> dict[str, Any]:
    return {
        "reverse_path": message.reverse_path,
        "recipients": [recipient.address for recipient in recipients],
        "actor": actor,
    }


# -- administration


def tenant_toggled(toggle: Toggle) -> Event:
    name: EventName = "tenant.enabled" if toggle.enabled else "tenant.disabled"
    fields = {"actor": toggle.actor, "reason": toggle.reason, "until": toggle.until}
    return Event(name, fields, tenant=toggle.tenant)


def tenant_reset(tenant: str, actor: str, reason: str) -> Event:
    return Event("tenant.reset", {"actor": actor, "reason": reason, "until": None}, tenant=tenant)


def upstream_paused(pause: Pause) -> Event:
    """An upstream, a tenant's way through it, or a sender's mail on it is held back."""
    fields = {
        "upstream": pause.held.upstream,
        "scope": pause.held.reach,
        "sender": pause.held.sender or None,
        "cause": pause.cause,
        "detail": pause.detail,
        "remedy": pause.remedy,
        "actor": pause.actor or "relay",
        "reason": pause.reason,
        "until": pause.until,
    }
    return Event("upstream.paused", fields, tenant=pause.held.tenant or None)


def upstream_resumed(pause: Pause, actor: str, reason: str, now: float) -> Event:
    fields = {
        "upstream": pause.held.upstream,
        "scope": pause.held.reach,
        "sender": pause.held.sender or None,
        "cause": pause.cause,
        "actor": actor,
        "reason": reason,
        "paused_s": round(now - pause.since, 1),
    }
    return Event("upstream.resumed", fields, tenant=pause.held.tenant or None)


def suppression_added(entry: Suppression) -> Event:
    fields = {
        "address": entry.address,
        "source": entry.source,
        "actor": entry.actor,
        "reason": entry.reason,
        "until": entry.until,
    }
    return Event("suppression.added", fields, tenant=entry.tenant or None)


def suppression_removed(entry: Suppression, actor: str, reason: str) -> Event:
    fields = {"address": entry.address, "actor": actor, "reason": reason, "until": None}
    return Event("suppression.removed", fields, tenant=entry.tenant or None)


def alert_sent(kind: str, tenant: str | None, ways: Sequence[str], fields: dict[str, Any]) -> Event:
    """``ways``: email (it is queued) and webhook (it was taken)."""
    return Event("alert.sent", {"kind": kind, "ways": list(ways)} | fields, tenant=tenant)


def alert_failed(
    kind: str, tenant: str | None, way: str, error: str, fields: dict[str, Any]
) -> Event:
    return Event("alert.failed", {"kind": kind, "way": way, "error": error} | fields, tenant=tenant)


def tested(sample: Sample, actor: str, way: Way, result: Result, duration_s: float) -> Event:
    """test.sent or test.failed: a message that an administrator sent to see whether it goes."""
    fields: dict[str, Any] = {
        "actor": actor,
        "upstream": way.upstream,
        "route": way.route,
        "reverse_path": sample.reverse_path,
        "recipients": [sample.recipient],
        "message_id": sample.message_id,
        "reply": _reply(result.reply),
        "duration_ms": round(duration_s * 1000, 1),
    }
    if isinstance(result, Relayed):
        return Event("test.sent", fields, tenant=sample.tenant)
    fields |= {"cause": result.cause, "scope": result.scope, "remedy": result.remedy}
    if result.detail:
        fields["detail"] = result.detail
    return Event("test.failed", fields, tenant=sample.tenant)


def doctor_checked(
    tenant: str | None, actor: str, counted: Mapping[str, int], red_checks: Sequence[str]
) -> Event:
    """``counted``: how many findings were green, red and unknown; ``red_checks`` name check and
    subject. Without a tenant it is of the default."""
    result = "red" if red_checks else "green"
    fields = {"actor": actor, "result": result, **counted, "red_checks": list(red_checks)}
    return Event("doctor.checked", fields, tenant=tenant)


def drill_run(
    tenant: str | None,
    actor: str,
    scenes: Mapping[str, str],
    failed: Sequence[str],
    findings: Sequence[str],
) -> Event:
    """``scenes``: what became of the mail in each; ``failed`` are those where a promise was not
    kept, or nobody would be told. Without a tenant it is of the default."""
    result = "failed" if failed else "passed"
    fields = {"actor": actor, "result": result, "scenes": dict(scenes)}
    return Event(
        "drill.run", fields | {"failed": list(failed), "findings": list(findings)}, tenant=tenant
    )


def config_loaded(path: str | None, tenants: int, upstreams: int) -> Event:
    return Event("config.loaded", {"path": path, "tenants": tenants, "upstreams": upstreams})


def config_reloaded(
    path: str | None, actor: str, request: int | None, changes: dict[str, Any]
) -> Event:
    """``changes``: added, removed and changed tenants and upstreams, and other sections changed.
    ``request`` is the number of the ``relay reload`` that it answers."""
    fields = {"path": path, "actor": actor, "request": request}
    return Event("config.reloaded", fields | changes)


def config_rejected(
    path: str | None, actor: str, request: int | None, problems: Sequence[str]
) -> Event:
    fields = {"path": path, "actor": actor, "request": request, "problems": list(problems)}
    return Event("config.rejected", fields)


# -- clients


def client_refused(client: str, listener: str, reply: Reply, *, count: int = 1) -> Event:
    fields = {"client": client, "listener": listener, "reply": _reply(reply), "count": count}
    return Event("client.refused", fields)


def client_authenticated(client: str, user: str, *, count: int = 1) -> Event:
    return Event("client.authenticated", {"client": client, "user": user, "count": count})


def client_auth_failed(client: str, user: str, *, count: int = 1) -> Event:
    return Event("client.auth_failed", {"client": client, "user": user, "count": count})


# -- the relay itself


def queue_full(limit: str, value: int, allowed: int) -> Event:
    """``limit`` names the setting: queue.max_messages, queue.max_bytes, queue.min_free_disk."""
    return Event("queue.full", {"limit": limit, "value": value, "allowed": allowed})


def store_failed(operation: str, error: str) -> Event:
    return Event("store.failed", {"operation": operation, "error": error})


def relay_started(version: str, listeners: Sequence[str], recovered: int, pid: int) -> Event:
    """``recovered`` messages were under way when a former life ended."""
    fields = {
        "version": version,
        "listeners": list(listeners),
        "recovered": recovered,
        "pid": pid,
    }
    return Event("relay.started", fields)


def relay_stopping(reason: str) -> Event:
    return Event("relay.stopping", {"reason": reason})


def relay_stopped(queued: int) -> Event:
    return Event("relay.stopped", {"queued": queued})
