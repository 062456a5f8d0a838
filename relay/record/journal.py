"""Lines for systemd's journal, which takes a priority from "<4>" at the front (sd-daemon(3)).

So ``journalctl --unit relay --priority warning`` shows what somebody should look at.
"""

import os
from collections.abc import Mapping
from typing import TextIO

_NOTICE, _WARNING, _ERROR = b"<5>", b"<4>", b"<3>"

# Every other event is as the unit's SyslogLevel= has it: info. A failed attempt that is repeated is
# the relay's daily bread.
_PRIORITIES: Mapping[str, bytes] = {
    "relay.started": _NOTICE,
    "relay.stopping": _NOTICE,
    "relay.stopped": _NOTICE,
    "config.reloaded": _NOTICE,
    "tenant.disabled": _NOTICE,
    "tenant.enabled": _NOTICE,
    "upstream.resumed": _NOTICE,
    "client.refused": _WARNING,
    "client.auth_failed": _WARNING,
    "email.send_failed": _WARNING,
    "email.expired": _WARNING,
    "email.dead_lettered": _WARNING,
    "email.purged": _WARNING,
    "upstream.paused": _WARNING,
    "alert.failed": _ERROR,
    "config.rejected": _ERROR,
    "queue.full": _ERROR,
    "store.failed": _ERROR,
}
_OF_LEVELS = {"warning": "<4>", "error": "<3>", "critical": "<2>"}


def reads(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written there goes to the journal: JOURNAL_STREAM names device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # also where a stream is none of the system's
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def prioritised(event: str, line: bytes) -> bytes:
    """The line of an audit event."""
    return _PRIORITIES.get(event, b"") + line


def prefixed(logger: object, level: str, line: object) -> str:
    """structlog's last processor, for diagnostics."""
    return f"{_OF_LEVELS.get(level, '')}{line}"
