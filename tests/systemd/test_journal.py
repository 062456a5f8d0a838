"""Priorities for the journal: only where it reads, and only for events that there are."""

import io
import os
import subprocess
import sys
import tempfile

from relay.model.events import EVENT_NAMES
from relay.record import journal

_SAY = """
import structlog
from relay.record import diagnostics
diagnostics.configure()
structlog.get_logger("test").warning("something is odd")
structlog.get_logger("test").info("all is well")
"""


def stream_of(file: io.IOBase) -> str:
    status = os.fstat(file.fileno())
    return f"{status.st_dev}:{status.st_ino}"


def test_the_journal_reads_what_it_says_it_reads():
    with tempfile.TemporaryFile("w") as ours, tempfile.TemporaryFile("w") as other:
        assert journal.reads(ours, {"JOURNAL_STREAM": stream_of(ours)})
        assert not journal.reads(other, {"JOURNAL_STREAM": stream_of(ours)})
        assert not journal.reads(ours, {})
        assert not journal.reads(io.StringIO(), {"JOURNAL_STREAM": stream_of(ours)})


def test_an_event_that_somebody_should_look_at_is_marked():
    assert journal.prioritised("config.rejected", b"{}") == b"<3>{}"
    assert journal.prioritised("upstream.paused", b"{}") == b"<4>{}"
    assert journal.prioritised("email.sent", b"{}") == b"{}"
    unknown = [n for n in journal._PRIORITIES if n not in EVENT_NAMES]
    assert not unknown


def test_diagnostics_have_the_priority_of_their_level():
    with tempfile.TemporaryFile("w+") as heard:
        environment = os.environ | {"JOURNAL_STREAM": stream_of(heard)}
        subprocess.run([sys.executable, "-c", _SAY], stderr=heard, env=environment, check=True)
        heard.seek(0)
        odd, well = heard.read().splitlines()
    assert odd.startswith("<4>{")
    assert well.startswith("{")
