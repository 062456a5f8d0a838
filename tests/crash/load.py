"""Applications that keep several sessions busy and write down what they were promised."""

import random
import re
import smtplib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from support.mail import message

SENDERS = ("app@acme.example", "shop@globex.example", "root@elsewhere.example")
# Refused by every upstream of these tests.
BAD = "nobody@recipient.example"

_QUEUED = re.compile(rb"queued as (\w+)")
_LINE = b"x" * 70 + b"\r\n"
# In the row, in many pages, in a file of its own; how often.
_LINES, _WEIGHTS = (3, 1_000, 17_000), (94, 5, 1)
_AGAIN_S = 0.02


@dataclass(frozen=True)
class Letter:
    sender: str
    recipients: tuple[str, ...]
    subject: str
    body: bytes


@dataclass
class Load:
    """``with Load(port, sessions, seed) as load``. ``promised``: the letters that got their 250, by
    queue_id; ``unanswered`` counts those whose final dot was sent and that got no reply."""

    port: int
    sessions: int
    seed: int
    promised: dict[str, Letter] = field(default_factory=dict)
    unanswered: int = 0
    refused: list[str] = field(default_factory=list)
    lines: Sequence[int] = _LINES
    weights: Sequence[int] = _WEIGHTS
    pause_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._threads = [
            threading.Thread(target=self._keep_sending, args=(number,), daemon=True)
            for number in range(self.sessions)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _keep_sending(self, session: int) -> None:
        chance = random.Random(f"{self.seed}/{session}")
        number = 0
        while not self._stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
                    for _ in range(20):
                        number += 1
                        self.send(client, self._letter(chance, f"{session}-{number}"))
                        if self._stop.wait(self.pause_s):
                            return
            except (OSError, smtplib.SMTPException):
                time.sleep(_AGAIN_S)  # the relay has just been killed

    def _letter(self, chance: random.Random, subject: str) -> Letter:
        count = chance.choices((1, 2, 3), (8, 1, 1))[0]
        recipients = [f"r{number}@recipient.example" for number in range(count)]
        if chance.random() < 0.05:
            recipients.append(BAD)
        (lines,) = chance.choices(self.lines, self.weights)
        body = f"{subject}\r\n".encode() + _LINE * lines
        return Letter(chance.choice(SENDERS), tuple(recipients), subject, body)

    def send(self, client: smtplib.SMTP, letter: Letter) -> str | None:
        """The queue_id, where the relay says 250; None where it says something else."""
        client.ehlo_or_helo_if_needed()
        client.mail(letter.sender)
        for recipient in letter.recipients:
            client.rcpt(recipient)
        content = message(letter.sender, letter.recipients[0], letter.subject, letter.body)
        try:
            code, text = client.data(content)
        except (OSError, smtplib.SMTPException):
            self.unanswered += 1
            raise
        if code != 250:
            self.refused.append(f"{code} {text.decode()}")
            client.rset()
            return None
        queue_id = _QUEUED.search(text)[1].decode()
        self.promised[queue_id] = letter
        return queue_id


def until(condition: Callable[[], object], timeout_s: float = 30, every_s: float = 0.1) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(every_s)
