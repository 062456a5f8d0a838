"""The life of ``relay serve``: one at a time, ended in order, its trail in two places alike."""

from support.mail import send


def test_a_second_serve_names_the_one_that_runs(running):
    done = running.relay.verb("serve")
    assert done.returncode == 1
    assert str(running.relay.pid) in done.stderr


def test_sigterm_ends_it_in_order(running):
    assert running.relay.stop() == 0
    assert [event["event"] for event in running.relay.events()][-2:] == [
        "relay.stopping",
        "relay.stopped",
    ]
    assert running.relay.stderr_lines == []


def test_the_trail_in_the_store_is_the_one_on_standard_output(running):
    send(running.port, "app@acme.example", "joe@recipient.example")
    sent = running.relay.wait_for_event("email.sent")[0]
    told = [e for e in running.relay.events() if e.get("queue_id") == sent["queue_id"]]
    assert running.relay.listing("audit", "--queue-id", sent["queue_id"]) == told
    assert [event["event"] for event in told] == ["email.accepted", "email.sent"]


def test_no_password_is_ever_printed(running):
    running.acme.script["auth"] = "535 5.7.8 no"
    send(running.port, "app@acme.example", "joe@recipient.example")
    running.relay.wait_for_event("email.deferred")
    shown = running.relay.stdout_lines + running.relay.stderr_lines
    shown.append(running.relay.verb("tenant", "show", "acme").stdout)
    assert not [line for line in shown if "acme's password" in line]
