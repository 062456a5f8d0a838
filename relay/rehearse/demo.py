"""The story that ``relay demo`` tells: three senders, a toggle, an upstream that breaks, the trail.

Everything said of a message is read from what an upstream really received.
"""

import asyncio
import json
import math
import smtplib
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from importlib.resources import files
from string import Template
from typing import Any

from relay.rehearse.narrator import Narrator
from relay.rehearse.stage import Stage, StageError
from relay.rehearse.trail import in_words
from relay.rehearse.upstream import Received, Upstream

_ARRIVES_WITHIN_S = 15.0
_SMTP_TIMEOUT_S = 15.0
_CUSTOMER = "ann@customer.example"
_HOME = "noreply@platform.example"

# The upstream entries of demo.yaml, by the user that each logs in as.
_ENTRIES = {"acme": "acme-mail", "globex": "globex-mail", "platform": "platform"}


@dataclass(frozen=True, slots=True)
class Mail:
    """What an application hands in. ``sender`` is its From; the Subject tells it from others."""

    sender: str
    subject: str

    @property
    def address(self) -> str:
        return parseaddr(self.sender)[1]


ACME = Mail("Acme Shop <shop@acme.example>", "Your order 1042")
GLOBEX = Mail("Globex Billing <billing@eu.globex.example>", "Invoice 77")
INITECH = Mail("Initech Fax <fax@initech.example>", "You have a fax")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What should be seen of a message at the upstream that it came to."""

    entry: str
    header_from: str
    reverse_path: str
    reply_to: str = ""


class Demo:
    """``tell`` the story once; ``stay`` afterwards for whoever wants to send mail of their own."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        self._stage = stage
        self._narrator = narrator
        self._implicit: Upstream
        self._starttls: Upstream

    async def tell(self) -> None:
        began = time.monotonic()
        await self._set_the_stage()
        await self._ask_for_routes()
        await self._send_of_three()
        await self._toggle()
        await self._break_and_mend()
        await self._read_the_trail()
        self._sum_up(time.monotonic() - began)

    async def stay(self) -> None:
        """Tells of each message that arrives, until it is cancelled."""
        told = {upstream: len(upstream.received) for upstream in (self._implicit, self._starttls)}
        self._narrator.heading("Your turn")
        self._narrator.say(
            f"Point an application at 127.0.0.1, port {self._stage.port}: no TLS, no login, any "
            "sender and any recipient. Look at it from another terminal:"
        )
        verbs = ("queue list", "audit --follow", "tenant disable globex --reason 'my turn'")
        command = f"relay --config {self._stage.config_file}"
        self._narrator.lines([f"{command} {verb}" for verb in verbs])
        self._narrator.say("Ctrl-C ends it. What arrives is shown here:")
        while True:
            await self._stage.until(
                lambda: any(len(one.received) > count for one, count in told.items()), math.inf
            )
            for upstream, count in told.items():
                for received in upstream.received[count:]:
                    recipients = ", ".join(received.recipients)
                    title = f"{recipients}: {received.field('Subject')}"
                    self._narrator.facts(title, _facts(upstream, received))
                told[upstream] = len(upstream.received)

    # -- the chapters

    async def _set_the_stage(self) -> None:
        self._narrator.say(
            "A relay of its own, two upstreams with real TLS and AUTH, real mail. All of it lives "
            f"in {self._stage.folder} and on loopback, and goes when this ends. No mail leaves "
            "this machine."
        )
        self._implicit = await self._stage.upstream("acme", "implicit", ("acme",))
        self._starttls = await self._stage.upstream("shared", "starttls", ("globex", "platform"))
        await self._stage.start_relay(self._config())
        self._narrator.heading("The stage")
        self._narrator.facts(
            f"The relay takes mail on 127.0.0.1:{self._stage.port}",
            {
                "acme.example": f"acme-mail    127.0.0.1:{self._implicit.port}, implicit TLS",
                "globex.example": f"globex-mail  127.0.0.1:{self._starttls.port}, STARTTLS",
                "anyone else": f"platform     127.0.0.1:{self._starttls.port}, STARTTLS; "
                "it is the default",
            },
        )

    async def _ask_for_routes(self) -> None:
        self._narrator.heading("Whose mail goes where, and why?")
        self._narrator.say("The relay can say so before anything is sent.")
        await self._verb("route", *(mail.address for mail in (ACME, GLOBEX, INITECH)))

    async def _send_of_three(self) -> None:
        self._narrator.heading("Three applications send")
        self._narrator.say(
            "They know nothing of upstreams: each connects to the relay, as to any localhost:25. "
            "This is what the upstreams received."
        )
        for mail in (ACME, GLOBEX, INITECH):
            await self._send(mail)
        await self._see(ACME, Outcome("acme-mail", ACME.sender, ACME.address))
        await self._see(GLOBEX, Outcome("globex-mail", GLOBEX.sender, GLOBEX.address))
        default = Outcome("platform", f"Initech Fax <{_HOME}>", _HOME, INITECH.sender)
        await self._see(INITECH, default)
        self._narrator.say(
            "Initech is nobody's tenant: its mail takes the default, under the default's name, "
            "with the way back to Initech in Reply-To."
        )

    async def _toggle(self) -> None:
        self._narrator.heading("A tenant is toggled off")
        self._narrator.say("Suppose that acme's provider has suspended its account.")
        await self._verb("tenant", "disable", "acme", "--reason", "account suspended")
        mail = Mail(ACME.sender, "Your order 1043")
        await self._send(mail)
        await self._see(mail, Outcome("platform", f"Acme Shop <{_HOME}>", _HOME, ACME.sender))
        self._narrator.say("The very next message took the default. And back again:")
        await self._verb("tenant", "enable", "acme", "--reason", "account restored")

    async def _break_and_mend(self) -> None:
        self._narrator.heading("An upstream breaks, and comes back")
        self._implicit.stop()
        mail = Mail(ACME.sender, "Your order 1044")
        await self._send(mail)
        self._narrator.say(
            "acme-mail was unplugged just before the next message. The application noticed "
            "nothing: it has its 250, and the relay has the message."
        )
        await self._see_waiting(mail)
        await self._implicit.start()
        self._narrator.say("acme-mail is plugged in again. Nobody does anything else:")
        await self._see(mail, Outcome("acme-mail", ACME.sender, ACME.address))

    async def _see_waiting(self, mail: Mail) -> None:
        def deferred() -> list[dict[str, Any]]:
            return self._stage.events("email.deferred")

        await self._stage.until(lambda: bool(deferred()), _ARRIVES_WITHIN_S)
        await self._verb("queue", "list")
        for event in deferred()[:1]:
            self._narrator.facts("Why", {"cause": event["cause"], "remedy": event["remedy"]})
        self._narrator.expect(bool(deferred()), "it waits, with its cause and a remedy")
        elsewhere = self._starttls.message_about(mail.subject)
        self._narrator.expect(elsewhere is None, "it does not go by anybody else's upstream")

    async def _read_the_trail(self) -> None:
        self._narrator.heading("The trail")
        self._narrator.say("Every step is on record, in the same transaction as the step itself.")
        received = len(self._implicit.received) + len(self._starttls.received)
        # The upstream has a message some milliseconds before its 250 is on record.
        await self._stage.until(
            lambda: len(self._stage.events("email.sent")) >= received, _ARRIVES_WITHIN_S
        )
        trail = [json.loads(line) for line in (await self._audit()).splitlines()]
        self._narrator.lines([in_words(entry) for entry in trail])
        relayed = sum(entry["event"] == "email.sent" for entry in trail)
        self._narrator.expect(
            relayed == received,
            f"the trail has {relayed} messages sent, the upstreams have {received} received",
        )

    def _sum_up(self, seconds: float) -> None:
        if self._narrator.failures:
            self._narrator.say(f"In {seconds:.1f} s. Not everything came out as it should:")
            self._narrator.lines(self._narrator.failures)
        else:
            self._narrator.say(f"All of it came out as said, in {seconds:.1f} s.")

    # -- what the chapters are made of

    def _config(self) -> str:
        template = files("relay.rehearse").joinpath("demo.yaml").read_text(encoding="utf-8")
        return Template(template).substitute(
            port=self._stage.port,
            folder=self._stage.folder,
            implicit_port=self._implicit.port,
            starttls_port=self._starttls.port,
        )

    async def _send(self, mail: Mail) -> None:
        try:
            await asyncio.to_thread(_hand_in, self._stage.port, mail)
        except OSError as error:
            raise StageError(f"the relay did not take {mail.subject!r}: {error}") from error

    async def _see(self, mail: Mail, expected: Outcome) -> None:
        """Show a message as its upstream received it, and whether it is as it should be."""

        def arrived() -> bool:
            return self._find(mail) is not None

        await self._stage.until(arrived, _ARRIVES_WITHIN_S)
        found = self._find(mail)
        if found is None:
            self._narrator.expect(False, f"{mail.address}: {mail.subject} has arrived")
            return
        upstream, received = found
        self._narrator.facts(f"{mail.address}: {mail.subject}", _facts(upstream, received))
        self._narrator.expect(
            _outcome(received) == expected,
            f"by {expected.entry}, under {parseaddr(expected.header_from)[1]}",
        )

    def _find(self, mail: Mail) -> tuple[Upstream, Received] | None:
        for upstream in (self._implicit, self._starttls):
            if received := upstream.message_about(mail.subject):
                return upstream, received
        return None

    async def _verb(self, *arguments: str) -> None:
        output = await self._stage.verb(*arguments)
        typed = [f"'{word}'" if " " in word else word for word in arguments]
        self._narrator.command(typed, output)

    async def _audit(self) -> str:
        return await self._stage.verb("audit", "--json")


def _hand_in(port: int, mail: Mail) -> None:
    """As an application would; OSError where it doesn't get its 250."""
    message = EmailMessage()
    message["From"] = mail.sender
    message["To"] = _CUSTOMER
    message["Subject"] = mail.subject
    message.set_content("Hello Ann,\n\nthis is a rehearsal.\n")
    with smtplib.SMTP("127.0.0.1", port, timeout=_SMTP_TIMEOUT_S) as client:
        client.send_message(message)


def _outcome(received: Received) -> Outcome:
    return Outcome(
        _ENTRIES[received.user],
        received.field("From"),
        received.reverse_path,
        received.field("Reply-To"),
    )


def _facts(upstream: Upstream, received: Received) -> dict[str, str]:
    tls = "implicit TLS" if upstream.tls == "implicit" else "STARTTLS"
    seen = _outcome(received)
    how = f"{tls}, {received.tls_version}, logged in as {received.user}"
    return {
        "came out at": f"{seen.entry} ({how})",
        "From": seen.header_from,
        "Reply-To": seen.reply_to,
        "reverse-path": seen.reverse_path,
    }
