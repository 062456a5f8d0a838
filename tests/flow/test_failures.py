"""Every failure decides itself: one relay, a tenant with an upstream of its own for each case, all
at once. Each upstream fails in its own way, is mended, and then has to have what it is owed.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from support.certificates import Certificates
from support.configs import QUICKLY, upstream_entry
from support.trail import Trail
from support.upstream import (
    DROP,
    EXTENSIONS,
    SILENCE,
    Script,
    Slowly,
    TlsMode,
    Upstream,
)

from relay.model.causes import REMEDIES, Cause
from relay.queue.sqlite.admin import Administration
from relay.record.audit import json_line

# One loop and one relay for the whole module.
pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUTS = {"connect": "1500ms", "reply": "1500ms", "data_reply": "1500ms", "drain": "1s"}
# A tenth of it would do; but the machine may be busy.
UNHINDERED_S = 3

SPEAKS_FOR_ITSELF = {Cause.STARTTLS_UNAVAILABLE, Cause.SMTPUTF8_UNSUPPORTED}

BYE = "421 4.3.2 closing"
LATER = "451 4.3.0 later"
NO = "550 5.7.1 no"


@dataclass(frozen=True)
class Case:
    """What is wrong with an upstream, and what has to come of it.

    ``tls`` is what the configuration says, ``speaks`` what the server does. ``messages`` are sent
    at once, each of which fails. ``holds``: what is paused. ``dead``: the mail is not tried again.
    ``remedy``: where it is another than the cause's own.
    """

    name: str
    cause: Cause
    scope: str = "upstream"
    holds: Literal["upstream", "sender"] | None = "upstream"
    messages: int = 1
    dead: bool = False
    remedy: str = ""
    script: Script = field(default_factory=dict)
    tls: TlsMode = "none"
    speaks: TlsMode | None = None
    certificate: str = "good"
    extensions: tuple[str, ...] = EXTENSIONS
    subject: str = "hi"
    absent: Literal["closed", "deaf"] | None = None

    @property
    def reply(self) -> str | None:
        """What the upstream says, where it says anything."""
        (answer,) = self.script.values() or (None,)
        return answer if isinstance(answer, str) and answer[:1].isdigit() else None

    @property
    def sender(self) -> str:
        return f"shop@{self.name}.example"


def before_mail(phase: str, answer: Any, cause: Cause, **more: Any) -> Case:
    """Whatever it is, the upstream is at fault."""
    return Case(_name(phase, answer), cause, script={phase: answer}, **more)


def doubtful(phase: str, answer: Any, cause: Cause, **more: Any) -> Case:
    """It may be the message; but when a second one meets it, the upstream is at fault."""
    return before_mail(phase, answer, cause, messages=2, **more)


def transient(phase: str, answer: Any, cause: Cause, scope: str, **more: Any) -> Case:
    """The message waits, and nothing else does."""
    return Case(_name(phase, answer), cause, scope, holds=None, script={phase: answer}, **more)


def permanent(phase: str, answer: Any, cause: Cause, scope: str, **more: Any) -> Case:
    """The message becomes a dead letter, and nothing else waits."""
    return transient(phase, answer, cause, scope, dead=True, **more)


def _name(phase: str, answer: Any) -> str:
    """550-5-4-5-at-dot: it has to do for a domain."""
    words = {DROP: "drop", SILENCE: "silence"}
    said = words.get(answer) or "-".join(re.findall(r"\d+", answer)[:4]) or "garbage"
    return f"{said}-at-{phase}"


THE_LOGIN = "can't check the login at present"
OR_TLS = "set tls: implicit"
SAID_LATER = 'the server said "later"'

CASES = [
    Case("closed", Cause.CONNECTION_REFUSED, absent="closed"),
    Case("deaf", Cause.CONNECT_TIMEOUT, absent="deaf"),
    # -- silence
    before_mail("banner", SILENCE, Cause.REPLY_TIMEOUT, remedy=OR_TLS),
    before_mail("ehlo", SILENCE, Cause.REPLY_TIMEOUT),
    before_mail("starttls", SILENCE, Cause.TLS_HANDSHAKE_FAILED, tls="starttls"),
    before_mail("auth", SILENCE, Cause.REPLY_TIMEOUT),
    doubtful("mail", SILENCE, Cause.REPLY_TIMEOUT),
    doubtful("rcpt", SILENCE, Cause.REPLY_TIMEOUT),
    doubtful("data", SILENCE, Cause.REPLY_TIMEOUT),
    transient("dot", SILENCE, Cause.OUTCOME_UNKNOWN, "message"),
    # -- it hangs up
    before_mail("banner", DROP, Cause.CONNECTION_LOST),
    before_mail("ehlo", DROP, Cause.CONNECTION_LOST),
    before_mail("starttls", DROP, Cause.TLS_HANDSHAKE_FAILED, tls="starttls"),
    before_mail("auth", DROP, Cause.CONNECTION_LOST),
    doubtful("mail", DROP, Cause.CONNECTION_LOST),
    doubtful("rcpt", DROP, Cause.CONNECTION_LOST),
    doubtful("data", DROP, Cause.CONNECTION_LOST),
    transient("dot", DROP, Cause.OUTCOME_UNKNOWN, "message"),
    # -- 421
    before_mail("banner", BYE, Cause.UPSTREAM_UNAVAILABLE),
    before_mail("ehlo", BYE, Cause.UPSTREAM_UNAVAILABLE),
    before_mail("starttls", BYE, Cause.UPSTREAM_UNAVAILABLE, tls="starttls"),
    before_mail("auth", BYE, Cause.UPSTREAM_UNAVAILABLE),
    doubtful("mail", BYE, Cause.UPSTREAM_UNAVAILABLE),
    doubtful("rcpt", BYE, Cause.UPSTREAM_UNAVAILABLE),
    doubtful("data", BYE, Cause.UPSTREAM_UNAVAILABLE),
    doubtful("dot", BYE, Cause.UPSTREAM_UNAVAILABLE),
    # -- TLS
    Case("implicit-to-plain", Cause.TLS_HANDSHAKE_FAILED, tls="implicit", speaks="none"),
    Case("implicit-to-starttls", Cause.TLS_HANDSHAKE_FAILED, tls="implicit", speaks="starttls"),
    # It waits for our hello as we wait for its banner.
    Case("starttls-to-implicit", Cause.REPLY_TIMEOUT, tls="starttls", speaks="implicit",
         remedy=OR_TLS),
    Case("plain-to-implicit", Cause.REPLY_TIMEOUT, tls="none", speaks="implicit",
         remedy=OR_TLS),
    Case("starttls-not-offered", Cause.STARTTLS_UNAVAILABLE, tls="starttls", speaks="none"),
    before_mail("starttls", "454 4.7.0 no TLS", Cause.STARTTLS_UNAVAILABLE, tls="starttls"),
    *(
        Case(f"{kind}-{tls}", Cause.CERTIFICATE_INVALID, certificate=kind, tls=tls)
        for kind in ("expired", "self_signed", "untrusted", "wrong_name")
        for tls in ("implicit", "starttls")
    ),
    # -- the login
    before_mail("auth", "535 5.7.8 wrong", Cause.AUTHENTICATION_FAILED),
    before_mail("auth", "534 5.7.9 app password", Cause.AUTHENTICATION_FAILED),
    before_mail("auth", "454 4.7.0 later", Cause.AUTHENTICATION_FAILED, remedy=THE_LOGIN),
    before_mail("auth", "530 5.7.0 TLS", Cause.AUTHENTICATION_REQUIRED),
    before_mail("mail", "530 5.7.0 who are you", Cause.AUTHENTICATION_REQUIRED),
    before_mail("rcpt", "530 5.7.0 who are you", Cause.AUTHENTICATION_REQUIRED),
    # -- refusals
    before_mail("banner", "554 5.3.2 no", Cause.UPSTREAM_UNAVAILABLE),
    before_mail("banner", "450 4.3.2 no", Cause.UPSTREAM_UNAVAILABLE),
    before_mail("ehlo", "550 5.7.1 no", Cause.UPSTREAM_UNAVAILABLE),
    before_mail("ehlo", "451 4.3.0 no", Cause.UPSTREAM_UNAVAILABLE),
    Case("550-at-mail", Cause.SENDER_REFUSED, "tenant", "sender", script={"mail": NO}),
    transient("mail", LATER, Cause.SENDER_REFUSED, "message", remedy=SAID_LATER),
    transient("rcpt", LATER, Cause.RECIPIENT_REFUSED, "recipient", remedy=SAID_LATER),
    transient("data", LATER, Cause.MESSAGE_REFUSED, "message", remedy=SAID_LATER),
    transient("dot", LATER, Cause.MESSAGE_REFUSED, "message", remedy=SAID_LATER),
    permanent("rcpt", NO, Cause.RECIPIENT_REFUSED, "recipient"),
    permanent("data", NO, Cause.MESSAGE_REFUSED, "message"),
    permanent("dot", NO, Cause.MESSAGE_REFUSED, "message"),
    # -- rates and quotas
    before_mail("mail", "450 4.7.1 too many messages, slow down", Cause.RATE_LIMITED),
    before_mail("dot", "550 5.4.5 daily limit exceeded", Cause.QUOTA_EXCEEDED),
    # -- what is no SMTP
    before_mail("banner", "SSH-x-OpenSSH", Cause.PROTOCOL_ERROR),
    before_mail("ehlo", "what?", Cause.PROTOCOL_ERROR),
    doubtful("mail", "what?", Cause.PROTOCOL_ERROR),
    transient("dot", "what?", Cause.OUTCOME_UNKNOWN, "message"),
    # -- what it does not take
    Case(
        "too-large",
        Cause.MESSAGE_TOO_LARGE,
        "message",
        holds=None,
        dead=True,
        extensions=("PIPELINING", "SIZE 20"),
    ),
    Case(
        "no-smtputf8",
        Cause.SMTPUTF8_UNSUPPORTED,
        "message",
        holds=None,
        dead=True,
        extensions=("PIPELINING", "8BITMIME"),
        subject="Grüße",
    ),
]  # fmt: skip


# Each answers within its time-out, though together they take longer than one.
PHASES: list[tuple[str, TlsMode]] = [
    ("banner", "implicit"), ("ehlo", "none"), ("starttls", "starttls"), ("auth", "none"),
    ("mail", "none"), ("rcpt", "none"), ("data", "none"), ("dot", "none"),
]  # fmt: skip
SLOW = [
    Case(f"slow-at-{phase}", Cause.REPLY_TIMEOUT, script={phase: Slowly(0.7)}, tls=tls)
    for phase, tls in PHASES
]


@dataclass
class Stage:
    """The relay with all its upstreams, and one more, whose tenant knows nothing of troubles."""

    certificates: Certificates
    relay: Any
    trail: Trail
    upstreams: dict[str, Upstream]
    bystander: Upstream
    deaf_ears: dict[str, contextlib.ExitStack] = field(default_factory=dict)

    async def send(self, sender: str, recipients: list[str], subject: str = "hi") -> None:
        parameters = "" if subject.isascii() else " SMTPUTF8"
        content = f"From: {sender}\r\nSubject: {subject}\r\n\r\nhello\r\n.\r\n".encode()
        async with self.relay.dialogue() as client:
            for recipient in recipients:
                await client.say(f"MAIL FROM:<{sender}>{parameters}")
                await client.say(f"RCPT TO:<{recipient}>")
                assert (await client.say("DATA")).startswith("354")
                client.send(content)
                assert (await client.reply()).startswith("250")

    async def send_of_bystander(self, recipient: str) -> None:
        """It gets through, and at once."""
        await self.send("shop@bystander.example", [recipient])
        async with asyncio.timeout(UNHINDERED_S):
            while not any(t.recipients == (recipient,) for t in self.bystander.transactions):
                await asyncio.sleep(0.05)

    async def stored(self, tenant: str, *, dead: bool) -> list[Any]:
        return await asyncio.to_thread(self._stored, tenant, dead)

    def _stored(self, tenant: str, dead: bool) -> list[Any]:
        with Administration(self.relay.folder / "relay.db", json_line) as store:
            return [listed.message for listed in store.messages(dead, tenant)]

    async def mend(self, case: Case) -> None:
        upstream = self.upstreams[case.name]
        upstream.script.clear()
        upstream.extensions = EXTENSIONS
        if case.speaks or case.absent or case.certificate != "good":
            await upstream.stop()
            self.deaf_ears.pop(case.name, contextlib.ExitStack()).close()
            upstream.tls = case.tls
            if case.tls != "none":
                upstream.context = self.certificates.good()
            await upstream.start()


async def play_slow(stage: Stage, case: Case) -> None:
    """No failure at all."""
    await stage.send(case.sender, ["slow@x.example"])
    await stage.trail.told("email.sent", tenant=case.name)
    told = [event["event"] for event in stage.trail.events(upstream=case.name)]
    assert told == ["email.sent"]
    assert len(stage.upstreams[case.name].transactions) == 1


async def play(stage: Stage, case: Case) -> None:
    """One case from the first failure to the end."""
    recipients = [f"{case.name}-{i}@x.example" for i in range(case.messages)]
    await stage.send(case.sender, recipients, case.subject)
    failures = await stage.trail.told(
        "email.send_failed" if case.dead else "email.deferred", case.messages, tenant=case.name
    )
    for failure in failures:
        check_failure(case, failure)
    await stage.send_of_bystander(f"{case.name}@bystander.example")
    if case.dead:
        await check_dead(stage, case)
    else:
        await check_queued(stage, case, failures)
        await stage.mend(case)
    await check_end(stage, case, recipients)


def check_failure(case: Case, failure: dict[str, Any]) -> None:
    said = failure["reply"]
    assert (failure["cause"], failure["scope"]) == (case.cause, case.scope), failure
    assert (case.remedy or REMEDIES[case.cause]) in failure["remedy"], failure
    assert (failure["upstream"], failure["route"]) == (case.name, "tenant")
    if case.reply:
        assert case.reply.startswith(str(said["code"])), failure
    assert said or "detail" in failure or case.cause in SPEAKS_FOR_ITSELF, failure


async def check_queued(stage: Stage, case: Case, failures: list[dict[str, Any]]) -> None:
    """Held back and told of once, however often it is tried in vain."""
    if case.holds:
        await stage.trail.told("upstream.paused", upstream=case.name)
        await stage.trail.told("email.deferred", len(failures) + 1, tenant=case.name)
    queued = await stage.stored(case.name, dead=False)
    assert len(queued) == case.messages
    told = {failure["remedy"] for failure in failures}
    assert {one.remedy for message in queued for one in message.recipients} == told
    assert not await stage.stored(case.name, dead=True)
    paused = stage.trail.events("upstream.paused", upstream=case.name)
    assert [pause["scope"] for pause in paused] == ([case.holds] if case.holds else [])
    for pause in paused:
        assert pause["cause"] == case.cause
        assert pause["remedy"] == failures[0]["remedy"]
        assert pause["sender"] == (case.sender if case.holds == "sender" else None)
    assert not stage.trail.events("upstream.resumed", upstream=case.name)


async def check_dead(stage: Stage, case: Case) -> None:
    (dead,) = await stage.trail.told("email.dead_lettered", tenant=case.name)
    assert dead["cause"] == case.cause
    (message,) = await stage.stored(case.name, dead=True)
    assert [(r.state, r.cause) for r in message.recipients] == [("failed", case.cause)]


async def check_end(stage: Stage, case: Case, recipients: list[str]) -> None:
    upstream = stage.upstreams[case.name]
    taken = [] if case.dead else recipients
    if taken:
        await stage.trail.told("email.sent", len(taken), tenant=case.name)
    if case.holds:
        await stage.trail.told("upstream.resumed", upstream=case.name)
    await asyncio.sleep(0.3)  # for whatever may come that should not
    assert sorted(t.recipients[0] for t in upstream.transactions) == sorted(taken)
    assert not await stage.stored(case.name, dead=False)
    held = [case.holds] if case.holds else []
    for name in ("upstream.paused", "upstream.resumed"):
        told = stage.trail.events(name, upstream=case.name)
        assert [event["scope"] for event in told] == held, (name, told)
    assert len(stage.trail.events("email.dead_lettered", tenant=case.name)) == case.dead
    sent = stage.trail.events("email.sent", tenant=case.name)
    unknown = case.cause is Cause.OUTCOME_UNKNOWN
    assert [event.get("possible_duplicate", False) for event in sent] == [unknown] * len(taken)


def server(case: Case, certificates: Certificates) -> Upstream:
    speaks = case.speaks or case.tls
    return Upstream(
        None if speaks == "none" else getattr(certificates, case.certificate)(),
        tls=speaks,
        users={"acme": "secret"} if "auth" in case.script else {},
        extensions=case.extensions,
        script=dict(case.script),
    )


def entry(case: Case, upstream: Upstream, certificates: Certificates) -> dict[str, Any]:
    ca_file = None if case.tls == "none" else certificates.ca_file
    return upstream_entry(upstream, ca_file) | {"tls": case.tls}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory, relay_in: Any
) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("failures")
    upstreams = {case.name: server(case, certificates) for case in (*CASES, *SLOW)}
    bystander = Upstream()
    await asyncio.gather(*(u.start() for u in (*upstreams.values(), bystander)))
    entries = {c.name: entry(c, upstreams[c.name], certificates) for c in (*CASES, *SLOW)}
    entries["bystander"] = upstream_entry(bystander)
    tenants = {name: {"domains": [f"{name}.example"], "upstream": name} for name in entries}
    deaf_ears = {}
    for case in CASES:
        if case.absent:
            await upstreams[case.name].stop()
        if case.absent == "deaf":
            deaf_ears[case.name] = deaf_ear(upstreams[case.name].port)
    async with relay_in(
        folder, entries, tenants=tenants, timeouts=TIMEOUTS, retry=QUICKLY
    ) as relay:
        yield Stage(certificates, relay, Trail(folder), upstreams, bystander, deaf_ears)
    await asyncio.gather(*(u.stop() for u in (*upstreams.values(), bystander)))


def deaf_ear(port: int) -> contextlib.ExitStack:
    """The port as behind a firewall: Linux drops what asks for a connection while as many wait to
    be accepted as may wait."""
    sockets = contextlib.ExitStack()
    listening = sockets.enter_context(socket.socket())
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(0)
    for _ in range(3):
        waiting = sockets.enter_context(socket.socket())
        waiting.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting.connect(("127.0.0.1", port))
    return sockets


Curtain = Callable[[Case], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played(stage: Stage) -> AsyncIterator[Curtain]:
    """All cases begin together, since nearly all of their time is waiting."""
    plays = {case.name: asyncio.create_task(play(stage, case)) for case in CASES}
    plays |= {case.name: asyncio.create_task(play_slow(stage, case)) for case in SLOW}

    async def end_of(case: Case) -> None:
        await asyncio.shield(plays[case.name])

    yield end_of
    await asyncio.gather(*plays.values(), return_exceptions=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_failure_decides_itself(played: Curtain, case: Case) -> None:
    await played(case)


@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.name)
async def test_slow_is_no_failure(played: Curtain, case: Case) -> None:
    await played(case)


async def test_a_name_that_is_not_found_is_mended_by_a_restart(
    relay_in: Any, tmp_path: Path, certificates: Certificates
) -> None:
    """The next life probes at once, since it may have been started for that."""
    trail = Trail(tmp_path)
    sections = {
        "tenants": {"acme": {"domains": ["acme.example"], "upstream": "up"}},
        "retry": {"first": "200ms", "factor": 100, "longest": "1h", "give_up_after": "2d"},
    }
    async with Upstream(certificates.good(), tls="implicit") as upstream:
        entry = upstream_entry(upstream, certificates.ca_file)
        no_such_host = {"up": entry | {"host": "no-such-host.invalid"}}
        async with (
            relay_in(tmp_path, no_such_host, **sections) as relay,
            relay.dialogue() as client,
        ):
            assert (await client.mail(b"Subject: hi\r\n\r\n")).startswith("250")
            (failure, _) = await trail.told("email.deferred", 2)
            assert (failure["cause"], failure["scope"]) == ("dns_failure", "upstream")
            assert failure["remedy"] == REMEDIES[Cause.DNS_FAILURE]
            (paused,) = trail.events("upstream.paused")
            assert (paused["scope"], paused["cause"]) == ("upstream", "dns_failure")
        async with relay_in(tmp_path, {"up": entry}, **sections):
            await upstream.arrived(1, timeout_s=3)
            await trail.told("upstream.resumed")
    assert len(trail.events("upstream.paused")) == len(trail.events("upstream.resumed")) == 1


@pytest.mark.parametrize("name", ["garbage-at-banner", "garbage-at-ehlo"])
async def test_what_is_no_reply_is_not_told_as_one(
    stage: Stage, played: Curtain, name: str
) -> None:
    failures = await stage.trail.told("email.deferred", tenant=name)
    assert failures[0]["reply"] is None


@pytest.mark.parametrize("name", ["starttls-to-implicit", "plain-to-implicit"])
async def test_the_remedy_of_silence_before_the_banner_names_tls(
    stage: Stage, played: Curtain, name: str
) -> None:
    """With the TLS mode of another port that is what happens: each waits for the other."""
    failures = await stage.trail.told("email.deferred", tenant=name)
    assert "tls" in failures[0]["remedy"]
