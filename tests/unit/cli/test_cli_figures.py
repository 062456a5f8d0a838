"""What a day's events come to."""

import json
from typing import Any

from relay.cli.figures import Figures, Way, count, summed


def event(name: str, recipients: int, **fields: Any) -> bytes:
    told = {
        "event": name,
        "tenant": "acme",
        "upstream": "acme-mail",
        "route": "tenant",
        "recipients": ["ann@customer.example"] * recipients,
        "queued_ms": 100.0,
    }
    return json.dumps(told | fields).encode()


OWN = Way("acme", "acme-mail", "tenant")


def test_recipients_are_counted_by_what_became_of_them():
    events = [
        event("email.sent", 3),
        event("email.sent", 1, queued_ms=500.0),
        event("email.deferred", 2),
        event("email.deferred", 2),
        event("email.send_failed", 1),
        event("email.expired", 5),
    ]
    figures = count(events)[OWN]
    assert (figures.sent, figures.deferred, figures.failed, figures.expired) == (4, 4, 1, 5)
    assert figures.mean_ms == 200.0
    assert figures.failed_share == 0.6


def test_without_mail_there_is_no_mean_and_no_share():
    figures = Figures()
    assert (figures.mean_ms, figures.failed_share) == (None, None)
    assert figures.row["mean_ms"] is None


def test_ways_are_apart_and_can_be_summed():
    events = [
        event("email.sent", 1),
        event("email.sent", 2, route="pilot", upstream="acme-postmark"),
        event("email.sent", 4, tenant=None, upstream=None, route=None),
    ]
    counted = count(events)
    assert len(counted) == 3
    by_tenant = summed(counted, lambda way: way.tenant or "")
    assert {name: figures.sent for name, figures in by_tenant.items()} == {"acme": 3, "": 4}
    by_upstream = summed(counted, lambda way: way.upstream)
    assert {name: figures.sent for name, figures in by_upstream.items()} == {
        "acme-mail": 1,
        "acme-postmark": 2,
    }
    # Summing leaves what was summed alone.
    assert counted[OWN].sent == 1


def test_the_relays_own_mail_is_not_counted():
    assert count([event("email.sent", 1, kind="alert")]) == {}
