from collections.abc import Callable, Mapping

import pytest

from relay.config import ConfigError, load
from relay.config.schema import Config, Mailbox

FILE = """\
limits: {sessions: 5}
upstreams:
  acme-sendgrid: {host: smtp.sendgrid.net, username: apikey, password: file:/none}
  platform: {host: smtp.platform.example, port: 587}
default: {upstream: platform, from: Platform <noreply@platform.example>}
tenants: {acme: {domains: [acme.example], upstream: acme-sendgrid}}
"""
PASSWORD = "RELAY_UPSTREAMS__ACME_SENDGRID__PASSWORD"


def fileless(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(None, environ)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize("name", [PASSWORD, "RELAY_Upstreams__acme_sendgrid__Password"])
def test_a_variable_overrides_a_value(loads: Callable[..., Config], name: str) -> None:
    password = loads(FILE, {name: "s3cret"}).upstreams["acme-sendgrid"].password
    assert password is not None
    assert password.reveal() == "s3cret"
    assert password.reference == f"env:{name}"


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("12345", "12345"),
        ("no", "no"),
        ("a: #b", "a: #b"),
        ("{a", "{a"),
        ("'12345'", "12345"),
        ('"a # b"', "a # b"),
        ("env:OTHER", "from the other"),
    ],
)
def test_a_secret_is_taken_as_it_stands(
    loads: Callable[..., Config], value: str, secret: str
) -> None:
    config = loads(FILE, {PASSWORD: value, "OTHER": "from the other"})
    password = config.upstreams["acme-sendgrid"].password
    assert password is not None
    assert password.reveal() == secret


def test_values_are_yaml(loads: Callable[..., Config]) -> None:
    config = loads(
        FILE,
        {
            "RELAY_HOSTNAME": "web01.example",
            "RELAY_LISTEN": "[127.0.0.1:2525, '[::1]:2525']",
            "RELAY_LIMITS__MESSAGE_SIZE": "1MiB",
            "RELAY_LIMITS__RECIPIENTS": "7",
            "RELAY_TENANTS__ACME__ENABLED": "false",
            "RELAY_TENANTS__ACME__DOMAINS": "[acme.example, acme.test]",
            "RELAY_UPSTREAMS__PLATFORM__LIMITS__CONNECTIONS": "9",
            "RELAY_DEFAULT__FROM": "Else <else@platform.example>",
            "RELAY_RETRY": "{first: 1s}",
        },
    )
    assert config.hostname == "web01.example"
    assert [str(listen) for listen in config.listen] == ["127.0.0.1:2525", "[::1]:2525"]
    assert config.limits.message_size == 2**20
    assert (config.limits.recipients, config.limits.sessions) == (7, 5)
    assert config.tenants["acme"].enabled is False
    assert config.tenants["acme"].domains == ("acme.example", "acme.test")
    assert config.upstreams["platform"].limits.connections == 9
    assert config.default is not None
    assert config.default.from_ == Mailbox("Else", "else@platform.example")
    assert config.retry.first == 1


def test_other_ways_classes_and_alerts_can_be_overridden(loads: Callable[..., Config]) -> None:
    config = loads(
        FILE + "classes: {bulk: {match: {sender: '*', header: {List-Unsubscribe: x}}}}\n",
        {
            "RELAY_UPSTREAMS__PLATFORM__LIMITS__PER_SECOND": "0.5",
            "RELAY_UPSTREAMS__PLATFORM__PROVIDER": "sendgrid",
            "RELAY_DEFAULT__PER_TENANT__PER_DAY": "5",
            "RELAY_TENANTS__ACME__FAILOVER": "{to: [platform]}",
            "RELAY_TENANTS__ACME__FAILOVER__AFTER": "2m",
            "RELAY_TENANTS__ACME__PILOT__UPSTREAM": "platform",
            "RELAY_TENANTS__ACME__PILOT__PERCENT": "12.5",
            "RELAY_TENANTS__ACME__ACKNOWLEDGE": "relayed",
            "RELAY_TENANTS__ACME__DSN": "true",
            "RELAY_CLASSES__BULK__PRIORITY": "low",
            "RELAY_CLASSES__BULK__MATCH__SENDER": "[acme.example]",
            "RELAY_CLASSES__BULK__MATCH__HEADER__LIST_UNSUBSCRIBE": "'mailto:'",
            "RELAY_CLASSES__BULK__RETRY__FIRST": "1s",
            "RELAY_SUPPRESSION__AUTOMATIC": "false",
            "RELAY_ALERTS__WEBHOOK": "https://hooks.example/#s3cret",
        },
    )
    platform, acme, bulk = config.upstreams["platform"], config.tenants["acme"], config.classes
    assert platform.limits.per_second == 0.5
    assert (platform.provider, platform.host) == ("sendgrid", "smtp.platform.example")
    assert config.default is not None
    assert config.default.per_tenant.per_day == 5
    assert acme.failover is not None
    assert (acme.failover.to, acme.failover.after) == (("platform",), 120)
    assert acme.pilot is not None
    assert acme.pilot.percent == 12.5
    assert (acme.acknowledge.mode, acme.dsn) == ("relayed", True)
    assert (bulk["bulk"].priority, bulk["bulk"].retry.first) == ("low", 1)
    assert str(bulk["bulk"].match.sender[0]) == "acme.example"
    assert bulk["bulk"].match.header["List-Unsubscribe"].search("<mailto:a@b.c>")
    assert config.suppression.automatic is False
    assert config.alerts.webhook is not None
    assert config.alerts.webhook.reveal() == "https://hooks.example/#s3cret"
    assert config.alerts.webhook.reference == "env:RELAY_ALERTS__WEBHOOK"


def test_a_short_form_is_overridden_as_a_whole(problems: Callable[..., list[str]]) -> None:
    """The variable would otherwise be passed over without a word."""
    text = FILE.replace("domains:", "acknowledge: relayed, domains:")
    variable = "RELAY_TENANTS__ACME__ACKNOWLEDGE__WITHIN"
    assert problems(text, {variable: "5s"}) == [
        f"{variable}: tenants.acme.acknowledge.within: tenants.acme.acknowledge is a plain value: "
        "override that one"
    ]


def test_smtp_variables_may_say_the_provider_by_the_long_name() -> None:
    environ = {
        "RELAY_SMTP_PASSWORD": "s3cret",
        "RELAY_UPSTREAMS__SMTP__PROVIDER": "sendgrid",
    }
    upstream = load(None, environ).upstreams["smtp"]
    assert (upstream.host, upstream.port) == ("smtp.sendgrid.net", 465)
    assert upstream.username is not None
    assert upstream.username.reveal() == "apikey"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"RELAY_UPSTREAMS__PLATFORM__PROVIDER": "sendgird"},
            "RELAY_UPSTREAMS__PLATFORM__PROVIDER: upstreams.platform.provider: no provider named "
            '"sendgird"; did you mean "sendgrid"?',
        ),
        (
            {"RELAY_TENANTS__ACME__FAILOVER": "{to: [plattform]}"},
            "RELAY_TENANTS__ACME__FAILOVER: tenants.acme.failover.to[0]: no upstream named "
            '"plattform"; did you mean "platform"?',
        ),
        (
            {"RELAY_UPSTREAMS__ACME_SENDGRID__PASWORD": "x"},
            'RELAY_UPSTREAMS__ACME_SENDGRID__PASWORD: names no setting: there is no "PASWORD"; '
            'did you mean "PASSWORD"?',
        ),
        (
            {"RELAY_UPSTREAMS__ACME_SENGRID__HOST": "x"},
            'names no setting: there is no "ACME_SENGRID"; did you mean "ACME_SENDGRID"?',
        ),
        (
            {"RELAY_LISTEN__0__TLS": "none"},
            'RELAY_LISTEN__0__TLS: names no setting: there is no "0"',
        ),
        ({"RELAY_HOSTNAME__X": "x"}, "names no setting"),
        (
            {"RELAY_LIMITS__SESSIONS": "many"},
            'RELAY_LIMITS__SESSIONS: limits.sessions: must be a number, not "many"',
        ),
        (
            {"RELAY_LIMITS__MEMORY": "48"},
            "RELAY_LIMITS__MEMORY: limits.memory: a size needs a unit: write 48MiB",
        ),
        (
            {"RELAY_TENANTS__ACME__UPSTREAM": "plattform"},
            'RELAY_TENANTS__ACME__UPSTREAM: tenants.acme.upstream: no upstream named "plattform"; '
            'did you mean "platform"?',
        ),
        (
            {"RELAY_UPSTREAMS__PLATFORM__TLS": "no"},
            "RELAY_UPSTREAMS__PLATFORM__TLS: upstreams.platform.tls: YAML reads no as false",
        ),
        (
            {"RELAY_TENANTS__ACME__DOMAINS": "[a.example"},
            "RELAY_TENANTS__ACME__DOMAINS: tenants.acme.domains: the value is not YAML",
        ),
        (
            {"RELAY_HOSTNAME": ""},
            "RELAY_HOSTNAME: hostname: is empty: give it a value, or unset it",
        ),
        (
            {"RELAY_LIMITS__MEMORY": "1MiB", "RELAY_LIMITS__memory": "2MiB"},
            "RELAY_LIMITS__memory: limits.memory: collides with RELAY_LIMITS__MEMORY",
        ),
        ({"RELAY_SMTP_USER": "x"}, 'unknown variable; did you mean "RELAY_SMTP_USERNAME"?'),
        (
            {"RELAY_SMTP_PORT": "tcp://10.0.0.1:25"},
            "RELAY_SMTP_PORT: upstreams.platform.port: must be a number, not",
        ),
        (
            {"RELAY_SMTP_FROM_EMAIL": "noreply"},
            'RELAY_SMTP_FROM_EMAIL: default.from: "noreply" is not a mail address',
        ),
        (
            {"RELAY_SMTP_FROM_NAME": "a\nb"},
            "RELAY_SMTP_FROM_NAME: default.from: a display name is one line",
        ),
    ],
)
def test_a_problem_names_the_variable(
    problems: Callable[..., list[str]], variables: dict[str, str], expected: str
) -> None:
    (found,) = problems(FILE, variables)
    assert expected in found


def test_names_that_collide_are_told(problems: Callable[..., list[str]]) -> None:
    text = FILE.replace("  platform:", "  acme_sendgrid: {host: other.example}\n  platform:")
    assert problems(text, {PASSWORD: "x"}) == [
        f"{PASSWORD}: could mean acme-sendgrid or acme_sendgrid: rename one of them"
    ]
    assert problems(text) == []


def test_other_variables_are_left_alone(problems: Callable[..., list[str]]) -> None:
    others = {
        "RELAY_CONFIG": "x",
        "RELAY_DEMO_PORT": "1",
        "RELAY_DEMO__X": "1",
        "RELAY_PORT_25_TCP": "tcp://10.0.0.1:25",
        "PATH": "/bin",
        "UPSTREAMS__X": "y",
    }
    assert problems(FILE, others) == []


def test_smtp_variables_override_the_defaults_upstream(loads: Callable[..., Config]) -> None:
    config = loads(
        FILE,
        {
            "RELAY_SMTP_HOST": "other.example",
            "RELAY_SMTP_PORT": "465",
            "RELAY_SMTP_TLS": "implicit",
            "RELAY_SMTP_USERNAME": "",
            "RELAY_SMTP_FROM_NAME": "Other, Inc.",
        },
    )
    platform = config.upstreams["platform"]
    assert (platform.host, platform.port, platform.tls) == ("other.example", 465, "implicit")
    assert platform.username is None
    assert config.default is not None
    assert config.default.from_ == Mailbox("Other, Inc.", "noreply@platform.example")


def test_smtp_variables_need_a_default_in_the_file(problems: Callable[..., list[str]]) -> None:
    text = "\n".join(line for line in FILE.splitlines() if not line.startswith("default"))
    assert problems(text, {"RELAY_SMTP_HOST": "x.example"}) == [
        "RELAY_SMTP_HOST: sets the default's upstream, but the file names none"
    ]


def test_without_a_file_smtp_variables_are_enough() -> None:
    config = load(
        None,
        {
            "RELAY_SMTP_HOST": "smtp.sendgrid.net",
            "RELAY_SMTP_PORT": "587",
            "RELAY_SMTP_USERNAME": "apikey",
            "RELAY_SMTP_PASSWORD": "p: #@!",
            "RELAY_SMTP_FROM_EMAIL": "noreply@acme.example",
            "RELAY_SMTP_FROM_NAME": "Acme",
            "RELAY_UPSTREAMS__SMTP__LIMITS__CONNECTIONS": "5",
        },
    )
    assert config.source is None
    assert config.default is not None
    upstream = config.upstreams[config.default.upstream]
    assert (upstream.host, upstream.port, upstream.tls) == ("smtp.sendgrid.net", 587, "starttls")
    assert upstream.username is not None
    assert upstream.password is not None
    assert (upstream.username.reveal(), upstream.password.reveal()) == ("apikey", "p: #@!")
    assert upstream.limits.connections == 5
    assert config.default.from_ == Mailbox("Acme", "noreply@acme.example")
    assert config.default.rewrite_from == "always"


def test_empty_smtp_variables_are_as_good_as_none() -> None:
    assert fileless({"RELAY_SMTP_HOST": "", "RELAY_SMTP_PORT": ""})[0].startswith(
        "no configuration"
    )


def test_without_a_file_the_host_is_needed() -> None:
    assert fileless({"RELAY_SMTP_PORT": "587"}) == [
        "RELAY_SMTP_HOST: upstreams.smtp.host: is missing"
    ]
    assert fileless({"RELAY_SMTP_HOST": "x.example", "RELAY_SMTP_FROM_NAME": "X"}) == [
        "RELAY_SMTP_FROM_NAME: default.from: there is no address to go with it: "
        "set RELAY_SMTP_FROM_EMAIL"
    ]


def test_without_a_file_whole_sections_do_too() -> None:
    environ = {
        "RELAY_UPSTREAMS": "{acme: {host: smtp.acme.example}}",
        "RELAY_UPSTREAMS__ACME__PORT": "2525",
        "RELAY_TENANTS": "{acme: {domains: ['*.acme.example'], upstream: acme}}",
    }
    config = load(None, environ)
    assert config.upstreams["acme"].port == 2525
    assert config.tenants["acme"].upstream == "acme"


ALL_SMTP = {
    "RELAY_SMTP_HOST": "other.example",
    "RELAY_SMTP_PORT": "2465",
    "RELAY_SMTP_TLS": "implicit",
    "RELAY_SMTP_USERNAME": "env:OTHER_USER",
    "RELAY_SMTP_PASSWORD": "env:OTHER_PASSWORD",
    "RELAY_SMTP_FROM_EMAIL": "else@other.example",
    "RELAY_SMTP_FROM_NAME": "Else",
    "OTHER_USER": "u",
    "OTHER_PASSWORD": "s3cret",
}


def assert_all_smtp(config: Config, name: str) -> None:
    assert config.default is not None
    assert config.default.upstream == name
    assert config.default.from_ == Mailbox("Else", "else@other.example")
    upstream = config.upstreams[name]
    assert (upstream.host, upstream.port, upstream.tls) == ("other.example", 2465, "implicit")
    assert upstream.username is not None
    assert upstream.password is not None
    assert (upstream.username.reveal(), upstream.password.reveal()) == ("u", "s3cret")
    assert upstream.password.reference == "env:OTHER_PASSWORD"


def test_all_smtp_variables_with_a_file(loads: Callable[..., Config]) -> None:
    config = loads(FILE, ALL_SMTP)
    assert_all_smtp(config, "platform")
    assert config.upstreams["acme-sendgrid"].host == "smtp.sendgrid.net"


def test_all_smtp_variables_without_one() -> None:
    config = load(None, ALL_SMTP)
    assert_all_smtp(config, "smtp")
    assert config.default is not None
    assert config.default.rewrite_from == "always"


def test_a_long_name_comes_before_a_short_one(loads: Callable[..., Config]) -> None:
    """It names the one value; RELAY_SMTP_* mean whatever is the default's."""
    variables = {"RELAY_SMTP_PORT": "465", "RELAY_UPSTREAMS__PLATFORM__PORT": "2525"}
    assert loads(FILE, variables).upstreams["platform"].port == 2525


# -- an image's own defaults

IMAGE = {"RELAY_IMAGE_LISTEN": "['0.0.0.0:25']", "RELAY_IMAGE_HTTP__LISTEN": "127.0.0.1:8025"}


def listens(config: Config) -> tuple[list[str], str]:
    assert config.http is not None
    return [str(listen) for listen in config.listen], str(config.http.listen)


def test_an_image_says_what_nobody_else_says(loads: Callable[..., Config]) -> None:
    assert listens(loads(FILE, IMAGE)) == (["0.0.0.0:25"], "127.0.0.1:8025")
    assert listens(load(None, IMAGE | {"RELAY_SMTP_HOST": "smtp.platform.example"})) == (
        ["0.0.0.0:25"],
        "127.0.0.1:8025",
    )


def test_the_file_s_word_is_over_the_image_s(loads: Callable[..., Config]) -> None:
    """A listener that wants a login must not become one that does not."""
    mine = "listen: [127.0.0.1:2525]\nhttp: {listen: 127.0.0.1:9000}\n"
    assert listens(loads(FILE + mine, IMAGE)) == (["127.0.0.1:2525"], "127.0.0.1:9000")


def test_a_variable_s_word_is_over_the_image_s(loads: Callable[..., Config]) -> None:
    mine = {"RELAY_LISTEN": "['127.0.0.1:2525']", "RELAY_HTTP__LISTEN": "127.0.0.1:9000"}
    assert listens(loads(FILE, IMAGE | mine)) == (["127.0.0.1:2525"], "127.0.0.1:9000")


def test_an_image_completes_a_section(loads: Callable[..., Config]) -> None:
    config = loads(FILE, IMAGE | {"RELAY_HTTP__TOKEN": "env:T", "T": "s3cret"})
    assert listens(config)[1] == "127.0.0.1:8025"
    assert config.http is not None
    assert config.http.token is not None
    for empty in ("http:\nlisten:\n", "http: {}\n"):
        assert listens(loads(FILE + empty, IMAGE)) == (["0.0.0.0:25"], "127.0.0.1:8025")


def test_an_image_alone_is_no_configuration() -> None:
    [problem] = fileless(IMAGE)
    assert "no configuration" in problem


def test_an_empty_variable_takes_an_image_s_word_back(loads: Callable[..., Config]) -> None:
    assert loads(FILE, IMAGE | {"RELAY_IMAGE_HTTP__LISTEN": ""}).http is None


def test_an_image_s_mistake_names_its_variable(problems: Callable[..., list[str]]) -> None:
    [problem] = problems(FILE, {"RELAY_IMAGE_LISTEN": "0.0.0.0:25"})
    assert problem.startswith("RELAY_IMAGE_LISTEN: listen: must be a list")
    [problem] = problems(FILE, {"RELAY_IMAGE_HTTP__LISTN": "127.0.0.1:8025"})
    assert 'did you mean "LISTEN"' in problem


def test_an_empty_section_is_no_obstacle(loads: Callable[..., Config]) -> None:
    assert loads(FILE + "retry:\n", {"RELAY_RETRY__FIRST": "1s"}).retry.first == 1
