"""Free ports of the loopback interface."""

import random
import socket

# Below Linux's range for outgoing connections, one of which could take the port before its user.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port among a hundred tried")
