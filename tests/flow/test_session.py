"""Sessions by hand: what old devices and hostile clients say, and what they are told."""

import asyncio
import base64
import re
import smtplib
from typing import Any

import pytest
from support.upstream import SILENCE, Upstream

MAIL = b"From: shop@acme.example\r\nSubject: hi\r\n\r\nhello\r\n"
REPLY = re.compile(r"[245]\d\d [245]\.\d{1,3}\.\d{1,3} .+")


async def test_ehlo_offers_what_is_there_and_no_dsn(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue(None) as client:
            assert client.banner == "220 relay.test ESMTP"
            lines = (await client.say("EHLO x")).split("\n")
    assert [line[4:] for line in lines] == [
        "relay.test", "PIPELINING", "SIZE 26214400", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES",
    ]  # fmt: skip


async def test_every_reply_has_an_enhanced_status(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        for line in (
            "NOOP", "RSET", "HELP", "VRFY x", "EXPN x", "XYZZY", "", "AUTH PLAIN", "STARTTLS",
            "DATA", "RCPT TO:<a@b>", "MAIL FROM:nonsense<", "MAIL FROM:<a@b> XX=1",
            "MAIL FROM:<a@acme.example> SIZE=99999999999", "MAIL FROM:<a@acme.example>",
            "MAIL FROM:<a@acme.example>", "RCPT TO:<nodomain>", "DATA", "RCPT TO:<a@b.example>",
            "NOOP " + "x" * 9000, "NO\x07OP", "QUIT",
        ):  # fmt: skip
            assert REPLY.fullmatch(await client.say(line)), line


async def test_helo_only_lf_only_no_header(start_relay: Any) -> None:
    """What an old scanner says: no EHLO, bare LF everywhere, no brackets, no header section."""
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue(None) as client:
            client.send(b"HELO scanner\nMAIL FROM: scan@acme.example\nRCPT TO: a@x.example\nDATA\n")
            for code in ("250", "250", "250", "354"):
                assert (await client.reply()).startswith(code)
            client.send(b"page 1\n..dot\n.\nQUIT\n")
            assert (await client.reply()).startswith("250 2.0.0")
            assert (await client.reply()).startswith("221")
        (taken,) = await upstream.arrived(1)
    assert taken.body == b"page 1\r\n.dot\r\n"
    for name in (b"From: scan@acme.example", b"\r\nDate: ", b"\r\nMessage-ID: <"):
        assert name in taken.header
    assert b"with SMTP id" in taken.header


async def test_everything_in_one_packet_and_half_a_close(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue(None) as client:
            client.send(
                b"EHLO x\r\nMAIL FROM:<shop@acme.example>\r\nRCPT TO:<a@x.example>\r\nDATA\r\n"
                + MAIL + b".\r\nMAIL FROM:<shop@acme.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n"
                + MAIL + b".\r\nQUIT\r\n"
            )  # fmt: skip
            client.writer.write_eof()
            codes = [(await client.reply())[:3] for _ in range(10)]
        taken = await upstream.arrived(2)
    assert codes == ["250", "250", "250", "354", "250", "250", "250", "354", "250", "221"]
    assert {t.recipients for t in taken} == {("a@x.example",), ("b@x.example",)}


async def test_no_message_hides_in_another(start_relay: Any) -> None:
    hidden = b"MAIL FROM:<evil@acme.example>\r\nRCPT TO:<victim@x.example>\r\nDATA\r\nSpoof\r\n"
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue() as client:
            for end in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n"):
                reply = await client.mail(b"Subject: x\r\n\r\nfirst" + end + hidden)
                assert reply.startswith("250")
        taken = await upstream.arrived(6)
        await asyncio.sleep(0.1)
    assert len(taken) == 6
    for transaction in taken:
        assert transaction.recipients == ("a@x.example",)
        assert b"\r\n.\r\n" in b"\r\n" + transaction.content


async def test_an_empty_message_arrives(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        assert (await client.mail(b"")).startswith("250")
        (taken,) = await upstream.arrived(1)
    assert taken.body == b""


async def test_header_and_body_arrive_octet_for_octet(start_relay: Any) -> None:
    header = b"From: \xff\xfe <shop@acme.example>\r\nSubject: a\r\n\tfold\r\nX-Odd : \x01\r\n"
    body = b"nul \0 \x80\xff\r\n\r\n..\r\n" + b"x" * 998 + b"\r\n"
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        wire = header + b"\r\n" + body.replace(b"\r\n..", b"\r\n...")
        assert (await client.mail(wire)).startswith("250")
        (taken,) = await upstream.arrived(1)
    assert header in taken.header
    assert taken.body == body


async def test_lines_up_to_line_length_are_folded_longer_ones_refused(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        assert (await client.mail(b"\r\n" + b"x" * 60_000 + b"\r\n")).startswith("250")
        (taken,) = await upstream.arrived(1)
        assert max(map(len, taken.body.split(b"\r\n"))) == 998
        signed = b"DKIM-Signature: v=1\r\n\r\n" + b"y" * 60_000 + b"\r\n"
        assert (await client.mail(signed)).startswith("250")
        assert b"y" * 60_000 in (await upstream.arrived(2))[1].body
        refused = await client.mail(b"\r\n" + b"x" * 70_000 + b"\r\n")
        assert refused.startswith("500 5.6.0")
        assert (await client.mail(MAIL)).startswith("250")
        await upstream.arrived(3)


async def test_too_large_is_said_behind_the_dot(start_relay: Any) -> None:
    limits = {"message_size": "100KiB"}
    async with Upstream() as upstream, start_relay(upstream, limits=limits) as relay:
        async with relay.dialogue() as client:
            assert (await client.mail(b"\r\n" + b"x\r\n" * 50_000)).startswith("552 5.3.4")
            assert (await client.say("MAIL FROM:<a@acme.example> SIZE=102401")).startswith("552")
            assert (await client.mail(MAIL)).startswith("250")
        await upstream.arrived(1)


async def test_large_content_goes_by_the_spool_file_and_leaves_none(start_relay: Any) -> None:
    body = b"".join(b"%06d" % i + b"z" * 70 + b"\r\n" for i in range(60_000))
    limits = {"memory": "2MiB"}
    async with Upstream() as upstream, start_relay(upstream, limits=limits) as relay:
        async with relay.dialogue() as one, relay.dialogue() as two:
            replies = await asyncio.gather(*(c.mail(MAIL + body) for c in (one, two)))
        assert all(reply.startswith("250") for reply in replies)
        taken = await upstream.arrived(2)
        async with asyncio.timeout(5):
            while any((relay.folder / "relay.db.spool").iterdir()):
                await asyncio.sleep(0.02)
    assert all(t.body == b"hello\r\n" + body for t in taken)


async def test_more_sessions_than_memory_wait_for_one_another(start_relay: Any) -> None:
    """Every session holds a little and wants more: none may starve, none may be refused."""
    body = b"z" * 76 + b"\r\n"
    limits = {"memory": "1MiB"}
    async with Upstream() as upstream, start_relay(upstream, limits=limits) as relay:

        async def one() -> str:
            async with relay.dialogue() as client:
                return await client.mail(MAIL + body * 8000)

        replies = await asyncio.gather(*(one() for _ in range(12)))
        assert all(reply.startswith("250") for reply in replies)
        await upstream.arrived(12)


async def test_recipients_past_the_limit_come_later(start_relay: Any) -> None:
    limits = {"recipients": 2}
    async with Upstream() as upstream, start_relay(upstream, limits=limits) as relay:
        async with relay.dialogue() as client:
            await client.say("MAIL FROM:<shop@acme.example>")
            replies = [await client.say(f"RCPT TO:<r{i}@x.example>") for i in range(3)]
            assert [r[:9] for r in replies] == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]
            await client.say("DATA")
            client.send(MAIL + b".\r\n")
            assert (await client.reply()).startswith("250")
        (taken,) = await upstream.arrived(1)
    assert taken.recipients == ("r0@x.example", "r1@x.example")


async def test_aliases_and_addresses_without_a_domain(start_relay: Any) -> None:
    aliases = {"root": "ops@acme.example"}
    async with Upstream() as upstream, start_relay(upstream, aliases=aliases) as relay:
        async with relay.dialogue() as client:
            assert (await client.mail(MAIL, recipient="nobody")).startswith("550 5.1.3")
            await client.say("RSET")
            assert (await client.mail(MAIL, recipient="Root")).startswith("250")
        (taken,) = await upstream.arrived(1)
    assert taken.recipients == ("ops@acme.example",)


async def test_unrouted_senders_are_refused_without_a_default(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        refused = await client.mail(b"Subject: x\r\n\r\n", sender="x@else.example")
        assert refused.startswith("550 5.7.1")
        # The header From decides where the reverse-path does not.
        assert (await client.mail(MAIL, sender="www-data@web01")).startswith("250")
        assert (await client.mail(MAIL, sender="")).startswith("250")
        await upstream.arrived(2)


async def test_networks_and_bound_clients(start_relay: Any) -> None:
    tenants = {
        "acme": {"domains": ["acme.example"], "upstream": "up"},
        "globex": {"domains": ["globex.example"], "upstream": "up"},
    }
    clients = {"networks": ["10.0.0.0/8"]}
    async with Upstream() as upstream:
        async with start_relay(upstream, tenants=tenants, clients=clients) as relay:
            async with relay.dialogue(None) as client:
                assert client.banner.startswith("554 5.7.1")
        clients = {"networks": [{"network": "127.0.0.1/32", "tenants": ["acme", "none-such"]}]}
        clients["networks"][0]["tenants"] = ["acme"]
        async with start_relay(upstream, tenants=tenants, clients=clients) as relay:
            async with relay.dialogue() as client:
                # A single name is forced.
                assert (await client.mail(MAIL, sender="x@globex.example")).startswith("250")
        await upstream.arrived(1)


async def test_the_longest_idle_session_makes_room(start_relay: Any) -> None:
    limits = {"sessions": 2}
    async with Upstream() as upstream, start_relay(upstream, limits=limits) as relay:
        async with relay.dialogue() as first, relay.dialogue() as second:
            await first.say("MAIL FROM:<shop@acme.example>")
            async with relay.dialogue() as third:
                assert (await second.reply()).startswith("421 4.7.0")
                assert (await third.mail(MAIL)).startswith("250")
                await third.say("MAIL FROM:<shop@acme.example>")
                async with relay.dialogue(None) as fourth:
                    assert fourth.banner.startswith("421 4.7.0")
            assert (await first.say("RCPT TO:<a@x.example>")).startswith("250")
        await upstream.arrived(1)


async def test_idle_sessions_end_and_slow_uploads_do_not(start_relay: Any) -> None:
    timeouts = {"session_idle": "400ms"}
    async with Upstream() as upstream, start_relay(upstream, timeouts=timeouts) as relay:
        async with relay.dialogue() as idle, relay.dialogue() as slow:
            for command in ("MAIL FROM:<shop@acme.example>", "RCPT TO:<a@x.example>", "DATA"):
                await slow.say(command)
            for _ in range(12):
                slow.send(b"x\r\n")
                await asyncio.sleep(0.1)
            slow.send(b".\r\n")
            assert (await slow.reply()).startswith("250")
            assert (await idle.reply()).startswith("421 4.4.2")
        await upstream.arrived(1)


async def test_a_client_gone_after_its_dot_has_its_mail_sent(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        for _ in range(20):
            async with relay.dialogue() as client:
                for command in ("MAIL FROM:<shop@acme.example>", "RCPT TO:<a@x.example>", "DATA"):
                    await client.say(command)
                client.send(MAIL + b".\r\n")
                await client.writer.drain()
                client.writer.transport.abort()
        # Those that reached the relay before the reset did, arrived; nothing else may happen.
        async with relay.dialogue() as client:
            assert (await client.mail(MAIL)).startswith("250")
        await upstream.arrived(1)


async def test_a_client_gone_before_its_dot_sends_nothing(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue() as client:
            for command in ("MAIL FROM:<shop@acme.example>", "RCPT TO:<a@x.example>", "DATA"):
                await client.say(command)
            client.send(MAIL + b"half")
        await asyncio.sleep(0.2)
    assert not upstream.transactions


async def test_a_browser_is_no_mail_client(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue(None) as client:
            assert (await client.say("POST / HTTP/1.1")).startswith("421")
            assert await client.reply() == ""


@pytest.fixture
def user_section() -> dict[str, Any]:
    import argon2

    password_hash = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("pa:ss")
    return {"users": {"crm": {"password_hash": password_hash, "tenants": ["acme"]}}}


async def test_auth_plain_and_login(start_relay: Any, user_section: dict[str, Any]) -> None:
    def b64(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    listener = {"auth": "required"}
    async with (
        Upstream() as upstream,
        start_relay(upstream, clients=user_section, listener=listener) as relay,
    ):
        async with relay.dialogue() as client:
            assert (await client.say("MAIL FROM:<shop@acme.example>")).startswith("530 5.7.0")
            wrong = await client.say("AUTH PLAIN " + b64("\0crm\0wrong"))
            assert wrong.startswith("535 5.7.8")
            assert (await client.say("AUTH PLAIN *")).startswith("501 5.5.2")
            right = await client.say("auth plain " + b64("\0crm\0pa:ss"))
            assert right.startswith("235 2.7.0")
            assert (await client.mail(MAIL)).startswith("250")
        async with relay.dialogue() as client:
            assert (await client.say("AUTH LOGIN")).startswith("334")
            assert (await client.say(b64("crm"))).startswith("334")
            assert (await client.say(b64("pa:ss"))).startswith("235")
        async with relay.dialogue() as client:
            for _ in range(2):
                await client.say("AUTH PLAIN " + b64("\0nobody\0x"))
            assert (await client.say("AUTH PLAIN " + b64("\0nobody\0x"))).startswith("421")
        (taken,) = await upstream.arrived(1)
    assert b"with ESMTPA id" in taken.header


async def test_a_drain_lets_a_transaction_finish(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue() as client, relay.dialogue() as idle:
            for command in ("MAIL FROM:<shop@acme.example>", "RCPT TO:<a@x.example>", "DATA"):
                await client.say(command)
            relay.app.stop("test")
            assert (await idle.reply()).startswith("421 4.3.2")
            client.send(MAIL + b".\r\n")
            assert (await client.reply()).startswith("250")
            assert await client.reply() in {"", "421 4.3.2 the relay is stopping, try again later"}


async def test_a_silent_upstream_delays_nobody_elses_mail(start_relay: Any) -> None:
    tenants = {
        "acme": {"domains": ["acme.example"], "upstream": "up"},
        "globex": {"domains": ["globex.example"], "upstream": "dead"},
    }
    async with Upstream() as upstream, Upstream(script={"banner": SILENCE}) as dead:
        entries = {
            name: {"host": "127.0.0.1", "port": server.port, "tls": "none"}
            for name, server in (("up", upstream), ("dead", dead))
        }
        more: dict[str, Any] = {"tenants": tenants, "timeouts": {"drain": "100ms"}}
        async with start_relay(upstream, upstreams=entries, **more) as relay:
            async with relay.dialogue() as client:
                for _ in range(300):
                    reply = await client.mail(MAIL, sender="x@globex.example")
                    assert reply.startswith("250")
                assert (await client.mail(MAIL)).startswith("250")
            await upstream.arrived(1, timeout_s=2)


async def test_content_that_breaks_us_is_never_obeyed_as_commands(
    start_relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in review: an exception within DATA left the rest of the content to the dialogue."""
    from relay.accept import receipt

    def broken(header: bytes, hop: Any) -> Any:
        raise RecursionError("as getaddresses did for a thousand parentheses")

    monkeypatch.setattr(receipt, "stamped", broken)
    hidden = (
        b"MAIL FROM:<ceo@acme.example>\r\nRCPT TO:<victim@x.example>\r\nDATA\r\nSpoof\r\n..\r\n"
    )
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        reply = await client.mail(MAIL + b"x" * 70_000 + b"\r\n" + hidden + b"x\r\n" * 50_000)
        assert reply.startswith("451 4.3.0")
        assert (await client.say("NOOP")).startswith("250")
    assert not upstream.transactions


async def test_a_from_of_parentheses_or_a_megabyte_is_just_no_mailbox(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        for value in (b"(" * 1000, b"a@b," * 15_000, b"<" * 900):
            assert (await client.mail(b"From: " + value + b"\r\n\r\n")).startswith("250")
        await upstream.arrived(3)


async def test_a_host_name_in_latin_1_is_no_reason_to_refuse(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay:
        async with relay.dialogue(None) as client:
            client.send(b"EHLO B\xfcro-PC\r\n")
            assert (await client.reply()).startswith("250")
            assert (await client.mail(MAIL)).startswith("250")
        await upstream.arrived(1)


async def test_header_sections_count_against_the_memory(start_relay: Any) -> None:
    async with Upstream() as upstream, start_relay(upstream) as relay, relay.dialogue() as client:
        reply = await client.mail(b"X-Long: y\r\n" * 20_000 + b"\r\n")
        assert reply.startswith("552 5.3.4")
        assert (await client.mail(MAIL)).startswith("250")
        await upstream.arrived(1)


async def test_limits_of_the_queue_hold_whatever_the_client_declares(start_relay: Any) -> None:
    more = {"queue": {"max_bytes": "3MiB"}, "limits": {"message_size": "3MiB"}}
    script = {"banner": "421 4.3.2 later"}
    async with Upstream(script=script) as upstream, start_relay(upstream, **more) as relay:

        async def one() -> str:
            async with relay.dialogue() as client:
                return await client.mail(MAIL + b"x\r\n" * 700_000)

        replies = await asyncio.gather(*(one() for _ in range(4)))
    assert sorted(reply[:9] for reply in replies)[-1] == "452 4.3.1"


async def test_slow_sessions_do_not_hold_the_memory_of_the_others(start_relay: Any) -> None:
    limits = {"memory": "2MiB"}
    async with Upstream() as upstream, start_relay(upstream, limits=limits) as relay:
        async with relay.dialogue() as one, relay.dialogue() as two, relay.dialogue() as third:
            for slow in (one, two):
                for command in ("MAIL FROM:<shop@acme.example>", "RCPT TO:<a@x.example>", "DATA"):
                    await slow.say(command)
                slow.send(MAIL + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 14_000)
            await asyncio.sleep(0.3)
            reply = await asyncio.wait_for(third.mail(MAIL + b"z\r\n" * 20_000), 5)
            assert reply.startswith("250")
            for slow in (one, two):
                slow.send(b".\r\n")
                assert (await slow.reply()).startswith("250")
        await upstream.arrived(3)


async def talk_without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HELP\r\n" * 10_000)
        await writer.drain()


async def test_a_client_that_reads_nothing_keeps_no_session(start_relay: Any) -> None:
    timeouts = {"session_idle": "500ms"}
    limits = {"sessions": 1}
    async with Upstream() as upstream:
        async with start_relay(upstream, timeouts=timeouts, limits=limits) as relay:
            deaf, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=1)
            with pytest.raises((TimeoutError, ConnectionError)):
                await asyncio.wait_for(talk_without_end(writer), 20)
            banner = ""
            async with asyncio.timeout(10):
                while not banner.startswith("220"):
                    await asyncio.sleep(0.1)
                    async with relay.dialogue(None) as client:
                        banner = client.banner
            writer.transport.abort()
            assert deaf


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_listener_with_tls(
    start_relay: Any, certificates: Any, tmp_path: Any, tls: str
) -> None:
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificates.write_leaf(cert_file, key_file)
    listener = {"tls": tls, "cert_file": str(cert_file), "key_file": str(key_file)}

    def send(port: int) -> list[str]:
        """What the client was offered before and after TLS; its mail is in the clear nowhere."""
        context = certificates.client()
        if tls == "implicit":
            client = smtplib.SMTP_SSL("localhost", port, context=context)
            before = ""
        else:
            client = smtplib.SMTP("localhost", port)
            before = client.ehlo()[1].decode()
            client.starttls(context=context)
        with client:
            after = client.ehlo()[1].decode()
            client.sendmail("shop@acme.example", ["a@x.example"], MAIL)
        return [before, after]

    async with Upstream() as upstream, start_relay(upstream, listener=listener) as relay:
        before, after = await asyncio.to_thread(send, relay.port)
        (taken,) = await upstream.arrived(1)
    assert ("STARTTLS" in before) is (tls == "starttls")
    assert "STARTTLS" not in after
    assert b"with ESMTPS id" in taken.header


async def test_nothing_sent_ahead_of_tls_is_obeyed_within_it(
    start_relay: Any, certificates: Any, tmp_path: Any
) -> None:
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificates.write_leaf(cert_file, key_file)
    listener = {"tls": "starttls", "cert_file": str(cert_file), "key_file": str(key_file)}
    async with Upstream() as upstream, start_relay(upstream, listener=listener) as relay:
        async with relay.dialogue() as client:
            client.send(b"STARTTLS\r\nMAIL FROM:<evil@acme.example>\r\n")
            assert (await client.reply()).startswith("220 2.0.0")
            await client.writer.start_tls(certificates.client(), server_hostname="localhost")
            assert (await client.say("RCPT TO:<a@x.example>")).startswith("503")
