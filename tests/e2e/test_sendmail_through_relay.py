"""relay-sendmail and the listener agree on recipients without a domain."""

import os
import subprocess

from support.program import RELAY_SENDMAIL

from relay.sendmail.addresses import host_name


def sendmail(site, *arguments: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [RELAY_SENDMAIL, *arguments],
        input=text,
        capture_output=True,
        timeout=30,
        env=os.environ | {"RELAY_SENDMAIL_SERVER": f"127.0.0.1:{site.port}"},
    )


def test_an_alias_gets_its_address_and_others_the_hosts_name(running):
    done = sendmail(running, "root", "joe", text=b"Subject: cron\n\nout\n")
    assert (done.returncode, done.stderr) == (0, b"")
    recipients = running.platform.wait_for(1)[0].recipients
    assert recipients == ("ops@platform.example", f"joe@{host_name().decode()}")


def test_cron_without_a_header_section(running):
    assert sendmail(running, "root", text=b"just output\n").returncode == 0
    transaction = running.platform.wait_for(1)[0]
    assert transaction.body == b"just output\r\n"
    assert b"\r\nFrom: " in transaction.header


def test_smtp_on_standard_input(running):
    dialogue = (
        b"EHLO me\r\nMAIL FROM:<app@acme.example>\r\nRCPT TO:<joe@recipient.example>\r\n"
        b"DATA\r\nSubject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n"
    )
    done = sendmail(running, "-bs", text=dialogue)
    assert done.returncode == 0
    assert running.acme.wait_for(1)[0].body == b"body\r\n"
