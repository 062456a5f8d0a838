"""A tenant toggled off leaves by the default from the very next attempt on, and comes back."""

from support.mail import send

SENDER = "App <app@acme.example>"
ADDRESS = "app@acme.example"
RECIPIENT = "joe@recipient.example"


def test_disable_and_enable_turn_the_very_next_attempt(running):
    relay = running.relay
    send(relay.port, ADDRESS, RECIPIENT, "before")
    assert running.acme.wait_for(1)[0].user == "acme"

    relay.verb("tenant", "disable", "acme", "--reason", "key leaked", check=True)
    send(relay.port, ADDRESS, RECIPIENT, "while off")
    off = running.platform.wait_for(1)[0]
    assert (off.user, off.reverse_path) == ("platform", "noreply@platform.example")
    assert b"<noreply@platform.example>" in off.header
    assert b"\r\nReply-To: app@acme.example\r\n" in off.header

    relay.verb("tenant", "enable", "acme", "--reason", "new key", check=True)
    send(relay.port, ADDRESS, RECIPIENT, "after")
    subjects = [b"before", b"after"]
    arrived = running.acme.wait_for(2)
    assert [s in t.header for s, t in zip(subjects, arrived, strict=True)] == [True, True]
    assert len(running.platform.transactions) == 1


def test_both_are_in_the_trail_with_actor_and_reason(running):
    relay = running.relay
    relay.verb("tenant", "disable", "acme", "--reason", "key leaked", check=True)
    relay.verb("tenant", "enable", "acme", "--reason", "new key", check=True)
    told = [row for row in relay.listing("audit") if row["event"].startswith("tenant.")]
    assert [(row["event"], row["tenant"], row["reason"]) for row in told] == [
        ("tenant.disabled", "acme", "key leaked"),
        ("tenant.enabled", "acme", "new key"),
    ]
    assert all(row["actor"] for row in told)


def test_queued_mail_turns_too(running):
    running.acme.down()
    send(running.port, ADDRESS, RECIPIENT)
    running.relay.wait_for_event("email.deferred")
    running.relay.verb("tenant", "disable", "acme", "--reason", "upstream is gone", check=True)
    assert running.platform.wait_for(1)[0].recipients == (RECIPIENT,)


def test_another_tenant_is_not_concerned(running):
    running.relay.verb("tenant", "disable", "acme", "--reason", "x", check=True)
    send(running.port, "app@globex.example", RECIPIENT)
    assert running.globex.wait_for(1)[0].user == "globex"


def test_the_verbs_work_while_the_relay_is_down(site):
    site.relay.start()
    site.relay.stop()
    site.relay.verb("tenant", "disable", "acme", "--reason", "x", check=True)
    site.relay.start()
    send(site.port, ADDRESS, RECIPIENT)
    assert site.platform.wait_for(1)[0].user == "platform"


def test_an_unknown_tenant_is_refused_with_a_suggestion(running):
    done = running.relay.verb("tenant", "disable", "acmee", "--reason", "x")
    assert done.returncode != 0
    assert "acme" in done.stderr
