"""An upstream that means harm, over real TLS: whatever it does has a named cause, the message
waits, memory is bounded, credentials are in no word of the outcome, and another upstream goes on.
"""

import asyncio
import base64
import socket
import ssl
import tracemalloc
from typing import Any

import pytest
from fuzz.hostile import PASSWORD, Hostile, Talk, handed_over, handover, pool_to
from support.certificates import Certificates

from relay.model.causes import Cause
from relay.model.result import Deferred, Relayed

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
_MOST_BYTES = 8 << 20
OFFERS = (b"PIPELINING", b"AUTH PLAIN LOGIN CRAM-MD5")
BLOB = base64.b64encode(f"\0crm\0{PASSWORD}".encode())


async def _flood(talk: Talk, octets: bytes, most: int = 200) -> None:
    """On and on, until the relay hangs up: 200 MB at most."""
    for _ in range(most):
        talk.writer.write(octets)
        await talk.writer.drain()


async def endless_banner(talk: Talk) -> None:
    await _flood(talk, b"220-hello\r\n" * 100_000)


async def banner_of_a_gigabyte(talk: Talk) -> None:
    await _flood(talk, b"2" * (1 << 20))


async def endless_ehlo(talk: Talk) -> None:
    await talk.say(b"220 x")
    await talk.hear()
    await _flood(talk, b"250-X\r\n" * 100_000)


async def ten_thousand_extensions(talk: Talk) -> None:
    await talk.greet(*(b"X-%d" % number for number in range(10_000)))


async def all_replies_at_once(talk: Talk) -> None:
    await talk.say(b"220 x", *[b"250 ok"] * 5, b"354 go", b"250 taken")
    await talk.reader.read()


async def replies_by_the_clock(talk: Talk) -> None:
    for reply in (b"220 x", b"250 AUTH PLAIN", b"235 ok", b"250 ok", b"250 ok", b"250 ok"):
        await talk.say(reply)
        await asyncio.sleep(0.03)
    await talk.reader.read()


async def challenges_for_ever(talk: Talk) -> None:
    await talk.greet(*OFFERS)
    while True:
        await talk.hear()
        await talk.say(b"334 VXNlcm5hbWU6")


async def a_challenge_of_nonsense(talk: Talk) -> None:
    await talk.greet(b"AUTH CRAM-MD5")
    await talk.hear()
    await talk.say(b"334 \xff\x00!!!")
    await talk.reader.read()


async def repeats_credentials_at_auth(talk: Talk) -> None:
    await talk.greet(*OFFERS)
    await talk.hear()
    await talk.say(b"535 5.7.8 not " + BLOB + b" " + PASSWORD.encode())


async def _log_in(talk: Talk, *offers: bytes) -> None:
    await talk.greet(b"AUTH PLAIN", *offers)
    await talk.hear()
    await talk.say(b"235 2.7.0 ok")


async def repeats_credentials_at_mail(talk: Talk) -> None:
    await _log_in(talk)
    await talk.hear()
    await talk.say(b"451 4.3.0 not from " + PASSWORD.encode() + b" " + BLOB)


async def repeats_credentials_as_garbage(talk: Talk) -> None:
    await _log_in(talk)
    await talk.hear()
    await talk.say(PASSWORD.encode() + b" " + BLOB)


async def endless_reply_to_mail(talk: Talk) -> None:
    await _log_in(talk)
    await talk.hear()
    await _flood(talk, b"250-ok\r\n" * 100_000)


async def a_line_of_a_gigabyte(talk: Talk) -> None:
    await _log_in(talk)
    await talk.hear()
    await _flood(talk, b"250 " + b"x" * (1 << 20))


async def endless_nul(talk: Talk) -> None:
    await _log_in(talk)
    await _flood(talk, b"\0" * (1 << 20))


async def taken_before_the_content(talk: Talk) -> None:
    await _log_in(talk)
    for reply in ((b"250 ok",), (b"250 ok",), (b"354 go", b"250 taken")):
        await talk.hear()
        await talk.say(*reply)
    await talk.reader.read()


async def escapes(talk: Talk) -> None:
    await _log_in(talk)
    await talk.hear()
    await talk.say(b"451 4.3.0 \x1b]0;owned\x07\x1b[2J \x00\x9b31m \xff \xe2\x80\xae evil \rX")


async def no_size_at_all(talk: Talk) -> None:
    await _log_in(talk, b"SIZE -1", b"SIZE \xc2\xb2", b"SIZE " + b"9" * 5000)
    await talk.hear()
    await talk.say(b"451 4.3.0 later")


async def torn_record(talk: Talk) -> None:
    """The end of TCP in the middle of a TLS record, without a close_notify."""
    await _log_in(talk)
    await talk.hear()
    raw: socket.socket = talk.writer.get_extra_info("socket")
    raw = socket.socket(fileno=socket.dup(raw.fileno()))
    raw.setblocking(False)
    raw.send(b"\x17\x03\x03\x01\x00half")
    raw.close()
    talk.writer.transport.abort()


async def garbage_for_a_record(talk: Talk) -> None:
    await _log_in(talk)
    await talk.hear()
    raw = socket.socket(fileno=socket.dup(talk.writer.get_extra_info("socket").fileno()))
    raw.setblocking(False)
    raw.send(b"250 ok in the clear\r\n" * 10)
    raw.close()
    await talk.reader.read()


PROTOCOL = {Cause.PROTOCOL_ERROR}
LOST = {Cause.CONNECTION_LOST, Cause.TLS_HANDSHAKE_FAILED, Cause.PROTOCOL_ERROR}
# What it does, and what the relay may call it.
HARM: dict[Any, set[Cause]] = {
    endless_banner: PROTOCOL,
    banner_of_a_gigabyte: PROTOCOL,
    endless_ehlo: PROTOCOL,
    ten_thousand_extensions: PROTOCOL,
    all_replies_at_once: {Cause.AUTHENTICATION_FAILED, Cause.PROTOCOL_ERROR, Cause.REPLY_TIMEOUT},
    replies_by_the_clock: {Cause.AUTHENTICATION_FAILED, Cause.PROTOCOL_ERROR, Cause.REPLY_TIMEOUT},
    challenges_for_ever: PROTOCOL | {Cause.AUTHENTICATION_FAILED},
    a_challenge_of_nonsense: PROTOCOL,
    repeats_credentials_at_auth: {Cause.AUTHENTICATION_FAILED},
    repeats_credentials_at_mail: {
        Cause.SENDER_REFUSED,
        Cause.UPSTREAM_UNAVAILABLE,
        Cause.MESSAGE_REFUSED,
    },
    repeats_credentials_as_garbage: PROTOCOL,
    endless_reply_to_mail: PROTOCOL,
    a_line_of_a_gigabyte: PROTOCOL,
    endless_nul: PROTOCOL,
    taken_before_the_content: PROTOCOL,
    escapes: {Cause.SENDER_REFUSED, Cause.UPSTREAM_UNAVAILABLE},
    no_size_at_all: {Cause.SENDER_REFUSED, Cause.UPSTREAM_UNAVAILABLE},
    torn_record: LOST,
    garbage_for_a_record: LOST,
}


def _is_clean(result: Deferred) -> None:
    said = repr(result) + (str(result.reply) if result.reply else "") + result.detail
    assert PASSWORD not in said
    assert BLOB.decode() not in said
    if result.reply:
        assert result.reply.text.isprintable()
        assert len(result.reply.text) <= 2000


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
async def test_harm_has_a_name_and_the_message_waits(certificates: Certificates, harm: Any) -> None:
    async def soundly(talk: Talk) -> None:
        await talk.greet()
        while (line := await talk.hear()) != b"DATA":
            await talk.say(b"221 bye" if line == b"QUIT" else b"250 ok")
        await talk.say(b"354 go")
        await talk.content()
        await talk.say(b"250 ok")

    login = {"username": "crm", "password": PASSWORD, "ca_file": str(certificates.ca_file)}
    async with Hostile(harm, certificates.good()) as hostile, Hostile(soundly) as other:
        tracemalloc.start()
        pool = pool_to(hostile.port, 0.4, tls="implicit", **login)
        under_way = asyncio.create_task(handed_over(pool, handover(CONTENT, "a@acme.example")))
        beside = await handed_over(pool_to(other.port, 5), handover(CONTENT, "b@acme.example"))
        result = await asyncio.wait_for(under_way, 15)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        pool.close()
    assert isinstance(beside, Relayed)
    assert isinstance(result, Deferred), result
    assert result.cause in HARM[harm], result
    assert most < _MOST_BYTES + (4 << 20)
    _is_clean(result)


async def _starttls(talk: Talk, context: ssl.SSLContext, behind: bytes) -> None:
    await talk.greet(b"STARTTLS")
    await talk.hear()
    talk.writer.write(b"220 go\r\n" + behind)
    await talk.writer.drain()
    await talk.writer.start_tls(context)
    await talk.hear()
    # What was told in the clear would make an upstream of this one that asks for no login.
    await talk.offer(b"X")
    while True:
        await talk.hear()
        await talk.say(b"250 ok")


@pytest.mark.parametrize(
    "behind",
    [b"250-evil\r\n250 AUTH PLAIN\r\n",
     b"250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", b"25"],
    ids=["extensions", "everything", "half a reply"],
)  # fmt: skip
async def test_what_stands_behind_the_reply_to_starttls_is_not_believed(
    certificates: Certificates, behind: bytes
) -> None:
    context = certificates.good()

    async def speak(talk: Talk) -> None:
        await _starttls(talk, context, behind)

    login = {"username": "crm", "password": PASSWORD, "ca_file": str(certificates.ca_file)}
    async with Hostile(speak) as upstream:
        pool = pool_to(upstream.port, 0.4, tls="starttls", **login)
        result = await handed_over(pool, handover(CONTENT, "a@acme.example"))
        pool.close()
    assert isinstance(result, Deferred)
    assert result.cause in {
        Cause.AUTHENTICATION_FAILED,
        Cause.TLS_HANDSHAKE_FAILED,
        Cause.PROTOCOL_ERROR,
    }
    _is_clean(result)


async def test_no_credentials_go_where_there_is_no_starttls(certificates: Certificates) -> None:
    heard: list[bytes] = []

    async def speak(talk: Talk) -> None:
        await talk.greet(b"AUTH PLAIN")
        while True:
            heard.append(await talk.hear())
            await talk.say(b"250 ok")

    login = {"username": "crm", "password": PASSWORD, "ca_file": str(certificates.ca_file)}
    async with Hostile(speak) as upstream:
        pool = pool_to(upstream.port, 0.4, tls="starttls", **login)
        result = await handed_over(pool, handover(CONTENT, "a@acme.example"))
    assert isinstance(result, Deferred)
    assert result.cause is Cause.STARTTLS_UNAVAILABLE
    assert not [line for line in heard if b"AUTH" in line or b"MAIL" in line]
