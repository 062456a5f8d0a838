"""Mistakes in single values, each with the sentence that a sysadmin reads."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from relay.config.editor import json_schema

UPSTREAM = "upstreams: {one: {host: one.example}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hostname: 12\n", "1:1: hostname: YAML reads 12 as a number: put it in quotes"),
        ("hostname: on\n", "1:1: hostname: YAML reads on as true: put it in quotes"),
        ("hostname: [web01]\n", "1:1: hostname: must be text, not a list"),
        ("hostname: my_host\n", '1:1: hostname: "my_host" has an underscore, which a host\'s name'),
        ("limits: 5\n", "1:1: limits: must be a mapping, with keys and values beneath it"),
        ("limits: {recipients: '500'}\n", "1:10: limits.recipients: must be a number: write 500, "),
        ("limits: {recipients: many}\n", '1:10: limits.recipients: must be a number, not "many"'),
        ("limits: {recipients: 1.5}\n", "must be a whole number, not 1.5"),
        ("limits: {recipients: yes}\n", "must be a whole number, not yes"),
        ("limits: {recipients: 0}\n", "must be 1 or more"),
        ("limits: {line_length: 100B}\n", "must be 1000B or more"),
        ("limits: {memory: 0MiB}\n", "must be more than 0"),
        ("limits: {memory: 48}\n", "a size needs a unit: write 48MiB"),
        ("limits: {memory: true}\n", "must be written like 64KiB or 25MiB"),
        ("timeouts: {reply: 30}\n", "a duration needs a unit: write 30s"),
        ("timeouts: {reply: 0s}\n", "must be more than 0"),
        ("timeouts: {reply: [5m]}\n", "must be written like 30s or 5m"),
        ("retry: {factor: .inf}\n", "1:9: retry.factor: must be 100 or less"),
        ("retry: {factor: double}\n", 'retry.factor: must be a number, not "double"'),
        ("aliases: {root@x: a@b.c}\n", "an alias is for recipients without one"),
        ("aliases: {root: ops}\n", '1:11: aliases.root: "ops" is not a mail address'),
        ("store: /var/lib/relay.db\n", "1:1: store: write sqlite:///var/lib/relay.db"),
        ("store: sqlite://relay.db\n", "wants three slashes and a whole path"),
        ("store: sqlite:///x.db?mode=ro\n", "a plain path, without parameters"),
        ("store: postgres://h/d\n", "write postgresql:// for postgres://"),
        ("store: mysql://h/d\n", "must be sqlite:///PATH, or postgresql://USER@HOST/DATABASE"),
        ("tenants: [acme]\n", '1:1: tenants: must be a mapping, not a list: write "name: ..."'),
        ("tenants: {a b: {}}\n", '1:11: tenants.a b: "a b" can\'t be a name'),
        ("tenants: {a: {domains: a.example}}\n", "must be a list: write [a.example]"),
        ("tenants: {a: {domains: {a.example: }}}\n", "must be a list [...], not a mapping"),
        ("tenants: {a: {enabled: 'no'}}\n", "must be true or false, without quotes"),
        ("tenants: {a: {notes: 5}}\n", "YAML reads 5 as a number: put it in quotes"),
        ("tenants: {a: {rewrite_from: alway}}\n", 'not "alway"; did you mean "always"?'),
        ("tenants: {a: {senders: [a.example]}}\n", "list a domain under domains"),
        (
            "default: {upstream: one, frm: a@b.c}\n",
            'default.frm: unknown key; did you mean "from"?',
        ),
        ("default: {from: a@b.c}\n", "1:1: default.upstream: is missing"),
        ("upstreams: {a: {host: a.example, port: 0}}\n", "must be 1 or more"),
        ("upstreams: {a: {host: a.example, port: 65536}}\n", "must be 65535 or less"),
        ("upstreams: {a: {host: a.example, tls: no}}\n", "YAML reads no as false: write none, st"),
        ("upstreams: {a: {host: a.example, tls: tls}}\n", 'implicit, not "tls"'),
        ("upstreams: {a: {host: a.example, tls: [none]}}\n", "must be none, starttls or implicit"),
        ("upstreams: {a: {host: a.example, providr: ses}}\n", 'key; did you mean "provider"?'),
        (
            "upstreams: {a: {provider: sengrid}}\n",
            '1:17: upstreams.a.provider: no provider named "sengrid"; did you mean "sendgrid"?',
        ),
        ("upstreams: {a: {provider: SES, region: x}}\n", 'named "SES"; did you mean "ses"?'),
        ("upstreams: {a: {provider: ses, region: EU West}}\n", '"EU West" is no region: write it'),
        ("upstreams: {a: {host: a.b, limits: {per_second: 0}}}\n", "must be 0.001 or more"),
        ("upstreams: {a: {host: a.b, limits: {per_second: .nan}}}\n", "must be 100000 or less"),
        (
            "upstreams: {a: {host: a.b, limits: {per_day: 0.5}}}\n",
            "must be a whole number, not 0.5",
        ),
        (
            "upstreams: {a: {host: a.b, limits: {counts: mails}}}\n",
            "must be messages or recipients",
        ),
        ("tenants: {a: {failover: {to: []}}}\n", "to: is empty: name one, or remove the key"),
        ("tenants: {a: {failover: {to: one}}}\n", "must be a list: write [one]"),
        ("tenants: {a: {failover: {after: 5m}}}\n", "tenants.a.failover.to: is missing"),
        ("tenants: {a: {pilot: {percent: 10}}}\n", "tenants.a.pilot.upstream: is missing"),
        ("tenants: {a: {pilot: {percent: 101}}}\n", "must be 100 or less"),
        ("tenants: {a: {pilot: {percent: 10%}}}\n", 'must be a number, not "10%"'),
        (
            "tenants: {a: {acknowledge: relay}}\n",
            'acknowledge: must be queued or relayed, not "relay"; did you mean "relayed"?',
        ),
        (
            "tenants: {a: {acknowledge: {mode: relayed, within: 6m}}}\n",
            "1s or more, and 5m or less",
        ),
        ("tenants: {a: {acknowledge: {within: 1s}}}\n", "acknowledge.mode: is missing"),
        ("tenants: {a: {dsn: 'yes'}}\n", "must be true or false, without quotes"),
        ("classes: {a: {priority: low}}\n", "classes.a.match: is missing"),
        ("classes: {a: {match: {}}}\n", 'is empty: if every message is meant, write {sender: "*"}'),
        ("classes: {a: {match: {sender: []}}}\n", "match.sender: is empty: name one"),
        ("classes: {a: {match: {header: {}}}}\n", "match.header: is empty: name one"),
        ("classes: {a: {match: {header: {'X A': x}}}}\n", '"X A" can\'t be the name of a header'),
        ("classes: {a: {match: {subject: '('}}}\n", '"(" is no regular expression: missing ), unt'),
        ("classes: {a: {match: {subject: '[[a]'}}}\n", '"[[a]" is no regular expression: Possible'),
        ("classes: {a: {match: {subject: 'a{99999999999}'}}}\n", "is no regular expression"),
        ("classes: {a: {match: {subject: ''}}}\n", "is empty: it would be found everywhere"),
        (f"classes: {{a: {{match: {{subject: {'x' * 501}}}}}}}\n", "is longer than 500 characters"),
        ("classes: {a: {match: {sender: a@b@c d}}}\n", "is neither an address nor a domain"),
        (
            "classes: {a: {match: {sender: 'a?@b.c'}}}\n",
            'only "*" stands for other characters here',
        ),
        ("classes: {a: {match: {sender: [b.c, 'a b']}}}\n", 'match.sender[1]: "a b" is neither an'),
        (
            "classes: {a: {match: {recipient: '*ü*.example'}}}\n",
            "is neither an address nor a domain",
        ),
        ("classes: {a: {priority: urgent}}\n", 'must be high, normal or low, not "urgent"'),
        ("classes: {a: {suppression: off}}\n", "YAML reads off as false: write obey or ignore"),
        (
            "classes: {a: {match: {sender: a}, give_up_after: 5m, retry: {give_up_after: 5m}}}\n",
            "classes.a: says give_up_after twice",
        ),
        ("suppression: {after: 0}\n", "must be 1 or more"),
        ("alerts: {webhook: hooks.example}\n", "is not a URL that begins with https:// or http://"),
        ("alerts: {webhook: 'https://:443/'}\n", "is not a URL that begins with"),
        ("alerts: {webhook: 'https://a.example:port/'}\n", "is not a URL that begins with"),
        ("alerts: {webhook: 5}\n", "must be text: put the number in quotes"),
        ("alerts: {email: ops}\n", '"ops" is not a mail address'),
        ("upstreams: {a: {host: a.example, ca_file: ca.pem}}\n", '"ca.pem" is not a whole path'),
        ("listen: 127.0.0.1:25\n", "1:1: listen: must be a list: write [127.0.0.1:25]"),
        ("listen: [localhost:25]\n", "1:10: listen[0]: write 127.0.0.1:25"),
        ("listen: [{tls: none}]\n", "1:10: listen[0].address: is missing"),
        ("listen: [{adress: 127.0.0.1:25}]\n", 'unknown key; did you mean "address"?'),
        ("listen: [25]\n", "listen[0]: must be a mapping, with keys and values beneath it"),
        ("listen: []\n", "1:1: listen: is empty"),
        ("clients: {networks: [10.0.0.5/8]}\n", "write 10.0.0.0/8 for all of them, 10.0.0.5 for"),
        ("clients: {networks: [web01]}\n", '"web01" is not a network: write 10.1.0.0/16'),
        ("clients: {networks: ['::ffff:10.0.0.0/104']}\n", "write it as an IPv4 network"),
        ("clients: {users: {crm: {password_hash: hush}}}\n", "is not an argon2 hash"),
        ("clients: {users: {' ': {password_hash: $argon2id$}}}\n", "can't be the name of a user"),
        ("clients: {users: {crm: {}}}\n", "clients.users.crm.password_hash: is missing"),
    ],
)
def test_a_mistake_gets_its_sentence(
    problems: Callable[..., list[str]], text: str, expected: str
) -> None:
    found = problems(text if "upstreams" in text else text + UPSTREAM)
    assert any(expected in problem for problem in found), found


def keys_of_schema(part: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A document that has every key, with None at each leaf."""
    if "$ref" in part:
        return keys_of_schema(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if "properties" in part:
        return {k: keys_of_schema(v, definitions) for k, v in part["properties"].items()}
    if isinstance(part.get("additionalProperties"), dict):
        return {"name": keys_of_schema(part["additionalProperties"], definitions)}
    if "anyOf" in part:
        return keys_of_schema(part["anyOf"][-1], definitions)
    if part.get("type") == "array":
        return [keys_of_schema(part["items"], definitions)]
    return None


def filled(part: Any, value: object) -> Any:
    if isinstance(part, dict):
        return {key: filled(inner, value) for key, inner in part.items()}
    if isinstance(part, list):
        return [filled(inner, value) for inner in part]
    return value


@pytest.mark.parametrize("value", [True, 12, 1.5, -1, "", "no such thing", ["x"], {"x": "y"}, "\0"])
def test_no_mistake_is_answered_in_the_librarys_words(
    problems: Callable[..., list[str]], value: object
) -> None:
    schema = json_schema()
    every_key = keys_of_schema(schema, schema["$defs"])
    found = problems(yaml.safe_dump(filled(every_key, value), sort_keys=False))
    assert len(found) > 20
    for problem in found:
        message = problem.split(": ", 2)[-1]
        assert "nput should" not in message
        assert "alid" not in message
        assert not message.startswith("Value error")
