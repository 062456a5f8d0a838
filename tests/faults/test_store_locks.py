"""Defect: a page of metrics cost the relay its locks on the store. To see whether a file is
SQLite's it was opened and closed, and by POSIX's rules a process that closes a file gives up every
lock that it has on it (https://www.sqlite.org/howtocorrupt.html, 2.2). The next verb to end took
itself for the last, and removed the log under the relay: what was accepted from then on was in no
file that had a name, and the store could not be read any more."""

import urllib.request
from pathlib import Path

from faults.premises import relay
from support.configs import upstream_entry
from support.mail import send
from support.ports import free_port
from support.upstream import ThreadedUpstream


def test_what_is_shown_over_http_costs_no_lock_on_the_store(tmp_path: Path) -> None:
    http = free_port()
    with ThreadedUpstream() as upstream:
        with relay(
            tmp_path, {"up": upstream_entry(upstream)}, http={"listen": f"127.0.0.1:{http}"}
        ) as program:
            program.start()
            upstream.down()
            for path in ("/metrics", "/api/v1/status", "/readyz"):
                urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=15).close()
            program.verb("queue", "list", check=True)
            for number in range(5):
                send(program.port, "a@acme.example", "b@recipient.example", str(number))
            assert not _deleted_files(program.pid)
            program.kill()
            program.start()
            upstream.up()
            assert len(upstream.wait_for(5)) == 5


def _deleted_files(pid: int) -> list[str]:
    """Open, and without a name."""
    found = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [name for name in found if "relay.db" in name and name.endswith("(deleted)")]
