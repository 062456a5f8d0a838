"""relay-sendmail as programs call it, against a real socket; its parsers on their own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ports import free_port
from support.upstream import DROP, EXTENSIONS, ThreadedUpstream, Transaction

from relay.sendmail.addresses import addresses, host_name, user, with_domain
from relay.sendmail.errors import SendError
from relay.sendmail.listener import _host_and_port
from relay.sendmail.mail import Content, display_name

BARE = b"Subject: x\n\nbody\n"
HOST = host_name().decode()
ME = with_domain(user()).decode()


@pytest.fixture
def listener() -> Iterator[ThreadedUpstream]:
    with ThreadedUpstream() as listener:
        yield listener


class Caller:
    """Calls relay-sendmail as a program would, with the listener's address in the environment."""

    def __init__(self, server: str) -> None:
        self.server = server

    def __call__(self, *arguments: str, text: bytes = BARE) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "relay.sendmail", *arguments],
            input=text,
            capture_output=True,
            timeout=30,
            env=os.environ | {"RELAY_SENDMAIL_SERVER": self.server},
        )


@pytest.fixture
def sendmail(listener: ThreadedUpstream) -> Caller:
    return Caller(f"127.0.0.1:{listener.port}")


@pytest.fixture
def sent(listener: ThreadedUpstream, sendmail: Caller):
    """Calls relay-sendmail, which must succeed silently; returns the transaction."""

    def send(*arguments: str, text: bytes = BARE) -> Transaction:
        done = sendmail(*arguments, text=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return listener.transactions[-1]

    return send


# -- envelope


def test_recipients_as_arguments(sent):
    transaction = sent("-f", "app@acme.example", "a@x.example", "B <b@x.example>, c@x.example")
    assert transaction.reverse_path == "app@acme.example"
    assert transaction.recipients == ("a@x.example", "b@x.example", "c@x.example")


def test_the_sender_is_the_user_at_the_host_unless_told(sent):
    assert sent("a@x.example").reverse_path == ME


@pytest.mark.parametrize(
    ("arguments", "reverse_path"),
    [
        (["-fapp@acme.example"], "app@acme.example"),
        (["-rapp@acme.example"], "app@acme.example"),
        (["-r", "app@acme.example"], "app@acme.example"),
        (["-f", "App <app@acme.example>"], "app@acme.example"),
        (["-f", "www-data"], f"www-data@{HOST}"),
        (["-f", "<>"], ""),
        (["-f", ""], ""),
    ],
)
def test_sender(sent, arguments, reverse_path):
    assert sent(*arguments, "a@x.example").reverse_path == reverse_path


def test_as_debians_cron_calls_it(sent):
    text = b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@web01> true\n\n.\nout\n"
    transaction = sent("-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", text=text)
    assert transaction.recipients == ("root",)
    assert transaction.content == text.replace(b"\n", b"\r\n")


def test_as_php_calls_it(sent):
    text = b"To: a@x.example\r\nSubject: x\r\nX-PHP-Originating-Script: 0:a.php\r\n\r\nbody\r\n"
    transaction = sent("-t", "-i", "-fapp@acme.example", text=text)
    assert transaction.recipients == ("a@x.example",)
    assert transaction.content == text


def test_options_that_mean_nothing_here_are_accepted(sent):
    everything = ["-bm", "-G", "-m", "-n", "-v", "-U", "-oem", "-odi", "-o7", "-Nnever", "-Rhdrs"]
    more = ["-V", "id", "-L", "tag", "-O", "DeliveryMode=b", "-Am", "-X", "/dev/null", "-eq", "-d7"]
    assert sent(*everything, *more, "--", "-dash@x.example").recipients == ("-dash@x.example",)


def test_dash_t_takes_recipients_from_the_header_and_removes_bcc(sent):
    text = (
        b'To: "Doe, Jane" <jane@x.example>, (not me@x.example) joe@x.example\n'
        b"CC: Team: t1@x.example,\n\tt2@x.example;, jane@x.example\n"
        b"Bcc: hidden@x.example,\n hidden2@x.example\n"
        b"Subject: x\n\nBcc: body@x.example\n"
    )
    transaction = sent("-t", "arg@x.example", text=text)
    locals_ = [address.partition("@")[0] for address in transaction.recipients]
    assert locals_ == ["arg", "jane", "joe", "t1", "t2", "hidden", "hidden2"]
    assert b"hidden" not in transaction.content
    assert transaction.body == b"Bcc: body@x.example\r\n"


def test_dash_t_of_a_message_sent_again_asks_the_resent_fields_alone(sent):
    text = b"Resent-To: new@x.example\nResent-Bcc: hidden@x.example\nTo: old@x.example\n\nbody\n"
    transaction = sent("-t", text=text)
    assert transaction.recipients == ("new@x.example", "hidden@x.example")
    assert b"hidden" not in transaction.content


def test_without_dash_t_the_header_is_left_alone(sent):
    text = b"To: a@x.example\nBcc: b@x.example\n\nbody\n"
    transaction = sent("c@x.example", text=text)
    assert transaction.recipients == ("c@x.example",)
    assert transaction.content == text.replace(b"\n", b"\r\n")


def test_a_recipient_without_a_domain_gets_the_hosts_if_it_is_no_alias(sent, listener):
    listener.script["rcpt"] = {"joe": "550 5.1.3 joe has no domain"}
    assert sent("root", "joe").recipients == ("root", f"joe@{HOST}")


# -- content


def test_a_lone_dot_ends_the_message(sent):
    assert sent("a@x.example", text=BARE + b".\nmore\n").body == b"body\r\n"


@pytest.mark.parametrize("option", ["-i", "-oi", "-ti"])
def test_a_lone_dot_does_not_end_it_where_told(sent, option):
    text = b"To: a@x.example\n\nbody\n.\n..\n.more\n"
    assert sent(option, "a@x.example", text=text).body == b"body\r\n.\r\n..\r\n.more\r\n"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"", b"\r\n"),
        (b"no header section\n", b"\r\nno header section\r\n"),
        (b"\nFoo: body\n", b"\r\nFoo: body\r\n"),
        (b"A: b\nstray\nBcc: c@x\n", b"A: b\r\n\r\nstray\r\nBcc: c@x\r\n"),
        (b"From root Mon Jan 1\nA: b\n\nc", b"A: b\r\n\r\nc\r\n"),
        (b"A: b\r\r\n\r\nc\rd\r\n", b"A: b\r\n\r\nc\r\nd\r\n"),
        (b"A: b\n\n\x00\xff\xe4\n", b"A: b\r\n\r\n\x00\xff\xe4\r\n"),
    ],
)
def test_odd_input_arrives(sent, text, content):
    assert sent("-i", "a@x.example", text=text).content == content


def test_a_bare_cr_smuggles_no_field_in(sent):
    text = b"To: a@x.example\nSubject: hi\rBcc: victim@x.example\n\nbody\n"
    transaction = sent("-t", text=text)
    assert transaction.recipients == ("a@x.example",)
    assert b"Subject: hi Bcc: victim@x.example\r\n" in transaction.header


def test_a_large_message_arrives_whole(sent):
    text = BARE + b"".join(b"%d. line\n.\n" % number for number in range(200_000))
    assert sent("-i", "a@x.example", text=text).content == text.replace(b"\n", b"\r\n")


def test_the_name_goes_to_a_missing_from(sent):
    transaction = sent("-F", 'Ann "A"\r\nBcc: x@y', "-f", "app@acme.example", "a@x.example")
    assert transaction.header.splitlines()[-1] == (
        b'From: "Ann \\"A\\"  Bcc: x@y" <app@acme.example>'
    )
    with_from = b"from: b@x.example\n\n"
    assert sent("-F", "Ann", "a@x.example", text=with_from).content == b"from: b@x.example\r\n\r\n"


def test_parameters_are_said_where_offered_and_needed(sent, listener):
    plain = sent("a@x.example")
    assert plain.parameters == f"SIZE={len(plain.wire)}"
    eight_bit = sent("a@x.example", text="Subject: é\n\né\n".encode())
    assert eight_bit.parameters.endswith(" BODY=8BITMIME")
    assert sent("jörg@x.example").parameters.endswith(" SMTPUTF8")
    listener.extensions = ()
    assert sent("a@x.example", text="\né\n".encode()).parameters == ""


# -- failures


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ({"banner": "421 4.7.0 too many sessions"}, 74),
        ({"banner": "554 5.7.1 go away"}, 69),
        ({"banner": DROP}, 74),
        ({"mail": "550 5.7.1 no tenant for this sender"}, 69),
        ({"mail": "552 5.3.4 too large"}, 65),
        ({"rcpt": {"a@x.example": "550 5.1.1 no such user"}}, 67),
        ({"rcpt": {"b@x.example": "452 4.5.3 too many"}}, 74),
        ({"data": "451 4.3.0 store failed"}, 74),
        ({"dot": "451 4.3.0 store failed"}, 74),
        ({"dot": "554 5.6.0 bad content"}, 65),
        ({"dot": DROP}, 74),
    ],
)
def test_a_refusal_is_told_in_one_line_and_by_the_status(listener, sendmail, script, status):
    listener.script.update(script)
    done = sendmail("a@x.example", "b@x.example")
    assert done.returncode == status
    assert done.stdout == b""
    assert re.fullmatch(rb"relay-sendmail: [^\n]+\n", done.stderr)
    assert listener.transactions == []


def test_a_lost_farewell_is_no_failure(sent, listener):
    listener.script["quit"] = DROP
    sent("a@x.example")


def test_no_listener_is_a_temporary_failure_that_names_the_remedy():
    done = Caller(f"127.0.0.1:{free_port()}")("a@x.example")
    assert done.returncode == 74
    assert b"Connection refused" in done.stderr
    assert b"start the relay" in done.stderr


def test_a_server_that_cannot_be_is_a_matter_of_configuration():
    assert Caller("localhost:smtp")("a@x.example").returncode == 78
    assert Caller("no-such-host.invalid:25")("a@x.example").returncode == 68


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 64),
        (["-f"], 64),
        (["-bd"], 64),
        (["-y", "a@x.example"], 64),
        (["-f", "a@x.example, b@x.example", "c@x.example"], 64),
        (["a@x.example\r\nDATA"], 65),
        (["a@x.example> NOTIFY=NEVER"], 65),
        (["-f", "a@x.example\nRSET", "b@x.example"], 65),
        (["a b@x.example"], 65),
        (["-t"], 65),
    ],
)
def test_bad_usage_reaches_no_listener(sendmail, listener, arguments, status):
    assert sendmail(*arguments).returncode == status
    assert listener.connections == 0


def test_an_address_that_the_listener_cannot_take(sendmail, listener):
    listener.extensions = tuple(name for name in EXTENSIONS if name != "SMTPUTF8")
    done = sendmail("jörg@x.example")
    assert done.returncode == 65
    assert "'jörg".encode() not in done.stderr


def test_newaliases_and_the_queue_run_have_nothing_to_do(sendmail, listener):
    assert sendmail("-bi").returncode == 0
    assert sendmail("-q15m").returncode == 0
    assert listener.connections == 0


@pytest.mark.parametrize(
    ("name", "arguments"), [("mailq", []), ("mailq", ["-v"]), ("sendmail", ["-bp"])]
)
def test_what_waits_is_told_by_the_relay_beside_it(tmp_path, name, arguments):
    """By the links that the Debian package has."""
    program = tmp_path / "bin/relay-sendmail"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom relay.sendmail import main\nsys.exit(main())\n"
    )
    relay = tmp_path / "bin/relay"
    relay.write_text('#!/bin/sh\necho "$0 $*"\n')
    for file in (program, relay):
        file.chmod(0o755)
    link = tmp_path / name
    link.symlink_to(program)
    done = subprocess.run([link, *arguments], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"{relay} queue list\n")


def test_newaliases_by_its_name_has_nothing_to_do(tmp_path):
    link = tmp_path / "newaliases"
    link.symlink_to(Path(sys.executable).with_name("relay-sendmail"))
    done = subprocess.run([link], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_a_relay_beside_it_the_verb_is_named(sendmail):
    done = sendmail("-bp")
    assert done.returncode == 69
    assert b"relay queue list" in done.stderr


def test_help(sendmail):
    assert b"usage: relay-sendmail" in sendmail("--help").stdout


# -- -bs


def test_bs_speaks_smtp_on_standard_input_and_output(sendmail, listener):
    dialogue = b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n"
    done = sendmail("-bs", text=dialogue)
    codes = re.findall(rb"^(\d{3}) ", done.stdout, re.MULTILINE)
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert listener.transactions[0].content == b"A: b\r\n\r\nc\r\n"
    assert done.returncode == 0


# -- parsers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a@b", [b"a@b"]),
        (b" a@b , c@d ", [b"a@b", b"c@d"]),
        (b"<a@b>", [b"a@b"]),
        (b'"a, b" <c@d>, "e f"@g', [b"c@d", b'"e f"@g']),
        (b"undisclosed-recipients:;", []),
        (b"group: a@b, C <c@d>; e@f", [b"a@b", b"c@d", b"e@f"]),
        (b"<@route:a@b>", [b"a@b"]),
        (b"a@b (comment (nested, c@d) \\) still), e@f", [b"a@b", b"e@f"]),
        (b"a@[IPv6:::1]", [b"a@[IPv6:::1]"]),
        (b"=?utf-8?q?J=C3=B6rg?= <j@x>", [b"j@x"]),
        (b"J\xf6rg <j@x>", [b"j@x"]),
        (b"", []),
        (b",,", []),
    ],
)
def test_addresses(text, found):
    assert addresses(text) == found


@pytest.mark.parametrize(
    "text",
    [
        b"a b@c",
        b"@b",
        b"<a@b> <c@d>",
        b"<a@b> c",
        b'"a@b',
        b"(a@b",
        b"a@b\0",
        b'"a>b"@c',
        b"\xff@b",
    ],
)
def test_what_is_no_address(text):
    with pytest.raises(SendError, match="not an address"):
        addresses(text)


@given(st.binary(max_size=60) | st.text(alphabet='a@.,:;<>"\\() \r\n\tä', max_size=30))
def test_no_address_can_leave_its_command(text):
    octets = text if isinstance(text, bytes) else text.encode()
    try:
        found = addresses(octets)
    except SendError:
        return
    for address in found:
        assert address
        assert not set(address) & set(b"\r\n\0<>")
        assert b" " not in re.sub(rb'"(\\.|[^"\\])*"', b"", address)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"x", b"\n.\n", b"\r.\r"])))
def test_content_on_the_wire_never_ends_early(pieces):
    content = Content()
    content.write(b"".join(pieces))
    wire = b"".join(content.blocks())
    assert content.size == len(wire)
    assert wire.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire)
    assert not re.search(rb"(^|\n)\.(?!\.)", wire)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"Ann", b'"Ann"'),
        (b'a\\b"c', b'"a\\\\b\\"c"'),
        ("Jörg".encode(), b"=?utf-8?B?SsO2cmc=?="),
    ],
)
def test_display_name(name, shown):
    assert display_name(name) == shown


@given(st.binary())
def test_no_display_name_can_leave_its_field(name):
    lines = display_name(name).split(b"\n")
    assert b"\r" not in display_name(name)
    assert all(line.startswith(b" =?") and len(line) <= 76 for line in lines[1:])


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("relay", (["relay"], 25)),
        ("relay:2525", (["relay"], 2525)),
        ("[::1]:2525", (["::1"], 2525)),
        ("[::1]", (["::1"], 25)),
        ("::1", (["::1"], 25)),
    ],
)
def test_where_the_listener_is(server, expected):
    assert _host_and_port(server) == expected


def test_it_starts_in_a_blink(tmp_path: Path):
    """Each of these modules costs more than all that is needed."""
    program = "import sys, relay.sendmail; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.split()
    assert not {"argparse", "email", "smtplib", "dataclasses", "tempfile", "re"} & set(loaded)
