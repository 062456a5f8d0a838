"""An upstream that is down costs nobody a message, and no other tenant any time."""

from support.mail import send

RECIPIENT = "joe@recipient.example"


def test_mail_waits_for_its_upstream_and_arrives(running):
    relay = running.relay
    running.acme.down()
    send(relay.port, "app@acme.example", RECIPIENT)
    deferred = relay.wait_for_event("email.deferred")[0]
    assert (deferred["tenant"], deferred["upstream"]) == ("acme", "acme-mail")
    assert (deferred["cause"], deferred["scope"]) == ("connection_refused", "upstream")
    assert deferred["remedy"]
    assert [row["queue_id"] for row in relay.listing("queue", "list")] == [deferred["queue_id"]]

    running.acme.up()
    running.acme.wait_for(1)
    sent = relay.wait_for_event("email.sent")[0]
    assert sent["queue_id"] == deferred["queue_id"]
    assert relay.listing("queue", "list") == []


def test_nobody_else_waits(running):
    running.acme.down()
    send(running.port, "app@acme.example", RECIPIENT)
    send(running.port, "app@globex.example", RECIPIENT)
    send(running.port, "app@elsewhere.example", RECIPIENT)
    assert running.globex.wait_for(1)[0].user == "globex"
    assert running.platform.wait_for(1)[0].user == "platform"
    assert running.acme.transactions == []


def test_mail_accepted_before_a_stop_leaves_after_the_start(running):
    running.acme.down()
    send(running.port, "app@acme.example", RECIPIENT)
    assert running.relay.stop() == 0
    running.acme.up()
    running.relay.start()
    assert running.acme.wait_for(1)[0].recipients == (RECIPIENT,)


def test_what_the_upstream_refuses_becomes_a_dead_letter(running):
    running.acme.script["rcpt"] = {RECIPIENT: "550 5.1.1 no such user"}
    send(running.port, "app@acme.example", RECIPIENT)
    running.relay.wait_for_event("email.dead_lettered")
    row = running.relay.listing("dead", "list")[0]
    assert (row["tenant"], row["cause"]) == ("acme", "recipient_refused")
    assert "5.1.1" in str(row["reply"])

    running.acme.script.clear()
    running.relay.verb("dead", "retry", row["queue_id"], check=True)
    assert running.acme.wait_for(1)[0].recipients == (RECIPIENT,)
    assert running.relay.listing("dead", "list") == []
