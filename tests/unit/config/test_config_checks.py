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
        "upstreams: {a: {host: a.example, username: x}, b: {host: b.example, password: env:B}}\n",
        [
            "upstreams.a.username: there is no password beside it",
            "upstreams.b.password: there is no username beside it",
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
    "nothing rewritten": UPSTREAMS + "default: {upstream: one, rewrite_from: never}\n",
}


@pytest.mark.parametrize("rule", sorted(BROKEN))
def test_a_broken_rule_is_told(problems: Callable[..., list[str]], rule: str) -> None:
    text, expected = BROKEN[rule]
    found = [problem.partition(": ")[2] for problem in problems(text)]
    assert len(found) == len(expected), found
    for message, beginning in zip(found, expected, strict=True):
        assert message.startswith(beginning)


@pytest.mark.parametrize("rule", sorted(KEPT))
def test_a_kept_rule_is_not(problems: Callable[..., list[str]], rule: str) -> None:
    assert problems(KEPT[rule]) == []


def test_a_ca_without_a_certificate_is_told(
    problems: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN NOTHING-----\n")
    text = f"upstreams: {{a: {{host: a.example, ca_file: {tmp_path}/ca.pem}}}}\n"
    assert problems(text)[0].endswith("ca.pem has no PEM certificate in it")
