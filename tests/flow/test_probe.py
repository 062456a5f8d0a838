"""Probing an upstream, against real servers on loopback: every step, and where it fails."""

import asyncio
import contextlib
import datetime
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme
from support.certificates import NAMES, Certificates
from support.configs import upstream_entry
from support.ports import free_port
from support.upstream import DROP, SILENCE, Script, Slowly, TlsMode, Upstream

from relay.config import schema
from relay.deliver.connection import connect
from relay.deliver.masking import Masking
from relay.deliver.pool import Pool
from relay.deliver.probe import Probe, probe, probe_all
from relay.deliver.transaction import Handover
from relay.deliver.watched import kit_for, say_goodbye
from relay.deliver.watching import Watch
from relay.model.causes import REMEDIES, Cause
from relay.model.result import Deferred

USERS = {"acme": "s3cret-words"}
TIMEOUTS = schema.Timeouts.model_validate(
    {"connect": "800ms", "reply": "500ms", "data_reply": "500ms"}
)
IMPLICIT = ["dns", "tcp", "tls", "banner", "ehlo", "auth", "quit"]
STARTTLS = ["dns", "tcp", "banner", "ehlo", "starttls", "tls", "ehlo", "auth", "quit"]


def entry(server: Upstream, certificates: Certificates, **more: Any) -> schema.Upstream:
    ca_file = certificates.ca_file if server.tls != "none" else None
    section = upstream_entry(server, ca_file, **more) | {"(name)": "up"}
    return schema.Upstream.model_validate(section)


def server_for(certificates: Certificates, tls: TlsMode, script: Script | None = None) -> Upstream:
    context = None if tls == "none" else certificates.good()
    return Upstream(context, tls=tls, users=USERS, script=script)


async def probed(server: Upstream, certificates: Certificates, **more: Any) -> Probe:
    async with server:
        return await probe(entry(server, certificates, **more), "relay.test", TIMEOUTS)


def names(found: Probe) -> list[str]:
    return [step.name for step in found.steps]


@pytest.mark.parametrize(
    ("tls", "steps"),
    [
        ("implicit", IMPLICIT),
        ("starttls", STARTTLS),
        ("none", ["dns", "tcp", "banner", "ehlo", "auth", "quit"]),
    ],
)
async def test_every_step_in_the_order_of_the_mode(
    certificates: Certificates, tls: Any, steps: list[str]
) -> None:
    server = server_for(certificates, tls)
    found = await probed(server, certificates)
    assert names(found) == steps
    assert found.failure is None
    assert all(step.duration_s >= 0 for step in found.steps)
    details = {step.name: step.detail for step in found.steps}
    assert details["dns"] == "127.0.0.1"
    assert "AUTH PLAIN LOGIN" in details["ehlo"]
    assert details["auth"].startswith("235")
    # It is no mail that goes.
    assert not [line for _, line in server.commands if line.startswith("MAIL")]
    assert server.commands[-1][1] == "QUIT"


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_what_the_certificate_says(certificates: Certificates, tls: Any) -> None:
    found = await probed(server_for(certificates, tls), certificates)
    assert found.certificate
    assert found.certificate.names == NAMES
    assert found.certificate.expires_at > time.time()
    assert found.tls
    assert found.tls.mode == tls
    (step,) = [step for step in found.steps if step.name == "tls"]
    assert found.tls.version in step.detail
    assert "verified" in step.detail


def short_lived(certificates: Certificates) -> ssl.SSLContext:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10, hours=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority: trustme.CA = certificates._ca
    authority.issue_cert(*NAMES, not_after=end).configure_cert(context)
    return context


async def test_a_certificate_that_expires_soon_is_a_warning(certificates: Certificates) -> None:
    server = Upstream(short_lived(certificates), tls="implicit", users=USERS)
    found = await probed(server, certificates)
    assert found.failure is None
    assert found.warnings == ("the server's certificate expires in 10 days: have it renewed",)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("expired", "certificate has expired"),
        ("self_signed", "self-signed certificate"),
        ("wrong_name", "elsewhere.example"),
        ("untrusted", "unable to get local issuer"),
    ],
)
async def test_certificates_that_are_found_wanting(
    certificates: Certificates, tls: Any, shown: str, said: str
) -> None:
    server = Upstream(getattr(certificates, shown)(), tls=tls, users=USERS)
    found = await probed(server, certificates)
    assert found.failure
    assert (found.failure.name, found.failure.cause) == ("tls", Cause.CERTIFICATE_INVALID)
    assert found.failure.remedy == REMEDIES[Cause.CERTIFICATE_INVALID]
    assert said in found.failure.detail
    assert found.certificate
    assert (found.certificate.expires_at < time.time()) == (shown == "expired")
    # To look at it, nobody has logged in.
    assert not [line for _, line in server.commands if line.startswith("AUTH")]


@pytest.mark.parametrize(
    ("tls", "script", "step", "cause"),
    [
        ("implicit", {"banner": "554 5.3.2 closed"}, "banner", Cause.UPSTREAM_UNAVAILABLE),
        ("implicit", {"banner": SILENCE}, "banner", Cause.REPLY_TIMEOUT),
        ("none", {"banner": DROP}, "banner", Cause.CONNECTION_LOST),
        ("implicit", {"ehlo": SILENCE}, "ehlo", Cause.REPLY_TIMEOUT),
        ("implicit", {"ehlo": "250 only greetings"}, "auth", Cause.AUTHENTICATION_FAILED),
        ("starttls", {"ehlo": "250 only greetings"}, "starttls", Cause.STARTTLS_UNAVAILABLE),
        ("starttls", {"starttls": "454 4.7.0 no TLS"}, "starttls", Cause.STARTTLS_UNAVAILABLE),
        ("starttls", {"starttls": DROP}, "starttls", Cause.TLS_HANDSHAKE_FAILED),
        ("implicit", {"auth": "535 5.7.8 no"}, "auth", Cause.AUTHENTICATION_FAILED),
        ("implicit", {"auth": DROP}, "auth", Cause.CONNECTION_LOST),
    ],
)
async def test_the_step_that_failed_and_why_is_what_mail_meets(
    certificates: Certificates, tls: Any, script: Script, step: str, cause: Cause
) -> None:
    server = server_for(certificates, tls, script)
    async with server:
        upstream = entry(server, certificates)
        found = await probe(upstream, "relay.test", TIMEOUTS)
        pool = Pool(upstream, "relay.test", TIMEOUTS)
        attempt = await pool.hand_over(
            Handover("shop@acme.example", ("a@x.example",), 0, False, False, content=_nothing)
        )
    assert found.failure
    assert (found.failure.name, found.failure.cause) == (step, cause)
    assert found.failure is found.steps[-1]
    (result,) = attempt.results
    assert isinstance(result, Deferred)
    assert (result.cause, result.remedy) == (found.failure.cause, found.failure.remedy)


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(converse: Conversation) -> AsyncIterator[int]:
    """The port of a server that has this to say, once, and hangs up."""
    over = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await converse(reader, writer)
        writer.transport.abort()
        over.set()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait_for(over.wait(), 5)


async def _nothing() -> Any:
    yield b""


async def test_a_closed_port(certificates: Certificates) -> None:
    server = server_for(certificates, "implicit")
    server.port = free_port()
    found = await probe(entry(server, certificates), "relay.test", TIMEOUTS)
    assert names(found) == ["dns", "tcp"]
    assert found.failure
    assert found.failure.cause is Cause.CONNECTION_REFUSED
    assert found.certificate is None


async def test_a_name_that_nobody_has(certificates: Certificates) -> None:
    server = server_for(certificates, "implicit")
    upstream = entry(server, certificates, host="nobody.invalid", port=465)
    found = await probe(upstream, "relay.test", schema.Timeouts())
    assert names(found) == ["dns"]
    assert found.failure
    assert found.failure.cause is Cause.DNS_FAILURE


@pytest.mark.parametrize(
    ("spoken", "configured", "step", "cause"),
    [
        ("starttls", "implicit", "tls", Cause.TLS_HANDSHAKE_FAILED),
        ("implicit", "starttls", "banner", Cause.REPLY_TIMEOUT),
    ],
)
async def test_the_wrong_tls_mode(
    certificates: Certificates, spoken: Any, configured: str, step: str, cause: Cause
) -> None:
    found = await probed(server_for(certificates, spoken), certificates, tls=configured)
    assert found.failure
    assert (found.failure.name, found.failure.cause) == (step, cause)
    assert "tls" in str(found.failure.remedy)


async def test_a_server_that_is_silent_in_the_handshake() -> None:
    """Mail calls it a time-out of the connection, of which TLS is a part; the remedy is TLS's."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(say_nothing) as port:
        section = {"host": "localhost", "port": port, "tls": "implicit"}
        upstream = schema.Upstream.model_validate(section)
        found = await probe(upstream, "relay.test", TIMEOUTS)
    assert found.failure
    assert (found.failure.name, found.failure.cause) == ("tls", Cause.CONNECT_TIMEOUT)
    assert found.failure.remedy == REMEDIES[Cause.TLS_HANDSHAKE_FAILED]


async def test_what_is_amiss_on_this_side(certificates: Certificates, tmp_path: Any) -> None:
    server = server_for(certificates, "implicit")
    async with server:
        upstream = entry(server, certificates, password=f"file:{tmp_path}/none")
        no_secret = await probe(upstream, "relay.test", TIMEOUTS)
        upstream = entry(server, certificates).model_copy(update={"ca_file": tmp_path / "none"})
        no_ca = await probe(upstream, "relay.test", TIMEOUTS)
    assert no_secret.failure
    assert (no_secret.failure.name, no_secret.failure.cause) == (
        "auth",
        Cause.AUTHENTICATION_FAILED,
    )
    assert f"{tmp_path}/none" in no_secret.failure.detail
    assert no_ca.failure
    assert (names(no_ca), no_ca.failure.cause) == (["tls"], Cause.CERTIFICATE_INVALID)


async def test_an_upstream_that_takes_no_auth_and_says_no_goodbye() -> None:
    server = Upstream(script={"quit": DROP})
    async with server:
        section = {"host": "localhost", "port": server.port, "tls": "none"}
        upstream = schema.Upstream.model_validate(section)
        found = await probe(upstream, "relay.test", TIMEOUTS)
    assert names(found) == ["dns", "tcp", "banner", "ehlo", "quit"]
    assert found.failure is None
    assert found.steps[-1].detail == "no answer"


async def test_one_that_hangs_costs_the_others_nothing(certificates: Certificates) -> None:
    slow = {"ehlo": Slowly(0.3)}
    script: Script = {"ehlo": SILENCE}
    servers = [server_for(certificates, "implicit", slow) for _ in range(3)]
    hanging = server_for(certificates, "starttls", script)
    for server in (*servers, hanging):
        await server.start()
    try:
        upstreams = [entry(server, certificates) for server in (hanging, *servers)]
        began = time.monotonic()
        found = await probe_all(upstreams, "relay.test", TIMEOUTS)
        elapsed_s = time.monotonic() - began
    finally:
        for server in (*servers, hanging):
            await server.stop()
    assert [probe.failure is None for probe in found] == [False, True, True, True]
    assert max(probe.duration_s for probe in found) <= elapsed_s
    # One after another they would take as long as all of them together.
    assert elapsed_s < sum(probe.duration_s for probe in found)


@pytest.mark.parametrize("offered", ["PLAIN", "LOGIN"])
async def test_auth_is_masked_whatever_the_secret_is(
    certificates: Certificates, offered: str
) -> None:
    """Not only where it is recognised: here nothing is known of it."""
    server = server_for(certificates, "none", {"ehlo": f"250 hi\n250 AUTH {offered}"})
    async with server:
        upstream = entry(server, certificates)
        watch = Watch(Masking(upstream.model_copy(update={"password": None})))
        connection = await connect(upstream, "relay.test", TIMEOUTS, None, (), kit_for(watch))
        await say_goodbye(connection.wire)
    ours = [line.text for line in watch.lines if line.speaker == "client"]
    answers = {"PLAIN": ["AUTH PLAIN ****"], "LOGIN": ["AUTH LOGIN ****", "****"]}
    assert ours == ["EHLO relay.test", *answers[offered], "QUIT"]


async def test_each_line_of_cram_md5_is_masked() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = ["220 hi", "250-hi\r\n250 AUTH CRAM-MD5", "334 PDFAaGk+", "235 in", "221 bye"]
        for answer in answers:
            writer.write(f"{answer}\r\n".encode())
            await reader.readline()

    async with listening(converse) as port:
        login = {"username": "acme", "password": "s3cret-words"}
        section = {"host": "localhost", "port": port, "tls": "none"} | login
        upstream = schema.Upstream.model_validate(section)
        watch = Watch(Masking(upstream))
        connection = await connect(upstream, "relay.test", TIMEOUTS, None, (), kit_for(watch))
        assert await say_goodbye(connection.wire) == "221 bye"
    ours = [line.text for line in watch.lines if line.speaker == "client"]
    assert ours == ["EHLO relay.test", "AUTH CRAM-MD5", "****", "QUIT"]


@pytest.mark.parametrize("answer", ["535 5.7.8 no {}", "535-5.7.8 no\n535 {}", "454 4.7.0 {}"])
async def test_a_secret_that_the_server_repeats_is_not_told(
    certificates: Certificates, answer: str
) -> None:
    (password,) = USERS.values()
    server = server_for(certificates, "implicit", {"auth": answer.format(password)})
    found = await probed(server, certificates)
    assert found.failure
    assert "****" in found.failure.detail
    assert password not in repr(found)
