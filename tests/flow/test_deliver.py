"""Handing over, against a real TLS server on loopback that does whatever a test wants."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.certificates import Certificates
from support.ports import free_port
from support.upstream import DROP, SILENCE, STEP_BY_STEP, Slowly, Upstream

from relay.config import schema
from relay.deliver.pool import Pool
from relay.deliver.transaction import Handover
from relay.model.causes import Cause, Scope
from relay.model.result import Attempt, Deferred, Failed, Relayed

CONTENT = b"Subject: hi\r\n\r\nhello\r\n..dotted\r\n"
USERS = {"acme": "s3cret"}


def handover(*recipients: str, content: bytes = CONTENT, **more: Any) -> Handover:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    return Handover(
        reverse_path=more.pop("reverse_path", "shop@acme.example"),
        recipients=recipients or ("a@x.example",),
        size=len(content),
        body_8bit=more.pop("body_8bit", False),
        smtputf8=more.pop("smtputf8", False),
        content=pieces,
    )


def pool_to(
    server: Upstream, certificates: Certificates, limits: dict[str, Any] | None = None, **more: Any
) -> Pool:
    entry: dict[str, Any] = {"host": server.host, "port": server.port, "tls": server.tls}
    if server.tls != "none":
        entry["ca_file"] = str(certificates.ca_file)
    if server.users:
        user, password = next(iter(server.users.items()))
        entry |= {"username": user, "password": password}
    if limits:
        entry["limits"] = limits
    upstream = schema.Upstream.model_validate(entry | more)
    timeouts = schema.Timeouts.model_validate(
        {"connect": "2s", "reply": "500ms", "data_reply": "500ms"}
    )
    return Pool(upstream, "relay.test", timeouts)


@pytest.fixture(params=["implicit", "starttls"])
def tls(request: pytest.FixtureRequest) -> Any:
    return request.param


def server(certificates: Certificates, tls: Any = "implicit", **more: Any) -> Upstream:
    context = None if tls == "none" else certificates.good()
    return Upstream(context, tls=tls, users=more.pop("users", USERS), **more)


async def test_relayed_over_verified_tls_with_auth(certificates: Certificates, tls: Any) -> None:
    async with server(certificates, tls) as upstream:
        attempt = await pool_to(upstream, certificates).hand_over(handover("a@x", "b@x"))
        assert [type(r) for r in attempt.results] == [Relayed, Relayed]
        assert attempt.tls
        assert attempt.tls.mode == tls
        assert attempt.tls.version in {"TLSv1.2", "TLSv1.3"}
        assert attempt.remote_mta == f"localhost[127.0.0.1]:{upstream.port}"
    (taken,) = upstream.transactions
    assert taken.wire == CONTENT
    assert (taken.user, taken.recipients) == ("acme", ("a@x", "b@x"))


@pytest.mark.parametrize("extensions", [None, STEP_BY_STEP])
async def test_refused_recipients_do_not_hold_up_the_others(
    certificates: Certificates, extensions: Any
) -> None:
    script = {"rcpt": {"bad@x": "550 5.1.1 no such user", "grey@x": "450 4.2.0 later"}}
    more = {"extensions": extensions} if extensions else {}
    async with server(certificates, script=script, **more) as upstream:
        pool = pool_to(upstream, certificates)
        attempt = await pool.hand_over(handover("bad@x", "good@x", "grey@x"))
        assert [type(r) for r in attempt.results] == [Failed, Relayed, Deferred]
        assert upstream.transactions[0].recipients == ("good@x",)
        none = await pool.hand_over(handover("bad@x", "grey@x"))
        assert [type(r) for r in none.results] == [Failed, Deferred]
        again = await pool.hand_over(handover("good@x"))
        assert isinstance(again.results[0], Relayed)
    assert upstream.connections == 1


@pytest.mark.parametrize("extensions", [None, STEP_BY_STEP])
@pytest.mark.parametrize(
    ("script", "kind", "cause", "scope"),
    [
        ({"banner": "554 5.3.2 closed"}, Deferred, Cause.UPSTREAM_UNAVAILABLE, Scope.UPSTREAM),
        ({"ehlo": DROP}, Deferred, Cause.CONNECTION_LOST, Scope.UPSTREAM),
        ({"auth": "535 5.7.8 no"}, Deferred, Cause.AUTHENTICATION_FAILED, Scope.UPSTREAM),
        ({"auth": "454 4.7.0 no"}, Deferred, Cause.AUTHENTICATION_FAILED, Scope.UPSTREAM),
        ({"mail": "550 5.7.60 not you"}, Deferred, Cause.SENDER_REFUSED, Scope.TENANT),
        ({"mail": "451 4.7.1 later"}, Deferred, Cause.SENDER_REFUSED, Scope.MESSAGE),
        ({"mail": "421 4.3.2 bye"}, Deferred, Cause.UPSTREAM_UNAVAILABLE, Scope.UPSTREAM),
        ({"rcpt": "550 5.1.1 no"}, Failed, Cause.RECIPIENT_REFUSED, Scope.RECIPIENT),
        ({"data": "554 5.6.0 no"}, Failed, Cause.MESSAGE_REFUSED, Scope.MESSAGE),
        ({"dot": "554 5.7.1 spam"}, Failed, Cause.MESSAGE_REFUSED, Scope.MESSAGE),
        ({"dot": "452 4.3.1 full"}, Deferred, Cause.MESSAGE_REFUSED, Scope.MESSAGE),
        ({"dot": "552 5.3.4 big"}, Failed, Cause.MESSAGE_TOO_LARGE, Scope.MESSAGE),
        ({"dot": DROP}, Deferred, Cause.OUTCOME_UNKNOWN, Scope.MESSAGE),
        ({"dot": SILENCE}, Deferred, Cause.OUTCOME_UNKNOWN, Scope.MESSAGE),
        ({"mail": DROP}, Deferred, Cause.CONNECTION_LOST, Scope.UPSTREAM),
        ({"rcpt": SILENCE}, Deferred, Cause.REPLY_TIMEOUT, Scope.UPSTREAM),
        ({"data": DROP}, Deferred, Cause.CONNECTION_LOST, Scope.UPSTREAM),
        ({"mail": "999 what"}, Deferred, Cause.PROTOCOL_ERROR, Scope.UPSTREAM),
    ],
)
async def test_failures(
    certificates: Certificates, script: Any, kind: Any, cause: Cause, scope: Scope, extensions: Any
) -> None:
    more = {"extensions": extensions} if extensions else {}
    async with server(certificates, script=script, **more) as upstream:
        attempt = await pool_to(upstream, certificates).hand_over(handover())
    (result,) = attempt.results
    assert isinstance(result, kind), result
    assert (result.cause, result.scope) == (cause, scope), result
    assert not upstream.transactions


async def refused_by(pool: Pool) -> Deferred:
    (result,) = (await pool.hand_over(handover())).results
    assert isinstance(result, Deferred)
    assert result.scope is Scope.UPSTREAM
    return result


async def test_nobody_listens(certificates: Certificates) -> None:
    upstream = server(certificates)
    upstream.port = free_port()
    result = await refused_by(pool_to(upstream, certificates))
    assert result.cause is Cause.CONNECTION_REFUSED


async def test_a_name_that_does_not_exist(certificates: Certificates) -> None:
    upstream = server(certificates)
    upstream.port = 465
    result = await refused_by(pool_to(upstream, certificates, host="no-such-host.invalid"))
    assert result.cause is Cause.DNS_FAILURE


async def test_implicit_tls_to_a_starttls_port(certificates: Certificates) -> None:
    async with server(certificates, "starttls") as upstream:
        result = await refused_by(pool_to(upstream, certificates, tls="implicit"))
    assert result.cause is Cause.TLS_HANDSHAKE_FAILED


async def test_starttls_to_an_implicit_port(certificates: Certificates) -> None:
    async with server(certificates, "implicit") as upstream:
        result = await refused_by(pool_to(upstream, certificates, tls="starttls"))
        await asyncio.sleep(0.05)  # the server, in its handshake, has to see that we went
    # It waits for our hello as we wait for its banner.
    assert result.cause is Cause.REPLY_TIMEOUT


async def test_starttls_not_offered_sends_no_credentials(certificates: Certificates) -> None:
    async with server(certificates, "none") as upstream:
        entry = {"tls": "starttls", "ca_file": str(certificates.ca_file)}
        result = await refused_by(pool_to(upstream, certificates, **entry))
    assert result.cause is Cause.STARTTLS_UNAVAILABLE
    assert not [line for _, line in upstream.commands if line.startswith(("AUTH", "MAIL"))]


async def test_a_certificate_that_nobody_vouches_for(certificates: Certificates, tls: Any) -> None:
    async with server(certificates, tls) as upstream:
        result = await refused_by(pool_to(upstream, certificates, ca_file=None))
    assert result.cause is Cause.CERTIFICATE_INVALID
    assert not [line for _, line in upstream.commands if line.startswith(("AUTH", "MAIL"))]


async def test_a_certificate_for_another_name(certificates: Certificates, tls: Any) -> None:
    async with Upstream(certificates.wrong_name(), tls=tls, users=USERS) as upstream:
        result = await refused_by(pool_to(upstream, certificates))
    assert result.cause is Cause.CERTIFICATE_INVALID


async def test_an_expired_certificate(certificates: Certificates, tls: Any) -> None:
    async with Upstream(certificates.expired(), tls=tls, users=USERS) as upstream:
        result = await refused_by(pool_to(upstream, certificates))
    assert result.cause is Cause.CERTIFICATE_INVALID


async def test_a_wrong_password(certificates: Certificates) -> None:
    async with server(certificates) as upstream:
        result = await refused_by(pool_to(upstream, certificates, password="wrong"))
    assert result.cause is Cause.AUTHENTICATION_FAILED
    assert "wrong" not in result.detail


async def test_too_large_or_not_ascii_is_not_even_tried(certificates: Certificates) -> None:
    async with server(certificates, extensions=("PIPELINING", "SIZE 1000")) as upstream:
        pool = pool_to(upstream, certificates)
        large = await pool.hand_over(handover(content=b"x" * 1500))
        assert isinstance(large.results[0], Failed)
        assert large.results[0].cause is Cause.MESSAGE_TOO_LARGE
        foreign = await pool.hand_over(handover(smtputf8=True))
        assert isinstance(foreign.results[0], Failed)
        assert foreign.results[0].cause is Cause.SMTPUTF8_UNSUPPORTED
    assert not [line for _, line in upstream.commands if line.startswith("MAIL")]


async def test_parameters_go_only_where_they_are_offered(certificates: Certificates) -> None:
    async with server(certificates, extensions=()) as upstream:
        await pool_to(upstream, certificates).hand_over(handover(body_8bit=True))
    assert upstream.transactions[0].parameters == ""
    async with server(certificates) as upstream:
        pool = pool_to(upstream, certificates)
        await pool.hand_over(handover(body_8bit=True, smtputf8=True, reverse_path=""))
    (taken,) = upstream.transactions
    assert taken.parameters == f"SIZE={len(CONTENT)} BODY=8BITMIME SMTPUTF8"
    assert taken.reverse_path == ""


async def test_connections_are_used_again_up_to_their_limit(certificates: Certificates) -> None:
    async with server(certificates) as upstream:
        pool = pool_to(upstream, certificates, limits={"messages_per_connection": 3})
        for _ in range(7):
            assert isinstance((await pool.hand_over(handover())).results[0], Relayed)
        assert upstream.connections == 3
        pool.close()


async def test_an_idle_connection_is_ended(certificates: Certificates) -> None:
    async with server(certificates) as upstream:
        pool = pool_to(upstream, certificates, limits={"idle": "50ms"})
        await pool.hand_over(handover())
        assert upstream.open_connections == 1
        async with asyncio.timeout(5):
            while upstream.open_connections:
                await asyncio.sleep(0.01)
        assert upstream.commands[-1][1] == "QUIT"


async def test_a_connection_that_went_stale_is_nobodys_failure(certificates: Certificates) -> None:
    async with server(certificates) as upstream:
        pool = pool_to(upstream, certificates)
        assert isinstance((await pool.hand_over(handover())).results[0], Relayed)
        # Closes at the very moment of the next MAIL, as a server does whose patience has ended.
        upstream.script["mail"] = [DROP]
        assert isinstance((await pool.hand_over(handover())).results[0], Relayed)
        await upstream.stop()
        await upstream.start()
        assert isinstance((await pool.hand_over(handover())).results[0], Relayed)
    assert len(upstream.transactions) == 3


async def test_a_large_content_is_streamed(certificates: Certificates) -> None:
    content = (b"x" * 998 + b"\r\n") * 8000
    async with server(certificates) as upstream:
        attempt = await pool_to(upstream, certificates).hand_over(handover(content=content))
        assert isinstance(attempt.results[0], Relayed)
    assert upstream.transactions[0].wire == content


async def hand_over_to(answer: bytes, certificates: Certificates) -> Attempt:
    """A server without TLS that says ``answer`` to EHLO and then nothing but what is in it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 liar\r\n")
        await reader.readline()
        writer.write(answer)
        await reader.read()
        writer.close()

    liar = await asyncio.start_server(serve, "127.0.0.1", 0)
    stand_in = Upstream()
    stand_in.port = liar.sockets[0].getsockname()[1]
    attempt = await pool_to(stand_in, certificates, host="127.0.0.1").hand_over(handover())
    liar.close()
    await asyncio.sleep(0.05)  # its session has to see that we went
    return attempt


async def test_replies_ahead_of_their_commands_relay_nothing(certificates: Certificates) -> None:
    ahead = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 taken\r\n"
    attempt = await hand_over_to(b"250-liar\r\n250 PIPELINING\r\n" + ahead, certificates)
    assert isinstance(attempt.results[0], Deferred)


async def test_a_reply_to_the_dot_before_the_dot_relays_nothing(certificates: Certificates) -> None:
    script = {"data": "354 go\n250 2.0.0 taken already"}

    async with server(certificates, script=script) as upstream:
        upstream.script = {"data": "354 go ahead\r\n250 2.0.0 taken already"}
        attempt = await pool_to(upstream, certificates).hand_over(
            handover(content=b"x\r\n" * 99999)
        )
    assert isinstance(attempt.results[0], Deferred)


@pytest.mark.parametrize("answer", [b"250 " + b"x" * 9000 + b"\r\n", b"250-x\r\n" * 9999])
async def test_endless_replies_are_cut_off(certificates: Certificates, answer: bytes) -> None:
    async with server(certificates) as upstream:
        pool = pool_to(upstream, certificates)
        await pool.hand_over(handover())
        upstream.script["mail"] = answer.decode().rstrip("\r\n")
        (result,) = (await pool.hand_over(handover())).results
    assert isinstance(result, Deferred)
    assert result.cause is Cause.PROTOCOL_ERROR


async def test_slow_is_not_silent(certificates: Certificates) -> None:
    async with server(certificates, script={"dot": Slowly(0.3)}) as upstream:
        attempt = await pool_to(upstream, certificates).hand_over(handover())
    assert isinstance(attempt.results[0], Relayed)
