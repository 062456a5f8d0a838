"""What no single value shows: each rule, broken and kept."""

from collections.abc import Callable
from pathlib import Path

import pytest

UPSTREAMS = "upstreams: {one: {host: one.example}, two: {host: two.example}}\n"

BROKEN = {
    "an upstream that a tenant names is not there": (
        UPSTREAMS + "tenants: {a: {domains: [a.example], upstream: oen}}\n",
        ['tenants.a.upstream: no upstream named "oen"; did you mean "one"?'],
    ),
    "an upstream that the default names is not there": (
        UPSTREAMS + "default: {upstream: platform}\n",
        ['default.upstream: no upstream named "platform" (there is: one, two)'],
    ),
    "upstreams that other ways name are not there": (
        UPSTREAMS
        + "default: {upstream: one}\n"
        + "tenants:\n  a:\n    domains: [a.example]\n    upstream: one\n"
        + "    failover: {to: [two, tow]}\n    pilot: {upstream: onee, percent: 1}\n"
        + "classes: {otp: {match: {sender: '*'}, upstream: tow}}\nalerts: {upstream: too}\n",
        [
            'tenants.a.failover.to[1]: no upstream named "tow"; did you mean "two"?',
            'tenants.a.pilot.upstream: no upstream named "onee"; did you mean "one"?',
            'classes.otp.upstream: no upstream named "tow"; did you mean "two"?',
            'alerts.upstream: no upstream named "too"; did you mean "two"?',
        ],
    ),
    "users that classes name are not there": (
        "clients: {users: {crm: {password_hash: $argon2id$}}}\n"
        "classes: {a: {match: {user: cmr}}, b: {match: {user: [crm, x]}}}\n",
        [
            'classes.a.match.user: no user named "cmr" under clients.users; did you mean "crm"?',
            'classes.b.match.user: no user named "x" under clients.users (there is: crm)',
        ],
    ),
    "failover and pilot lead back": (
        UPSTREAMS
        + "tenants:\n  a:\n    domains: [a.example]\n    upstream: one\n"
        + "    failover: {to: [two, one, two]}\n"
        + "    pilot: {upstream: one, senders: [a@a.example]}\n",
        [
            'tenants.a.failover.to[1]: "one" is the tenant\'s upstream itself',
            'tenants.a.failover.to[2]: "two" stands here twice',
            'tenants.a.pilot.upstream: "one" is the tenant\'s upstream itself',
        ],
    ),
    "failover and pilot of a tenant that lives on the default": (
        UPSTREAMS
        + "default: {upstream: one}\ntenants:\n  a:\n    domains: [a.example]\n"
        + "    failover: {to: [two]}\n    pilot: {upstream: two, percent: 5}\n",
        [
            "tenants.a.failover: is of no use: the tenant has no upstream, and lives on the",
            "tenants.a.pilot: is of no use: the tenant has no upstream, and lives on the",
        ],
    ),
    "a pilot is for nobody": (
        UPSTREAMS + "tenants: {a: {domains: [a.example], upstream: one, pilot: {upstream: two}}}\n",
        ["tenants.a.pilot: is for nobody: give it percent, recipients or senders"],
    ),
    "alerts have no way": (
        UPSTREAMS + "alerts: {email: ops@platform.example}\n",
        ["alerts.email: has no way: set alerts.upstream, or a default"],
    ),
    "a region is missing, or of no use": (
        "upstreams:\n  a: {provider: ses}\n  b: {host: b.example, region: eu-west-1}\n",
        [
            "upstreams.a.region: is missing: the host of ses depends on it; like us-east-1",
            "upstreams.b.region: is of no use: only the preset of a provider asks for it",
        ],
    ),
    "a class of its own way of retrying never retries": (
        UPSTREAMS
        + "classes:\n  a: {match: {sender: '*'}, give_up_after: 10s}\n"
        + "  b: {match: {sender: '*'}, retry: {first: 2h}}\n",
        [
            "classes.a.retry.first: nothing would be tried twice: give_up_after is 10s",
            "classes.b.retry.first: the first wait (7200s) is longer than the longest (3600s)",
        ],
    ),
    "tenants that listeners and clients name are not there": (
        UPSTREAMS
        + "listen: [{address: 127.0.0.1:25, tenants: [amce]}]\n"
        + "clients:\n  networks: [{network: 127.0.0.0/8, tenants: [acme, x]}]\n"
        + "  users: {crm: {password_hash: $argon2id$, tenants: [y]}}\n"
        + "tenants: {acme: {domains: [a.example], upstream: one}}\n",
        [
            'listen[0].tenants[0]: no tenant named "amce"; did you mean "acme"?',
            'clients.networks[0].tenants[1]: no tenant named "x" (there is: acme)',
            'clients.users.crm.tenants[0]: no tenant named "y" (there is: acme)',
        ],
    ),
    "tenants have no way, since there is no default": (
        UPSTREAMS
        + "tenants:\n  a: {domains: [a.example], upstream: one, enabled: false}\n"
        + "  b: {domains: [b.example]}\n",
        [
            "tenants.a.enabled: is off, and there is no default to send its mail by",
            "tenants.b: names no upstream, and there is no default",
        ],
    ),
    "senders are rewritten to nothing": (
        UPSTREAMS
        + "default: {upstream: one, rewrite_from: always}\n"
        + "tenants: {a: {domains: [a.example], rewrite_from: foreign}}\n",
        [
            "default.rewrite_from: always needs from, the sender to rewrite to",
            "tenants.a.rewrite_from: foreign needs from, the sender to rewrite to",
        ],
    ),
    "mail would cross the network in clear text": (
        "upstreams:\n  a: {host: a.example, tls: none}\n"
        "  b: {host: 10.0.0.1, tls: none, username: x, password: env:B}\n",
        [
            "upstreams.a.tls: none is for loopback only: mail would cross the network in clear "
            "text",
            "upstreams.b.tls: none is for loopback only: mail and password would cross the "
            "network in clear text",
        ],
    ),
    "half a pair of credentials": (
        "upstreams:\n  a: {host: a.example, username: x}\n  b: {host: b.example, password: env:B}\n"
        "  c: {provider: zoho, password: env:B}\n",
        [
            "upstreams.a.username: there is no password beside it",
            "upstreams.b.password: there is no username beside it",
            "upstreams.c.password: there is no username beside it; for Zoho Mail it is the mailbox",
        ],
    ),
    "a CA is not there": (
        "upstreams: {a: {host: a.example, ca_file: /nowhere/ca.pem}}\n",
        ["upstreams.a.ca_file: no file /nowhere/ca.pem"],
    ),
    "two listeners want one port": (
        UPSTREAMS + "listen: [127.0.0.1:25, 127.0.0.1:25, 10.0.0.1:26, 0.0.0.0:26]\n",
        [
            "listen[1]: 127.0.0.1:25 is taken already by the listener 127.0.0.1:25",
            "listen[3]: 0.0.0.0:26 is taken already by the listener 10.0.0.1:26",
        ],
    ),
    "retry goes backwards": (
        UPSTREAMS + "retry: {first: 2h, longest: 1h, give_up_after: 1h}\n",
        [
            "retry.first: the first wait (7200s) is longer than the longest (3600s)",
            "retry.first: nothing would be tried twice: give_up_after is 3600s",
        ],
    ),
    "the largest message has no room": (
        UPSTREAMS + "queue: {max_bytes: 1MiB}\n",
        ["queue.max_bytes: is less than limits.message_size: the largest messages could never"],
    ),
}

KEPT = {
    "off, with a default to go to": UPSTREAMS
    + "default: {upstream: one}\ntenants: {a: {domains: [a.example], enabled: false}}\n",
    "clear text on loopback, with a password": "upstreams:\n"
    "  a: {host: 127.0.0.1, tls: none, username: x, password: env:B}\n"
    "  b: {host: localhost, tls: none}\n  c: {host: '::1', tls: none}\n",
    "one port on several addresses": UPSTREAMS
    + "listen: [127.0.0.1:25, 127.0.0.2:25, '[::]:25', 127.0.0.1:26, 127.0.0.1:0, 127.0.0.1:0]\n",
    "failover by the default's upstream": UPSTREAMS
    + "default: {upstream: one}\n"
    + "tenants: {a: {domains: [a.example], upstream: two, failover: {to: [one]}}}\n",
    "a pilot at rest": UPSTREAMS
    + "tenants: {a: {domains: [a.example], upstream: one, pilot: {upstream: two, percent: 0}}}\n",
    "alerts by an upstream": UPSTREAMS + "alerts: {email: a@b.example, upstream: one}\n",
    "alerts by the default": UPSTREAMS + "alerts: {email: a@b.example}\ndefault: {upstream: one}\n",
    "alerts by a webhook": "alerts: {email: a@b.example, webhook: https://hooks.example}\n",
    "a class with a schedule of its own": "classes:\n"
    "  a: {match: {sender: '*'}, give_up_after: 40s}\n"
    "  b: {match: {sender: '*'}, retry: {first: 1s, give_up_after: 10s}}\n",
    "a host of one's own needs no region": "upstreams: {a: {provider: ses, host: a.example}}\n",
    "nothing rewritten": UPSTREAMS + "default: {upstream: one, rewrite_from: never}\n",
}


@pytest.mark.parametrize("rule", sorted(BROKEN))
def test_a_broken_rule_is_told(problems: Callable[..., list[str]], rule: str) -> None:
    text, expected = BROKEN[rule]
    found = [problem.partition(": ")[2] for problem in problems(text)]
    assert len(found) == len(expected), found
    for message, beginning in zip(found, expected, strict=True):
        assert message.startswith(beginning)


def test_nothing_is_said_of_what_rests_on_a_mistake(problems: Callable[..., list[str]]) -> None:
    text = """\
upstreams:
  one: {provider: sess}
  two: {provider: ses, region: 5}
  three: {provider: [ses], region: eu-west-1}
  four: {provider: postmark, password: 'sealed:x'}
  five: {host: five.example}
tenants:
  a: {domains: [a.example], upstream: [one], failover: {to: [two]}}
  b: {domains: [b.example], upstream: one, failover: {to: [one, 5]}}
  c: {domains: [c.example], upstream: one, pilot: {upstream: two, percent: many}}
alerts: {email: ops@platform.example, webhook: ftp://hooks.example}
retry: {give_up_after: 1}
classes:
  otp: {match: {sender: '*'}, upstream: one, give_up_after: 1}
  late: {match: {sender: '*'}, retry: {first: 3d}}
"""
    found = [problem.partition(": ")[2].partition(": ")[0] for problem in problems(text)]
    assert found == [
        "upstreams.one.provider",
        "upstreams.two.region",
        "upstreams.three.provider",
        "upstreams.four.password",
        "tenants.a.upstream",
        "tenants.b.failover.to[1]",
        "tenants.c.pilot.percent",
        "alerts.webhook",
        "retry.give_up_after",
        "classes.otp.give_up_after",
        "classes.late.retry.first",
    ]


@pytest.mark.parametrize("rule", sorted(KEPT))
def test_a_kept_rule_is_not(problems: Callable[..., list[str]], rule: str) -> None:
    assert problems(KEPT[rule]) == []


def test_a_ca_without_a_certificate_is_told(
    problems: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN NOTHING-----\n")
    text = f"upstreams: {{a: {{host: a.example, ca_file: {tmp_path}/ca.pem}}}}\n"
    assert problems(text)[0].endswith("ca.pem has no PEM certificate in it")
