"""All known ways to hide a message in a message, or a command in a command, on both sides.

In: one message stays one, whatever stands in it, in every cut. Out: no upstream finds an end in it
before its end, be it strict (RFC 5321) or so sloppy that any line end around a dot will do.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.hostile import Hostile, Talk, handed_over, handover, pool_to
from fuzz.listening import Place, accepting

from relay.model.message import Message
from relay.model.result import Relayed

CORPUS = sorted((Path(__file__).parent / "corpus" / "content").iterdir())
_SLOPPY_END = re.compile(rb"(?:\r\n|\n|\r)\0*\.\0*(?:\r\n|\n|\r)")
_BEGIN = b"EHLO x\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<x@x.example>\r\nDATA\r\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with accepting(tmp_path_factory.mktemp("smuggling"), aliases={"root": "r@x.example"}) as place:
        yield place


def _hidden(file: Path) -> bytes:
    """Without the true end, which the test adds."""
    return file.read_bytes().removesuffix(b".\r\n")


def _cuts(octets: bytes) -> Iterator[list[bytes]]:
    """In one piece, in two at each place around the disputed end, and octet by octet there."""
    around = octets.find(b"hello") + 4
    yield [octets]
    for at in range(around, around + 12):
        yield [octets[:at], octets[at:]]
    yield [
        octets[:around],
        *(octets[i : i + 1] for i in range(around, around + 12)),
        octets[around + 12 :],
    ]


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_one_message_stays_one(place: Place, file: Path) -> None:
    kept = place.shelf.kept
    for pieces in _cuts(_hidden(file)):
        kept.clear()
        with place.client() as client:
            client.send(_BEGIN, *pieces, b".\r\nQUIT\r\n")
            codes = [reply[:3] for reply in client.everything()]
        assert codes == ["250", "250", "250", "354", "250", "221"], pieces
        (message,) = kept
        assert [r.address for r in message.recipients] == ["x@x.example"]
        stream = b"\r\n" + _octets(message) + b".\r\n"
        assert len(_SLOPPY_END.findall(stream)) == 1


def _octets(message: Message) -> bytes:
    return b"".join(message.content.chunks or ())


def test_no_upstream_finds_two_messages_in_one(place: Place) -> None:
    place.shelf.kept.clear()
    with place.client() as client:
        for file in CORPUS:
            client.send(_BEGIN, _hidden(file), b".\r\n")
            assert [client.reply()[:3] for _ in range(5)] == ["250", "250", "250", "354", "250"]
    contents = [_octets(message) for message in place.shelf.kept]
    heard = {
        is_sloppy: asyncio.run(_handed_over(contents, is_sloppy)) for is_sloppy in (False, True)
    }
    assert len(heard[False]) == len(heard[True]) == len(CORPUS)
    assert heard[False] == heard[True]


async def _handed_over(contents: list[bytes], is_sloppy: bool) -> list[bytes]:
    """What the upstream took for messages."""
    end = _SLOPPY_END if is_sloppy else re.compile(rb"\r\n\.\r\n")
    messages: list[bytes] = []

    async def speak(talk: Talk) -> None:
        await talk.greet()
        while (line := await talk.hear()) != b"QUIT":
            if line != b"DATA":
                # The hidden commands would come here.
                assert b"evil" not in line
                assert b"victim" not in line
                await talk.say(b"250 ok")
                continue
            await talk.say(b"354 go")
            stream = b"\r\n"
            while not (found := end.search(stream)):
                stream += await talk.reader.read(1000)
            messages.append(stream[2 : found.start()])
            assert stream[found.end() :] == b""
            await talk.say(b"250 ok")

    async with Hostile(speak) as upstream:
        pool = pool_to(upstream.port, 5)
        for content in contents:
            result = await handed_over(pool, handover(content, "a@acme.example"))
            assert isinstance(result, Relayed), result
        pool.close()
    return messages


# -- commands

_EVIL = "RCPT TO:<evil@x.example>"
_ADDRESSES = [
    f"<a@x.example\r{_EVIL}>", f"<a@x.example\0{_EVIL}>", "<a@x.example\x0b>",
    "<a@x.example> <b@x.example>",
    "<a@x.example>> SIZE=1", "<<a@x.example>", "<a@x.example SIZE=1>", '<"a@x.example>',
    '<"a"b@x.example>',
    "<a@x.example\x85>", "<a@x.example\u2028>", "<a@x.example\u2029evil>", "<a@x.ex\u00a0ample>",
    "<a@x.example\u202eevil>", "<a@x.example\ufeff>", "<a@[1.2.3.4]\t>", "<a@x.example>\tSIZE=1\t<",
    "<a\\@x.example>", "<a@x.example\udc8d>", "<a@x.example\udc85>", "<a@b@c>", "<a@>",
    "<@x.example>",
    "<@a,@b:>", "<a@x..example>", "<a@-\n>", "<a%0d%0aRCPT@x.example>", "<%0d%0a@x.example>",
    '<"\\\r"@x.example>', '<"a> SIZE=99"@x.example>', "<a@x.example> AUTH=<evil>\rMAIL",
    "<a;b@x.example>",
    "<|cat@x.example>", "<a`id`@x.example>", "<$(id)@x.example>", "<a!b@x.example>", "<root>",
    "<ROOT>",
]  # fmt: skip


def test_no_address_is_more_than_an_address(place: Place) -> None:
    place.shelf.kept.clear()
    with place.client() as client:
        for address in _ADDRESSES:
            for line in (f"MAIL FROM:{address}", f"RCPT TO:{address}"):
                for command in ("RSET", "MAIL FROM:<a@acme.example>")[
                    : 1 + line.startswith("RCPT")
                ]:
                    assert client.ask(command).startswith("250")
                client.send(line.encode("utf-8", "surrogateescape") + b"\r\n")
                for _ in range(line.encode("utf-8", "surrogateescape").count(b"\n") + 1):
                    code = client.reply()[:3]
                if code == "421":  # too many unknown commands, from the broken lines
                    pytest.fail(line)
                if not line.startswith("RCPT") or code != "250":
                    continue
                client.send(b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n")
                assert [client.reply()[:3] for _ in range(2)] == ["354", "250"]
    messages = place.shelf.kept
    assert messages
    commands = asyncio.run(_commands_for(messages))
    for command in commands:
        assert re.fullmatch(rb"(?:MAIL FROM|RCPT TO):<[^\r\n\0]*>", command), command
        outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", command)
        assert outside.count(b"<") == outside.count(b">") == 1
        assert b"evil" not in outside
    assert len(commands) == 2 * len(messages)


async def _commands_for(messages: list[Message]) -> list[bytes]:
    heard: list[bytes] = []

    async def speak(talk: Talk) -> None:
        await talk.greet(b"SMTPUTF8")
        while (line := await talk.hear()) != b"QUIT":
            if line == b"DATA":
                await talk.say(b"354 go")
                await talk.content()
            elif line != b"RSET":
                heard.append(line.removesuffix(b" SMTPUTF8"))
            await talk.say(b"250 ok")

    async with Hostile(speak) as upstream:
        pool = pool_to(upstream.port, 5)
        for message in messages:
            recipients = [recipient.address for recipient in message.recipients]
            given = handover(b"Subject: x\r\n\r\n", message.reverse_path, *recipients)
            result = await handed_over(pool, given)
            assert isinstance(result, Relayed), result
        pool.close()
    return heard


@pytest.mark.parametrize(
    "line",
    ["XCLIENT ADDR=127.0.0.1 NAME=x", "XFORWARD ADDR=127.0.0.1",
     "PROXY TCP4 127.0.0.1 127.0.0.1 1 25",
     "BDAT 10 LAST", "BDAT 0", "ETRN x", "TURN", "XEXCH50 1 2", "AUTH PLAIN AGEAYg==", "AUTH LOGIN",
     "AUTH PLAIN =\rMAIL FROM:<evil@x>", "MAIL FROM:<a@x> XREMOTE=1",
     "MAIL FROM:<a@x> BODY=BINARYMIME"],
)  # fmt: skip
def test_what_a_client_may_not_claim_is_refused(place: Place, line: str) -> None:
    with place.client() as client:
        assert client.ask(line)[0] in "5"
        assert client.ask("NOOP").startswith("250")


@pytest.mark.parametrize(
    "name",
    ["x\x1b[2J", "x\tby evil", "x (evil [1.2.3.4]) by y; Mon", "x\x85Bcc: evil@x", "x\u2028Bcc:",
     "[::1]",
     "x\nBcc: evil@x.example", "y" * 3000, "é" * 900, "\udcff\udcfe", "x; From: evil"],
)  # fmt: skip
def test_a_host_name_brings_no_field(place: Place, name: str) -> None:
    place.shelf.kept.clear()
    with place.client() as client:
        client.send(b"EHLO " + name.encode("utf-8", "surrogateescape") + b"\r\n")
        client.send(_BEGIN.removeprefix(b"EHLO x\r\n") + b"\r\nx\r\n.\r\nQUIT\r\n")
        client.everything()
    (message,) = place.shelf.kept
    header = _octets(message).partition(b"\r\n\r\n")[0]
    names = re.findall(rb"^([^\t :]+):", header, re.MULTILINE)
    assert names == [b"Received", b"From", b"Date", b"Message-ID"]
    assert re.match(
        rb"Received: from [\w.:\[\]?-]{1,255} \(\[127\.0\.0\.1\]\)\r\n\tby relay", header
    )
