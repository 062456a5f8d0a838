"""How events are rendered, for machines and for people."""

import json
import os
import threading

from relay.model.events import EVENT_NAMES, Event
from relay.record.audit import json_line, rfc3339
from relay.record.mirror import Mirror
from relay.record.reading import Prettifier


def event(**fields: object) -> Event:
    return Event("email.sent", dict(fields), "acme", "0RQ4MPG92452P", "<x@y>", ts=1763769600.25)


def test_one_json_object_a_line_with_the_fields_that_all_have() -> None:
    line = json_line(event(recipients=["a@b"], text="two\nlines"))
    assert b"\n" not in line
    entry = json.loads(line)
    assert list(entry)[:6] == ["ts", "event", "event_id", "queue_id", "tenant", "message_id"]
    assert entry["ts"] == "2025-11-22T00:00:00.250000Z"


def test_a_message_without_a_tenant_says_so_and_other_events_do_not_speak_of_messages() -> None:
    assert json.loads(json_line(Event("email.sent", {}, None, "q", "m")))["tenant"] is None
    assert "queue_id" not in json.loads(json_line(Event("relay.started", {})))


def test_moments_have_microseconds_and_are_utc() -> None:
    assert rfc3339(0.000001) == "1970-01-01T00:00:00.000001Z"
    assert rfc3339(1763769599.9999999) == "2025-11-22T00:00:00.000000Z"


def test_nothing_in_an_event_can_move_a_persons_cursor() -> None:
    text = Prettifier(colors=False)(json_line(event(detail="\x1b[2Jevil\r\n", reply="\u202e")))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("\n") == 1, "the detail, and nothing of its own line ends"
    assert "evil" in text


def test_the_list_of_events_is_closed_and_without_doubles() -> None:
    assert len(EVENT_NAMES) == len(set(EVENT_NAMES)) == 36


def test_the_mirror_writes_in_order_and_ends_with_its_last_line() -> None:
    reading, writing = os.pipe()
    mirror = Mirror(writing)
    for number in range(100):
        mirror.write([b"%d" % number])
    mirror.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        assert [int(line) for line in lines] == list(range(100))


def test_a_reader_that_does_not_read_costs_lines_and_nothing_else() -> None:
    reading, writing = os.pipe()
    mirror = Mirror(writing)
    writer = threading.Thread(target=lambda: [mirror.write([b"x" * 100] * 100) for _ in range(400)])
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    assert mirror.dropped > 0
    os.close(reading)  # the mirror's write ends with an error, and so does its thread
    mirror.close()
    os.close(writing)
