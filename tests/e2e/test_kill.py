"""A 250 is kept: the relay is killed under load at moments it does not choose."""

import random
import smtplib
import threading
import time
from collections import Counter

from support.mail import message
from support.upstream import ThreadedUpstream

_KILLS = 6
_SENDERS = 8
_RECIPIENT = "joe@recipient.example"
_TENANTS = ("acme.example", "globex.example", "elsewhere.example")


class Load:
    """Applications that send as fast as they can, and remember which messages got their 250."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.promised: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_all, args=(number,)) for number in range(_SENDERS)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _send_all(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
                    for _ in range(20):
                        count += 1
                        self._send_one(client, number, f"{number}-{count}")
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)  # the relay has just been killed

    def _send_one(self, client: smtplib.SMTP, number: int, name: str) -> None:
        sender = f"app@{_TENANTS[number % len(_TENANTS)]}"
        # Now and then one that is kept in chunks, and one in a file of its own.
        body = b"x" * 70 + b"\r\n"
        body *= random.choices([10, 5_000, 20_000], weights=[97, 2, 1])[0]
        client.sendmail(sender, [_RECIPIENT], message(sender, _RECIPIENT, f"no {name}", body))
        self.promised.append(name)


def test_every_message_that_got_its_250_arrives(site):
    with Load(site.port) as load:
        for _ in range(_KILLS):
            site.relay.start()
            time.sleep(random.uniform(0.2, 1.5))
            site.relay.kill()
    site.relay.start()

    upstreams = [site.acme, site.globex, site.platform]
    promised = set(load.promised)
    arrived = _arrived(upstreams)
    deadline = time.monotonic() + 60
    while promised - arrived.keys() and time.monotonic() < deadline:
        time.sleep(0.1)
        arrived = _arrived(upstreams)
    missing = promised - arrived.keys()
    twice = sum(count - 1 for count in arrived.values())
    print(f"{len(promised)} promised, {len(arrived)} arrived, {twice} of them again")
    assert len(promised) > 100
    assert not missing, f"{len(missing)} of {len(promised)} are lost: {sorted(missing)[:10]}"
    assert _is_empty_soon(site.relay)


def _arrived(upstreams: list[ThreadedUpstream]) -> Counter[str]:
    names: Counter[str] = Counter()
    for upstream in upstreams:
        for transaction in list(upstream.transactions):
            subject = transaction.header.partition(b"Subject: no ")[2]
            names[subject.partition(b"\r\n")[0].decode()] += 1
    return names


def _is_empty_soon(relay) -> bool:
    deadline = time.monotonic() + 30
    while relay.listing("queue", "list"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
