"""Postfix with Dovecot, Exim and Haraka as upstreams: what is right arrives octet for octet, and
whatever is wrong has the cause that docs/failures.md gives it, and waits or fails as it says there.

A server is started once, with one relay, whose tenants have each one thing wrong; the mail of all
is sent at once, so that no test waits for another's time-out.
"""

import email
import functools
import json
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from support.certificates import Certificates
from support.configs import relay_config
from support.mail import BODY, RECEIVED, complete
from support.mailservers import (
    GREYLISTED,
    LARGEST,
    NOBODY,
    NOT_ACMES,
    PASSWORD,
    RECIPIENT,
    SERVERS,
    SPAM,
    USER,
    MailServer,
)
from support.ports import free_port
from support.program import Program

Event = dict[str, Any]
Mode = Literal["implicit", "starttls", "none"]


@dataclass(frozen=True)
class Case:
    """A tenant of this name, its upstream, and one message; ``cause`` and ``scope`` are those of
    its first failure, which says ``remedy``. ``but`` names servers that answer otherwise."""

    name: str
    listener: str
    tls: Mode
    cause: str | None = None
    scope: str = "upstream"
    password: str | None = PASSWORD
    sender: str = ""
    recipient: str = RECIPIENT
    subject: str = "test"
    body: bytes = BODY
    fails: bool = False
    remedy: str = ""
    but: tuple[tuple[str, str, str], ...] = ()

    @property
    def reverse_path(self) -> str:
        return self.sender or f"app@{self.domain}"

    @property
    def domain(self) -> str:
        return self.name.replace("_", "-") + ".example"


NO_LOGIN = {
    "cause": "sender_refused",
    "scope": "tenant",
    "password": None,
    "remedy": "set username and password",
    # Postfix's reply could as well be about the one recipient.
    "but": (("postfix", "recipient_refused", "recipient"),),
}
LARGE = b"a line of an attachment\r\n" * (LARGEST // 25 + 1)

RIGHT = [
    Case("right_implicit", "implicit", "implicit"),
    Case("right_starttls", "starttls", "starttls"),
]
# fmt: off
WRONG = [
    Case("wrong_password", "implicit", "implicit", "authentication_failed", password="wrong"),
    Case("wrong_password_587", "starttls", "starttls", "authentication_failed", password="wrong"),
    Case("implicit_on_587", "starttls", "implicit", "tls_handshake_failed"),
    Case("starttls_on_465", "implicit", "starttls", "reply_timeout", remedy="set tls: implicit"),
    Case("no_starttls", "no_tls", "starttls", "starttls_unavailable"),
    Case("expired", "expired", "implicit", "certificate_invalid"),
    Case("wrong_name", "wrong_name", "implicit", "certificate_invalid"),
    Case("untrusted", "untrusted", "implicit", "certificate_invalid"),
    Case("no_login", "implicit", "implicit", **NO_LOGIN),
    Case("no_login_587", "starttls", "starttls", **NO_LOGIN),
    Case("not_mine", "implicit", "implicit", "sender_refused", "tenant", sender=NOT_ACMES),
    Case("greylisted", "starttls", "starttls", "recipient_refused", "recipient",
         recipient=GREYLISTED),
    Case("nobody", "starttls", "starttls", "recipient_refused", "recipient",
         recipient=NOBODY, fails=True),
    Case("spam", "implicit", "implicit", "message_refused", "message", subject=SPAM, fails=True),
    Case("large", "starttls", "starttls", "message_too_large", "message", body=LARGE, fails=True),
]
# fmt: on

# What a server's own log says in one line of what went wrong, where it sees and logs it.
LOGGED = {
    ("postfix", "wrong_password"): ("SASL PLAIN authentication failed", f"sasl_username={USER}"),
    ("postfix", "no_login"): ("reject: RCPT", f"<{RECIPIENT}>", "from=<app@no-login.example>"),
    ("postfix", "not_mine"): ("Sender address rejected: not owned by user", f"from=<{NOT_ACMES}>"),
    ("postfix", "greylisted"): ("450 4.2.0", "Greylisted", f"to=<{GREYLISTED}>"),
    ("postfix", "nobody"): ("550 5.1.1", "User unknown", f"to=<{NOBODY}>"),
    ("postfix", "spam"): (f"reject: header Subject: {SPAM}", "5.7.1 this is spam"),
    ("exim", "wrong_password"): ("plain authenticator failed", f"set_id={USER}"),
    ("exim", "no_login"): (f"rejected RCPT <{RECIPIENT}>: relay not permitted", "no-login.example"),
    ("exim", "not_mine"): (f"rejected MAIL <{NOT_ACMES}>",),
    ("exim", "greylisted"): (f"temporarily rejected RCPT <{GREYLISTED}>",),
    ("exim", "nobody"): (f"rejected RCPT <{NOBODY}>: Unrouteable address",),
    ("exim", "spam"): ("rejected after DATA: this is spam", "app@spam.example"),
    ("haraka", "not_mine"): (f"sender <{NOT_ACMES}> code=DENY",),
    ("haraka", "greylisted"): (f"recipient <{GREYLISTED}> code=DENYSOFT",),
    ("haraka", "nobody"): (f"recipient <{NOBODY}> code=DENY",),
}


class Site:
    """``cases`` are those for which the server has a listener."""

    def __init__(
        self, name: str, server: MailServer, folder: Path, certificates: Certificates
    ) -> None:
        self.name = name
        self.server = server
        self.cases = [case for case in RIGHT + WRONG if case.listener in server.listeners]
        self._folder = folder
        self._ca_file = certificates.ca_file
        self._port = free_port()
        self.relay = Program(folder, self._config(self.cases), self._port)

    def _config(self, cases: list[Case]) -> str:
        return relay_config(
            self._folder,
            self._port,
            upstreams={case.name: self._upstream(case) for case in cases},
            tenants={
                case.name: {
                    "domains": [case.domain],
                    "senders": [case.sender] if case.sender else [],
                    "upstream": case.name,
                }
                for case in cases
            },
            timeouts={"connect": "6s", "reply": "20s"},
        )

    def _upstream(self, case: Case) -> dict[str, Any]:
        port = self.server.listeners[case.listener]
        entry = {"host": "localhost", "port": port, "tls": case.tls}
        login = {"username": USER, "password": case.password} if case.password else {}
        return entry | {"ca_file": str(self._ca_file)} | login

    def send_all(self) -> None:
        for case in self.cases:
            content = complete(case.reverse_path, case.recipient, case.subject, case.body)
            self.send(case, [case.recipient], content)

    def send(self, case: Case, recipients: list[str], content: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self._port, timeout=30) as client:
            client.sendmail(case.reverse_path, recipients, content, ["BODY=8BITMIME"])

    def mend(self) -> None:
        """Every upstream as it should be, and tell the relay."""
        right = [
            replace(case, listener="implicit", tls="implicit", password=PASSWORD)
            for case in self.cases
        ]
        self.relay.config_file.write_text(self._config(right))
        self.relay.verb("reload", check=True)

    def event(self, case: Case, *names: str) -> Event:
        """The first of these events that tells of the case's tenant."""
        return self._events(*names, tenant=case.name)[0]

    def told_of(self, content: bytes, *names: str) -> list[Event]:
        """These events of the message that has this content."""
        message_id = email.message_from_bytes(content)["Message-ID"]
        return self._events(*names, message_id=message_id)

    def _events(self, *names: str, **fields: str) -> list[Event]:
        """As soon as there is one."""
        deadline = time.monotonic() + 60
        while True:
            events = [event for event in self.relay.events() if event["event"] in names]
            if found := [event for event in events if fields.items() <= event.items()]:
                return found
            assert time.monotonic() < deadline, f"no {names} of {fields}"
            time.sleep(0.05)

    def arrived(self, sent: Event) -> bytes:
        """What the server kept of a message, as it was before the server and the relay put their
        fields on top; with the line ends that it had on its way."""
        deadline = time.monotonic() + 60
        while True:
            for kept in self.server.kept():
                content = kept.replace(b"\n", b"\r\n")
                found = RECEIVED.search(content)
                if found and found["queue_id"].decode() == sent["queue_id"]:
                    return content[found.end() :]
            assert time.monotonic() < deadline, f"{sent['message_id']} did not arrive"
            time.sleep(0.05)

    @functools.cached_property
    def states(self) -> dict[str, str]:
        """By tenant: where its mail is, by the verbs that list it, once each was tried."""
        for case in self.cases:
            self.event(case, "email.sent", "email.deferred", "email.dead_lettered")
        lists = {state: self.relay.listing(state, "list") for state in ("queue", "dead")}
        return {row["tenant"]: state for state, rows in lists.items() for row in rows}


@pytest.fixture(scope="module", params=SERVERS)
def site(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    with SERVERS[request.param](certificates) as server:
        site = Site(request.param, server, folder, certificates)
        with site.relay:
            site.send_all()
            yield site


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_what_is_right_arrives_octet_for_octet(site: Site, case: Case):
    sent = site.event(case, "email.sent", "email.deferred")
    assert (sent["event"], sent["tls"]["mode"], sent["tls"]["version"]) == (
        "email.sent",
        case.tls,
        "TLSv1.3",
    )
    assert site.arrived(sent) == complete(case.reverse_path, RECIPIENT)


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_the_servers_log_names_the_same_message(site: Site, case: Case):
    """By the number that it gave with its 250."""
    sent = site.event(case, "email.sent")
    number = site.server.queued_as.search(sent["reply"]["text"])
    assert number, sent["reply"]
    for words in site.server.logged:
        said = [word.format(sender=case.reverse_path) for word in words]
        site.server.wait_for_log(number[1], *said)


def test_of_two_recipients_the_good_one_gets_it(site: Site):
    case, subject = RIGHT[0], "two recipients"
    content = complete(case.reverse_path, RECIPIENT, subject)
    site.send(case, [RECIPIENT, NOBODY], content)
    sent, failed = site.told_of(content, "email.sent"), site.told_of(content, "email.send_failed")
    assert [event["recipients"] for event in sent] == [[RECIPIENT]]
    assert [event["recipients"] for event in failed] == [[NOBODY]]
    assert site.arrived(sent[0]) == content


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_many_over_few_connections_arrive_once_each(site: Site, case: Case):
    contents = [complete(case.reverse_path, RECIPIENT, f"number {n}") for n in range(20)]
    for content in contents:
        site.send(case, [RECIPIENT], content)
    sent = [event for content in contents for event in site.told_of(content, "email.sent")]
    assert [site.arrived(event) for event in sent] == contents
    kept = site.server.kept()
    for event in sent:
        assert sum(event["queue_id"].encode() in content for content in kept) == 1


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_what_is_wrong_has_its_cause(site: Site, case: Case):
    if case not in site.cases:
        pytest.skip(f"{site.name} can't have such a listener")
    event = site.event(case, "email.deferred", "email.send_failed", "email.sent")
    expected = {server: (cause, scope) for server, cause, scope in case.but}
    assert (event["cause"], event["scope"]) == expected.get(site.name, (case.cause, case.scope))
    assert (event["event"] == "email.send_failed") == case.fails
    assert case.remedy in event["remedy"]
    assert site.states[case.name] == ("dead" if case.fails else "queue")
    site.server.wait_for_log(*LOGGED.get((site.name, case.name), ("",)))


def test_a_check_finds_it_before_any_mail_is_sent(site: Site):
    """All that is wrong with a connection and a login; the rest a server says only to a message."""
    told = site.relay.verb("check", "--connect", "--json").stdout
    rows = [json.loads(line) for line in told.splitlines()]
    found = {row["upstream"]: row["cause"] for row in rows if row["about"] == "upstream"}
    assert found == {
        case.name: case.cause if case.scope == "upstream" else None for case in site.cases
    }


def test_an_upstream_is_paused_for_what_is_its_own(site: Site):
    assert site.states, "each was tried"
    told = site.relay.events("upstream.paused")
    paused = {event["upstream"] for event in told if event["scope"] == "upstream"}
    assert paused == {case.name for case in site.cases if case.cause and case.scope == "upstream"}


def test_a_pause_has_the_remedy_of_the_attempt_that_met_it(site: Site):
    """STARTTLS on 465 is no slow provider: "raise timeouts.reply" sends people the wrong way."""
    assert site.states, "each was tried"
    (case,) = (case for case in WRONG if case.name == "starttls_on_465")
    pauses = site.relay.events("upstream.paused")
    told = next(event for event in pauses if event["upstream"] == case.name)
    remedy = site.event(case, "email.deferred")["remedy"]
    assert told["remedy"] == remedy
    rows = {row["upstream"]: row for row in site.relay.listing("upstream", "list")}
    assert rows[case.name]["remedy"] == remedy
    (row,) = site.relay.listing("queue", "list", "--tenant", case.name)
    assert row["remedy"] == remedy


def test_what_waited_leaves_once_it_is_mended(site: Site):
    """The last of this file: nobody's configuration is wrong after it."""
    waiting = [case for case in site.cases if case.cause and not case.fails]
    site.mend()
    for case in waiting:
        if case.sender or case.recipient != RECIPIENT:
            continue
        sent = site.event(case, "email.sent")
        assert site.arrived(sent) == complete(case.reverse_path, RECIPIENT)
    refused = {case.name for case in waiting if case.sender or case.recipient != RECIPIENT}
    assert {row["tenant"] for row in site.relay.listing("queue", "list")} == refused
