"""Watches one connection to an upstream: each step with its time, each line of the dialogue.

It is told by the parts that make the connection (watched). Nothing that it tells holds a secret.
"""

import ssl
import time
from collections.abc import Callable
from typing import Literal

from relay.deliver.certificate import Certificate, certificate_from, described, soon
from relay.deliver.masking import Masking
from relay.model.causes import REMEDIES, Cause
from relay.model.phase import Phase
from relay.model.result import Trouble
from relay.model.value import value_class

StepName = Literal["dns", "tcp", "tls", "banner", "ehlo", "starttls", "auth", "quit"]
# Who says a line: we, the server, or nobody, where it tells of what happened below SMTP.
Speaker = Literal["client", "server", "relay"]

# What mail calls a failure to connect, where TLS is a part of that.
_TO_CONNECT = (Cause.CONNECT_TIMEOUT, Cause.CONNECTION_REFUSED)


@value_class
class Step:
    """``detail`` is what was found, or, of a failed step, what the server or this machine said.
    ``warning``: it works, and will not for long."""

    name: StepName
    ok: bool
    duration_s: float
    detail: str = ""
    cause: Cause | None = None
    remedy: str | None = None
    warning: str | None = None


@value_class
class Line:
    """``at_s``: seconds since the watch began."""

    at_s: float
    speaker: Speaker
    text: str


def _nobody(line: Line) -> None:
    pass


class Watch:
    """What was seen. ``heard`` gets each line at once."""

    def __init__(self, masking: Masking, heard: Callable[[Line], None] = _nobody) -> None:
        self._masking = masking
        self._heard = heard
        self._began = time.monotonic()
        self._open: StepName | None = None
        self._open_since = self._began
        self.steps: list[Step] = []
        self.lines: list[Line] = []
        self.certificate: Certificate | None = None
        self.secured_by: tuple[str, str] | None = None

    # -- steps

    @property
    def open_step(self) -> StepName | None:
        return self._open

    def begin(self, name: StepName) -> None:
        self._open, self._open_since = name, time.monotonic()

    def done(self, detail: str = "", warning: str | None = None) -> None:
        """The step that is open went well."""
        assert self._open is not None
        duration_s = time.monotonic() - self._open_since
        detail = self._masking.masked(detail)
        self._close(Step(self._open, True, duration_s, detail, warning=warning))

    def failed(self, name: StepName, trouble: Trouble) -> None:
        """The step that is open has failed; ``name`` is its name if none is."""
        duration_s = time.monotonic() - self._open_since if self._open else 0.0
        name = self._open or name
        remedy = trouble.remedy
        if name == "tls" and trouble.cause in _TO_CONNECT:
            remedy = REMEDIES[Cause.TLS_HANDSHAKE_FAILED]
        said = self._masking.masked(str(trouble.reply or _without_phase(trouble.detail)))
        self._close(Step(name, False, duration_s, said, trouble.cause, remedy))

    def _close(self, step: Step) -> None:
        self.steps.append(step)
        self._open = None

    # -- lines

    def client(self, text: str) -> None:
        self._tell("client", text)

    def server(self, text: str) -> None:
        self._tell("server", text)

    def note(self, text: str) -> None:
        self._tell("relay", text)

    def reply(self, code: int, message: str) -> None:
        """As it came: the library has only joined the lines."""
        *others, last = sound(message).split("\n")
        for text in others:
            self.server(f"{code}-{text}")
        self.server(f"{code} {last}".rstrip())

    def _tell(self, speaker: Speaker, text: str) -> None:
        line = Line(time.monotonic() - self._began, speaker, self._masking.masked(text))
        self.lines.append(line)
        self._heard(line)

    # -- TLS

    def handshake_begins(self) -> None:
        """It is begun once; the library goes on with it whenever octets have come."""
        if self._open == "starttls":
            self.done()
            self.note("the server is ready for TLS")
            self.begin("tls")

    def secured(self, connection: ssl.SSLObject) -> None:
        """The handshake is at its end."""
        octets = connection.getpeercert(binary_form=True)
        self.certificate = certificate_from(octets) if octets else None
        version, cipher = connection.version() or "TLS", (connection.cipher() or ("",))[0]
        self.secured_by = version, cipher
        shown = f"{version}, {cipher}"
        self.note(shown)
        if self.certificate is None:
            self.done(shown)
        else:
            self.done(f"{shown}; {described(self.certificate)}; verified", soon(self.certificate))


def _without_phase(detail: str) -> str:
    """The step is named beside it."""
    for phase in Phase:
        detail = detail.removesuffix(f" ({phase})")
    return detail


def sound(text: str) -> str:
    """The library keeps octets that are no UTF-8 as half surrogate pairs."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
