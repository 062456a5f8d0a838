"""Sends made-up mail to a relay (or any SMTP server); says its rate, latencies and refusals.

    python bench/load.py 25 --domain acme.example --to nobody@recipient.example
    python bench/load.py 127.0.0.1:2525 --domain acme.example --to ... --rate 50 --seconds 60

What is accepted is relayed: point the tenant at an upstream that throws mail away, such as
smtp-sink. Only loopback is taken for an address, unless --elsewhere is said. With --rate, messages
fall due at a steady rate, whether earlier ones have been answered or not, and a latency counts from
the moment at which its message fell due: a server that stalls can't hide what came meanwhile. It is
reckoned to the 250, as is the time from the final dot alone. Standard library only; it takes a
part of a processor itself, some 0.5 ms a message.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import itertools
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_REPLY_S = 60
_LINE_OCTETS = 76
_SHARES = (0.5, 0.95, 0.99, 1.0)
_NAMES = ("p50", "p95", "p99", "worst")
# So that nobody asks for a flood by a slip of the finger.
_MOST = {"sessions": 1000, "rate": 10_000, "size": 100_000_000, "seconds": 3600}


@dataclass(frozen=True)
class Load:
    """What is sent. No ``rate``: as fast as the answers come. ``keep`` sessions for the next."""

    host: str
    port: int
    sender: str
    recipient: str
    sessions: int = 20
    rate: float | None = None
    size: int = 4096
    seconds: float = 30
    keep: bool = False


@dataclass
class Outcome:
    """Latencies in seconds; refusals by what was asked and answered."""

    took_s: float = 0
    whole_s: list[float] = field(default_factory=list)
    dot_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> int:
        return len(self.whole_s)


class Refused(Exception):
    """An answer that is not the one hoped for."""


class Session:
    """A connection that speaks SMTP as a simple application does: one command, one answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, load: Load) -> "Session":
        session = cls(*await asyncio.open_connection(load.host, load.port))
        try:
            await session._hear("the connection", "220")
            await session._ask("EHLO load.example", "250")
        except BaseException:
            session.close()
            raise
        return session

    async def send(self, load: Load, content: bytes) -> float:
        """The moment at which the final dot was sent."""
        await self._ask(f"MAIL FROM:<{load.sender}>", "250")
        await self._ask(f"RCPT TO:<{load.recipient}>", "250")
        await self._ask("DATA", "354")
        self._writer.write(content)
        await self._writer.drain()
        sent_at = time.perf_counter()
        await self._hear("the content", "250")
        return sent_at

    async def leave(self) -> None:
        """Whatever it says to that: the mail has been taken."""
        with contextlib.suppress(Refused, OSError):
            await self._ask("QUIT", "221")
        self.close()

    def close(self) -> None:
        self._writer.close()

    async def _ask(self, command: str, hoped_for: str) -> None:
        self._writer.write(f"{command}\r\n".encode())
        await self._hear(command.split()[0], hoped_for)

    async def _hear(self, asked: str, hoped_for: str) -> None:
        while (line := await self._reader.readline())[3:4] == b"-":
            pass
        if not line.startswith(hoped_for.encode()):
            said = line.decode(errors="replace").strip() or "nothing, the connection ended"
            raise Refused(f"{asked}: {said}")


async def carry(load: Load) -> Outcome:
    """All the sessions of the load, until its time is up and the last one is answered."""
    outcome, content = Outcome(), _content(load.size)
    started = time.perf_counter()
    due = _due(load, started)
    await asyncio.gather(
        *(_one_after_another(load, content, due, outcome) for _ in range(load.sessions))
    )
    outcome.took_s = time.perf_counter() - started
    return outcome


async def _one_after_another(
    load: Load, content: bytes, due: Iterator[float], outcome: Outcome
) -> None:
    session: Session | None = None
    for moment in due:
        await asyncio.sleep(max(0, moment - time.perf_counter()))
        try:
            async with asyncio.timeout(_REPLY_S):
                session = session or await Session.open(load)
                sent_at = await session.send(load, content)
                answered_at = time.perf_counter()
                outcome.whole_s.append(answered_at - moment)
                outcome.dot_s.append(answered_at - sent_at)
                if not load.keep:
                    await session.leave()
                    session = None
        except (Refused, OSError) as error:
            outcome.refused[str(error) or type(error).__name__] += 1
            if session:
                session.close()
            session = None
            await asyncio.sleep(0.1)  # nobody is helped by a thousand refusals a second
    if session:
        await session.leave()


def _due(load: Load, started: float) -> Iterator[float]:
    """The moments at which messages fall due, shared by all sessions."""
    for number in itertools.count():
        moment = started + number / load.rate if load.rate else time.perf_counter()
        if moment >= started + load.seconds:
            return
        yield moment


def _content(size: int) -> bytes:
    head = b"Subject: load\r\nFrom: load test <load@test.invalid>\r\n\r\n"
    line = b"x" * _LINE_OCTETS + b"\r\n"
    return head + line * max(1, (size - len(head)) // len(line)) + b".\r\n"


def percentiles(latencies_s: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(latencies_s)
    last = len(ordered) - 1
    return {
        name: ordered[round(share * last)] * 1000
        for name, share in zip(_NAMES, _SHARES, strict=True)
    }


def summary(outcome: Outcome) -> dict[str, object]:
    return {
        "accepted": outcome.accepted,
        "seconds": outcome.took_s,
        "rate": outcome.accepted / outcome.took_s,
        "whole_ms": percentiles(outcome.whole_s) if outcome.whole_s else {},
        "dot_ms": percentiles(outcome.dot_s) if outcome.dot_s else {},
        "refused": dict(outcome.refused),
    }


def _print(outcome: Outcome) -> None:
    rate = outcome.accepted / outcome.took_s
    print(f"{outcome.accepted} accepted in {outcome.took_s:.1f} s: {rate:.1f} a second")
    if outcome.accepted:
        print(f"{'':24}" + "".join(f"{name:>12}" for name in _NAMES))
        for what, latencies in (
            ("due to 250", outcome.whole_s),
            ("final dot to 250", outcome.dot_s),
        ):
            shown = "".join(f"{ms:9.2f} ms" for ms in percentiles(latencies).values())
            print(f"{what:24}{shown}")
    print(f"{outcome.refused.total()} refused")
    for reply, count in outcome.refused.most_common():
        print(f"{count:8}  {reply}")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("server", type=_server, help="PORT, or ADDRESS:PORT")
    parser.add_argument("--domain", required=True, help="of the sender: whose mail it is")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="the recipient")
    parser.add_argument("--sessions", type=int, default=20, help="at once")
    parser.add_argument("--rate", type=float, help="messages a second; else as fast as it goes")
    parser.add_argument("--size", type=int, default=4096, help="octets of a message")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--keep", action="store_true", help="many messages a session")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--elsewhere",
        action="store_true",
        help="take an address that is not loopback: mail goes to another machine, which may relay "
        "it to real people",
    )
    chosen = parser.parse_args(words)
    for name, most in _MOST.items():
        value = getattr(chosen, name)
        if value is not None and not 0 < value <= most:
            parser.error(f"--{name} lies between 0 and {most}")
    return chosen


def _load(chosen: argparse.Namespace) -> Load:
    host, port = chosen.server
    if not chosen.elsewhere and not _is_loopback(host):
        sys.exit(f"load.py: {host} is not loopback; --elsewhere sends mail there all the same")
    same = ("sessions", "rate", "size", "seconds", "keep")
    return Load(
        host=host,
        port=port,
        sender=f"load@{chosen.domain}",
        recipient=chosen.to,
        **{name: getattr(chosen, name) for name in same},
    )


def _server(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def _is_loopback(host: str) -> bool:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)


def main(words: Sequence[str] | None = None) -> int:
    """0 where all was accepted."""
    chosen = _arguments(words)
    outcome = asyncio.run(carry(_load(chosen)))
    if chosen.json:
        print(json.dumps(summary(outcome)))
    else:
        _print(outcome)
    return int(bool(outcome.refused) or not outcome.accepted)


if __name__ == "__main__":
    sys.exit(main())
