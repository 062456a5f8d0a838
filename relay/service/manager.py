"""Telling the service manager how we are: sd_notify(3), which is a datagram to a socket it names.

By hand, since it is a dozen lines: no library for it is kept well enough to be worth a dependency.
"""

import os
import socket
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# A manager that is busy (a boot, a reload of its own) reads in the end.
_PATIENCE_S = 5.0


class Manager:
    """Silent where nobody has named a socket. ``watchdog_s`` is how long it waits for a sign of
    life before it starts us anew; None: for ever."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        # systemd writes an abstract socket's leading NUL as "@".
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> "Manager":
        """Takes the variables out, so that a child does not speak for us."""
        address, watchdog_us, watched_pid = (environ.pop(name, "") for name in _VARIABLES)
        ours = watched_pid in ("", str(os.getpid()))
        watched = ours and watchdog_us.isdecimal() and int(watchdog_us) > 0
        return cls(address, int(watchdog_us) / 1e6 if watched else None)

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """What is soon said again. Never blocks, never raises: a manager that does not hear is not
        worth a message."""
        self._send(lines, 0)

    def tell_ready(self) -> None:
        self._tell_once("READY=1")

    def tell_stopping(self) -> None:
        self._tell_once("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Whatever comes of it, we are ready again. The time is Type=notify-reload's."""
        self._tell_once("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.tell_ready()

    def _tell_once(self, *lines: str) -> None:
        """Waits for room, if there is none: a READY=1 that is lost is a start that has failed."""
        self._send(lines, _PATIENCE_S)

    def _send(self, lines: Sequence[str], patience_s: float) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.settimeout(patience_s)
            # Unconnected, it would count as writable whatever waits at the other end.
            notifying.connect(self._address)
            notifying.send("\n".join(lines).encode())
