"""The sockets that we were started with: sd_listen_fds(3). The manager holds them open through a
restart, so that nobody who connects meanwhile is refused."""

import os
import socket
from collections.abc import MutableMapping

_FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Takes the variables out; OSError where one is no listening stream socket."""
    pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
    # Whoever has left the variables to us may have kept the sockets.
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    # FileDescriptorName=, by default the name of the unit that a descriptor comes from.
    named = names.split(":") + [""] * int(count)
    return [_taken(_FIRST + number, named[number]) for number in range(int(count))]


def _taken(descriptor: int, name: str) -> socket.socket:
    os.set_inheritable(descriptor, False)
    taken = socket.socket(fileno=descriptor)
    if not _listens(taken):
        raise OSError(
            f"descriptor {descriptor} ({name or 'unnamed'}) was handed over as a listening "
            "socket and is none: the unit wants ListenStream= and Accept=no"
        )
    return taken


def _listens(taken: socket.socket) -> bool:
    if taken.type != socket.SOCK_STREAM:
        return False
    return bool(taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
