"""Where the relay listens: the entries of ``listen``, and the sockets that it was started with.

A socket takes the settings of the entry with the same address, else the defaults; the entries that
no socket covers are bound beside them.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from socket import AF_UNIX, socket

from relay.config.addresses import ListenAddress
from relay.config.schema import Config, Listen
from relay.model.value import value_class

# A unix socket has no address; its clients are on this machine, like those of this one.
_THIS_MACHINE = ListenAddress("127.0.0.1", 0)


@value_class
class Place:
    """``entry`` is its number in ``listen``, None where it has none there. Where it is not
    ``inherited`` it is to be bound."""

    name: str
    address: ListenAddress
    entry: int | None
    inherited: socket | None = None

    def settings(self, config: Config) -> Listen:
        if self.entry is not None:
            return config.listen[self.entry]
        listen = Listen(address=self.address)
        if config.clients.users and listen.private:
            # As in an entry that says nothing of it.
            return listen.model_copy(update={"auth": "optional"})
        return listen


def places(config: Config, inherited: Sequence[socket]) -> list[Place]:
    """First what is there already."""
    numbers = {entry.address: number for number, entry in enumerate(config.listen)}
    given = [_given(one, numbers) for one in inherited]
    covered = {place.entry for place in given}
    to_bind = [
        Place(str(entry), entry.address, number)
        for number, entry in enumerate(config.listen)
        if number not in covered
    ]
    return [*given, *to_bind]


def _given(one: socket, numbers: dict[ListenAddress, int]) -> Place:
    name = one.getsockname()
    if one.family == AF_UNIX:
        path = name.decode(errors="replace") if isinstance(name, bytes) else name
        return Place(f"unix:{path.replace(chr(0), '@')}", _THIS_MACHINE, None, one)
    host, port = name[:2]
    address = ListenAddress(str(ip_address(host.partition("%")[0])), port)
    return Place(str(address), address, numbers.get(address), one)
