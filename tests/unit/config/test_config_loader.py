import gc
import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.config import ConfigError, find_config_file, load
from relay.config.schema import Config, Mailbox
from relay.model.retry import Schedule

WHOLE = """\
hostname: Web01.example
listen:
  - 127.0.0.1:25
  - address: "[::1]:2525"
    auth: none
    tenants: [acme]
clients:
  networks: [127.0.0.0/8, {network: "fd00::/8", tenants: [acme]}]
  users: {crm@web: {password_hash: $argon2id$x, tenants: [acme]}}
aliases: {Root: ops@Platform.example}
limits: {message_size: 1MiB, recipients: 7, line_length: 1000B, memory: 2MiB}
timeouts: {connect: 200ms, drain: 0s}
store: sqlite:///tmp/relay.db
queue: {max_messages: 5, min_free_disk: 0B}
upstreams:
  one:
    host: SMTP.one.example
    username: env:USER_ONE
    password: env:PASSWORD_ONE
    limits: {connections: 4, idle: 0s}
  two: {host: two.example, port: 587}
  three: {host: 127.0.0.1, tls: none}
  four: {host: four.example, tls: starttls, null_sender: bounces@four.example}
  five: {host: five.example, port: 2465}
default:
  upstream: two
  from: Platform <noreply@platform.example>
tenants:
  acme:
    domains: [Acme.example, "*.acme.example"]
    senders: [Billing@Shared.example]
    upstream: one
    from: noreply@acme.example
    owner: Dana <dana@acme.example>
  globex: {domains: [globex.example], enabled: false}
retry: {first: 1s, factor: 1.5, longest: 10s, give_up_after: 1m, attempts: 3}
"""


def test_the_values_are_those_of_the_file(loads: Callable[..., Config]) -> None:
    config = loads(WHOLE, {"PASSWORD_ONE": "s3cret"})
    assert config.hostname == "web01.example"
    assert [str(listen) for listen in config.listen] == ["127.0.0.1:25", "[::1]:2525"]
    assert (config.listen[1].host, config.listen[1].port) == ("::1", 2525)
    assert config.listen[1].tenants == ("acme",)
    assert config.clients.networks[1].network == ip_network("fd00::/8")
    assert config.clients.users["crm@web"].password_hash.reveal() == "$argon2id$x"
    assert config.aliases == {"root": "ops@platform.example"}
    assert (config.limits.message_size, config.limits.recipients) == (2**20, 7)
    assert (config.timeouts.connect, config.timeouts.drain, config.timeouts.reply) == (0.2, 0, 300)
    assert (config.store.scheme, config.store.path) == ("sqlite", Path("/tmp/relay.db"))
    assert config.queue.min_free_disk == 0
    assert config.retry.schedule == Schedule(1.0, 1.5, 10.0, 60.0, 3)
    assert config.audit.keep == 90 * 86400
    assert config.source == Path("config.yaml")


def test_upstreams_know_their_name_port_and_mode(loads: Callable[..., Config]) -> None:
    upstreams = loads(WHOLE, {"PASSWORD_ONE": "s3cret"}).upstreams
    endpoints = {u.name: (u.host, u.port, u.tls) for u in upstreams.values()}
    assert endpoints == {
        "one": ("smtp.one.example", 465, "implicit"),
        "two": ("two.example", 587, "starttls"),
        "three": ("127.0.0.1", 25, "none"),
        "four": ("four.example", 587, "starttls"),
        "five": ("five.example", 2465, "implicit"),
    }
    assert upstreams["one"].password is not None
    assert upstreams["one"].password.reveal() == "s3cret"
    assert upstreams["two"].username is None
    assert (upstreams["one"].limits.connections, upstreams["two"].limits.connections) == (4, 2)
    assert upstreams["four"].null_sender == "bounces@four.example"


def test_tenants_and_default_know_their_identity(loads: Callable[..., Config]) -> None:
    config = loads(WHOLE)
    acme, globex = config.tenants["acme"], config.tenants["globex"]
    assert acme.name == "acme"
    assert acme.domains == ("acme.example", "*.acme.example")
    assert acme.senders == ("Billing@shared.example",)
    assert acme.from_ == Mailbox("", "noreply@acme.example")
    assert (acme.rewrite_from, globex.rewrite_from) == ("foreign", "never")
    assert (acme.enabled, globex.enabled) == (True, False)
    assert config.default is not None
    assert config.default.from_ == Mailbox("Platform", "noreply@platform.example")
    assert config.default.rewrite_from == "always"


def test_a_tenant_can_have_other_ways(loads: Callable[..., Config]) -> None:
    config = loads(
        """\
upstreams: {one: {host: one.example}, two: {host: two.example}}
default: {upstream: two, per_tenant: {per_second: 0.5, per_hour: 300}}
tenants:
  acme:
    domains: [acme.example]
    upstream: one
    failover: {to: [two], after: 0s}
    pilot: {upstream: two, percent: 2.5, recipients: [QA@Acme.example], senders: [a@b.example]}
    acknowledge: {mode: relayed, within: 2s}
    dsn: true
  globex: {domains: [globex.example], upstream: one, failover: {to: [two]}, acknowledge: relayed}
"""
    )
    acme, globex = config.tenants["acme"], config.tenants["globex"]
    assert acme.failover is not None
    assert (acme.failover.to, acme.failover.after) == (("two",), 0)
    assert acme.pilot is not None
    assert (acme.pilot.upstream, acme.pilot.percent) == ("two", 2.5)
    assert acme.pilot.recipients == ("QA@acme.example",)
    assert acme.pilot.senders == ("a@b.example",)
    assert (acme.acknowledge.mode, acme.acknowledge.within, acme.dsn) == ("relayed", 2, True)
    assert globex.failover is not None
    assert (globex.failover.after, globex.pilot, globex.dsn) == (60, None, False)
    assert (globex.acknowledge.mode, globex.acknowledge.within) == ("relayed", 10)
    assert config.default is not None
    caps = config.default.per_tenant
    assert (caps.per_second, caps.per_minute, caps.per_hour, caps.per_day) == (0.5, None, 300, None)


def test_what_is_not_said_changes_nothing(loads: Callable[..., Config]) -> None:
    config = loads(WHOLE)
    acme, limits = config.tenants["acme"], config.upstreams["two"].limits
    assert (acme.failover, acme.pilot, acme.dsn) == (None, None, False)
    assert (acme.acknowledge.mode, acme.acknowledge.within) == ("queued", 10)
    assert {limits.per_second, limits.per_minute, limits.per_hour, limits.per_day} == {None}
    assert config.default is not None
    assert set(dict(config.default.per_tenant).values()) == {None}
    assert config.classes == {}
    alerts, suppression = config.alerts, config.suppression
    assert (alerts.email, alerts.webhook, alerts.upstream, alerts.gather) == (None, None, None, 300)
    assert (suppression.automatic, suppression.after) == (True, 2)
    assert suppression.expire == 30 * 86400


def test_alerts_can_go_by_a_secret_webhook(loads: Callable[..., Config]) -> None:
    text = "alerts: {email: Ops <ops@platform.example>, webhook: env:HOOK, gather: 0s}\n"
    alerts = loads(text, {"HOOK": "https://hooks.example/x"}).alerts
    assert alerts.webhook is not None
    assert alerts.webhook.reveal() == "https://hooks.example/x"
    assert alerts.email == Mailbox("Ops", "ops@platform.example")
    assert alerts.gather == 0


@pytest.mark.parametrize("was_enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(was_enabled: bool) -> None:
    """load() pauses the collector, also where it raises."""
    try:
        (gc.enable if was_enabled else gc.disable)()
        with pytest.raises(ConfigError):
            load(None, {})
        assert gc.isenabled() is was_enabled
    finally:
        gc.enable()


def test_users_may_log_in_where_that_is_safe(loads: Callable[..., Config]) -> None:
    listen = loads(WHOLE.replace("  - address:", "  - 0.0.0.0:2525\n  - address:")).listen
    assert [one.auth for one in listen] == ["optional", "none", "none"]
    without_users = WHOLE.replace("  users:", "  #users:")
    assert [one.auth for one in loads(without_users).listen] == ["none", "none"]


def test_a_problem_is_told_as_the_contract_says(problems: Callable[..., list[str]]) -> None:
    text = """\
upstreams:
  sendgrid: {host: smtp.sendgrid.net}
tenants:
  acme:
    domains: [acme.example]
    upstream: sendgird
"""
    assert problems(text) == [
        'config.yaml:6:5: tenants.acme.upstream: no upstream named "sendgird"; '
        'did you mean "sendgrid"?'
    ]


def test_all_problems_are_told_at_once(problems: Callable[..., list[str]]) -> None:
    """Of form, of the schema, and across the whole: one does not hide the other."""
    text = """\
limits: {message_size: 25MB}
listne: []
upstreams:
  one: {host: one.example}
  one: {host: two.example}
tenants:
  acme:
    domian: [acme.example]
    upstream: on
    enabled: maybe
  globex: {upstream: one, owner: }
"""
    assert [problem.split(" ")[0:2] for problem in problems(text)] == [
        ["config.yaml:1:10:", "limits.message_size:"],
        ["config.yaml:2:1:", "listne:"],
        ["config.yaml:5:3:", "upstreams.one:"],
        ["config.yaml:8:5:", "tenants.acme.domian:"],
        ["config.yaml:9:5:", "tenants.acme.upstream:"],
        ["config.yaml:10:5:", "tenants.acme.enabled:"],
        ["config.yaml:11:27:", "tenants.globex.owner:"],
    ]


def test_nothing_follows_from_a_value_that_is_wrong_already(
    problems: Callable[..., list[str]],
) -> None:
    """The upstream is there, though its host is not; the password is, though it is no text."""
    text = """\
upstreams:
  one: {hots: one.example}
  two: {host: two.example, username: x, password: 5}
default: {upstream: one}
tenants:
  acme: {domains: [acme.example, "*"], upstream: one}
  globex: {domains: [acme.example], upstream: two}
"""
    assert [problem.partition(": ")[2] for problem in problems(text)] == [
        "upstreams.one.host: is missing",
        'upstreams.one.hots: unknown key; did you mean "host"?',
        "upstreams.two.password: must be text: put the number in quotes",
        'tenants.acme.domains[1]: "*" names no domain; mail that no tenant claims '
        "takes the default",
    ]


def test_a_value_is_found_wrong_but_once(problems: Callable[..., list[str]]) -> None:
    text = """\
hostname: !tag web01
limits: {message_size: 20GiB}
queue: {max_bytes: 1}
listen: [{address: 127.0.0.1:25, tsl: none}, 127.0.0.1:25]
clients: {networks: [{network: x, tenants: [acme]}]}
upstreams: {one: {host: one.example}}
default: {upstream: }
tenants:
  acme: {domains: [acme.example], upstream: one}
  globex: {domains: [acme.example], upstream: one}
"""
    assert [problem.partition(": ")[2] for problem in problems(text)] == [
        "hostname: has a tag (!) that means nothing here",
        'queue.max_bytes: a size needs a unit: write 1MiB (not "1")',
        'listen[0].tsl: unknown key; did you mean "tls"?',
        "listen[1]: 127.0.0.1:25 is taken already by the listener 127.0.0.1:25",
        'clients.networks[0].network: "x" is not a network: write 10.1.0.0/16, 10.1.2.3 or '
        '"fd00::/8"',
        "default.upstream: has no value: write one, or remove the key",
    ]


def test_a_hash_may_be_kept_elsewhere(loads: Callable[..., Config]) -> None:
    text = "clients: {users: {crm: {password_hash: env:HASH}}}\n"
    hashed = loads(text, {"HASH": "$argon2id$x"}).clients.users["crm"].password_hash
    assert hashed.reveal() == "$argon2id$x"
    assert loads(text).clients.users["crm"].password_hash.reference == "env:HASH"


@pytest.mark.parametrize(
    ("machine", "name"),
    [("Web01", "web01"), ("my_web", "my-web"), ("a b", "localhost"), ("", "localhost")],
)
def test_the_machines_own_name_is_the_default(
    loads: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, machine: str, name: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: machine)
    assert loads("").hostname == name


def test_an_empty_section_is_none_and_an_empty_value_is_a_fault(
    problems: Callable[..., list[str]],
) -> None:
    text = "limits:\n  #sessions: 5\nupstreams:\ndefault:\ntenants:\n"
    assert problems(text) == []
    assert problems(text + "hostname:\nlisten:\n") == [
        "config.yaml:6:1: hostname: has no value: write one, or remove the key",
        "config.yaml:7:1: listen: has no value: write one, or remove the key",
    ]


def test_fields_are_known_by_their_keys_alone(problems: Callable[..., list[str]]) -> None:
    """from_ and name are how code says it; accepted in a file they would be undocumented keys."""
    text = "tenants: {a: {domains: [a.example], name: b, from_: x@a.example, upstream: u}}\n"
    found = problems(text + "upstreams: {u: {host: u.example, (name): z}}\nsource: x\n")
    assert [problem.split(": ")[1] for problem in found] == [
        "tenants.a.name",
        "tenants.a.from_",
        "source",
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "none.yaml", {})
    assert str(raised.value) == f"{tmp_path}/none.yaml: no file {tmp_path}/none.yaml"


def test_a_file_that_is_closed_to_us_names_its_group(closed_directory: Path) -> None:
    with pytest.raises(ConfigError, match=r"no permission to read .* be in the group"):
        load(closed_directory / "closed", {})


def test_no_file_and_no_variable_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="or set RELAY_SMTP_HOST"):
        load(None, {"PATH": "/bin"})


def test_the_file_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("relay.config.location.SYSTEM_FILE", tmp_path / "etc" / "config.yaml")
    environ = {"RELAY_CONFIG": "by-variable.yaml"}
    assert find_config_file("named.yaml", environ) == Path("named.yaml")
    assert find_config_file(None, environ) == Path("by-variable.yaml")
    assert find_config_file(None, {}) is None
    Path("config.yaml").touch()
    assert find_config_file(None, {}) == Path("config.yaml")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").touch()
    assert find_config_file(None, {}) == tmp_path / "etc" / "config.yaml"


def test_a_closed_system_file_is_not_passed_over(
    closed_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = closed_directory / "inner" / "config.yaml"
    monkeypatch.setattr("relay.config.location.SYSTEM_FILE", hidden)
    assert find_config_file(None, {}) == hidden


def test_the_process_environment_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "RELAY_SMTP_HOST", "smtp.acme.example")
    assert load(None).upstreams["smtp"].host == "smtp.acme.example"
