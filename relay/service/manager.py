"""Telling the service manager how we are: sd_notify(3), which is a datagram to a socket it names.

By hand, since it is a dozen lines: no library for it is kept well enough to be worth a dependency.
"""

import os
import socket
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


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
        """Never blocks, never raises: a manager that does not hear is not worth a message."""
        if not self._address:
            return
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notifying,
        ):
            notifying.sendto("\n".join(lines).encode(), self._address)

    def tell_ready(self) -> None:
        self.tell("READY=1")

    def tell_stopping(self) -> None:
        self.tell("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Whatever comes of it, we are ready again. The time is Type=notify-reload's."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.tell_ready()
