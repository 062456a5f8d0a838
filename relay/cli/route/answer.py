"""Answers to ``relay route``: a letter that nobody sent, taken through class, tenant and ways."""

import time
from dataclasses import dataclass
from typing import Any

from relay.cli.upstream import endpoint, pauses
from relay.cli.upstream.ways import Ways
from relay.config.schema import Pilot
from relay.model import header as headers
from relay.model.message import Content, Message, Origin, Recipient
from relay.model.pause import Pause
from relay.model.ports import Bound
from relay.model.reply import Reply
from relay.route.classes import Facts, class_of
from relay.route.identity import Identity, header_under, reverse_path_under
from relay.route.plan import Route, Way, is_piloted, upstreams_of_tenant, way_of


@dataclass(frozen=True, slots=True)
class Letter:
    """What is asked about. ``header_from`` None is the sender; ``bound`` as in model.ports."""

    sender: str
    header_from: str | None = None
    recipients: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    bound: Bound = None

    @property
    def from_field(self) -> str:
        return self.sender if self.header_from is None else self.header_from

    @property
    def mailbox(self) -> str:
        return headers.one_mailbox(self.from_field.encode("utf-8", "surrogateescape"))

    @property
    def header(self) -> bytes:
        """The header section in wire form."""
        fields = (("From", self.from_field), *self.fields)
        lines = (f"{name}: {' '.join(value.split())}\r\n" for name, value in fields)
        return "".join(lines).encode("utf-8", "surrogateescape") + b"\r\n"


@dataclass(frozen=True, slots=True)
class Taken:
    """A route, and the pause that holds mail back on it, if one does."""

    route: Route
    endpoint: str
    pause: Pause | None

    @property
    def row(self) -> dict[str, Any]:
        pause = self.pause
        return {
            "recipients": [recipient.address for recipient in self.route.recipients],
            "route": self.route.kind,
            "upstream": self.route.upstream,
            "paused": pauses.row(pause.held, pause) if pause else None,
        }

    def __str__(self) -> str:
        text = f"{self.route.upstream} ({self.endpoint})" if self.route.upstream else self.endpoint
        if self.route.kind in ("pilot", "failover", "class"):
            text += f", {self.route.kind}"
        if self.route.recipients:
            text += f", for {', '.join(one.address for one in self.route.recipients)}"
        return f"{text}\n{pauses.sentence(self.pause)}" if self.pause else text


@dataclass(frozen=True, slots=True)
class Answer:
    """``header_from`` and ``reply_to`` are the fields' values as they would leave."""

    letter: Letter
    message_class: str
    priority: str
    way: Way
    routes: tuple[Taken, ...]
    reverse_path: str
    header_from: str
    reply_to: str
    refusal: Reply | None

    @property
    def row(self) -> dict[str, Any]:
        """``routes`` has all of them, ``route`` and ``upstream`` are of the first."""
        first = self.routes[0].row
        return {
            "sender": self.letter.sender,
            "tenant": self.way.tenant or None,
            "class": self.message_class or None,
            "priority": self.priority,
            "route": first["route"],
            "upstream": first["upstream"],
            "paused": first["paused"],
            "routes": [taken.row for taken in self.routes],
            "reverse_path": self.reverse_path,
            "from": self.header_from,
            "reply_to": self.reply_to or None,
            "steps": list(self.way.steps),
            "refused": str(self.refusal) if self.refusal else None,
        }

    @property
    def facts(self) -> dict[str, str]:
        """For people; of what is refused, no more than why."""
        because = {"  because": "\n".join(self.way.steps)}
        if self.refusal:
            return {"  refused": str(self.refusal)} | because
        told = {
            "  tenant": self.way.tenant or "none",
            "  class": f"{self.message_class}, priority {self.priority}",
            "  upstream": "\n".join(map(str, self.routes)),
            "  reverse-path": self.reverse_path or "<>",
            "  From": self.header_from,
            "  Reply-To": self.reply_to,
        }
        if not self.message_class:
            del told["  class"]
        return {name: text for name, text in told.items() if text} | because


def answer(ways: Ways, letter: Letter) -> Answer:
    config = ways.snapshot.config
    chosen = _class(ways, letter)
    way = way_of(ways.snapshot, letter.sender, letter.mailbox, letter.bound, chosen)
    admitted = ways.snapshot.tenancy.admit(letter.sender, letter.mailbox, letter.bound)
    header_from, reply_to = _fields_under(way.identity, letter)
    return Answer(
        letter=letter,
        message_class=chosen,
        priority=config.classes[chosen].priority if chosen else "normal",
        way=way,
        routes=tuple(
            _taken(ways, way, route, letter) for route in _routes(ways, way, letter, chosen)
        ),
        reverse_path=reverse_path_under(way.identity, letter.sender),
        header_from=header_from,
        reply_to=reply_to,
        refusal=admitted if isinstance(admitted, Reply) else None,
    )


def _class(ways: Ways, letter: Letter) -> str:
    facts = Facts(letter.sender, letter.recipients, letter.user, letter.header)
    return class_of(ways.snapshot.config.classes, facts)


def _routes(ways: Ways, way: Way, letter: Letter, chosen: str) -> tuple[Route, ...]:
    """As the dispatcher plans them; without recipients, the one that most of them would take."""
    if letter.recipients or way.pilot is None:
        return ways.plan(_message(letter, chosen)).routes
    if _pilots_everybody(way.pilot, letter.sender):
        return (Route("pilot", way.pilot.upstream, way.identity, ()),)
    usual = upstreams_of_tenant(ways.snapshot, way.tenant, ways.is_down)[0]
    kind = way.kind if usual == way.upstream else "failover"
    return (Route(kind, usual, way.identity, ()),)


def _pilots_everybody(pilot: Pilot, sender: str) -> bool:
    """Whoever the recipient: nobody in particular is asked about, and of a share only all."""
    share = 100 if pilot.percent >= 100 else 0
    return is_piloted(pilot.model_copy(update={"percent": share}), sender, "")


def _message(letter: Letter, message_class: str) -> Message:
    now = time.time()
    return Message(
        queue_id="",
        arrived_at=now,
        expires_from=now,
        tenant="",
        priority=1,
        reverse_path=letter.sender,
        header_from=letter.mailbox,
        message_id="",
        smtputf8=False,
        body_8bit=False,
        origin=Origin("", "", letter.user, letter.bound),
        recipients=tuple(Recipient(n, address) for n, address in enumerate(letter.recipients)),
        content=Content(0, 0),
        message_class=message_class,
    )


def _taken(ways: Ways, way: Way, route: Route, letter: Letter) -> Taken:
    config = ways.snapshot.config
    hop = endpoint(config, route.upstream) if route.upstream else "no upstream"
    return Taken(route, hop, ways.pause_on(route.upstream, way.tenant, letter.sender))


def _fields_under(identity: Identity | None, letter: Letter) -> tuple[str, str]:
    """From and Reply-To as they would leave."""
    section = letter.header
    if identity:
        section = header_under(identity, section)
    values = {f.name: headers.value(section, f) for f in headers.fields(section)}
    header_from, reply_to = (values.get(name, b"") for name in (b"from", b"reply-to"))
    return header_from.decode("utf-8", "replace"), reply_to.decode("utf-8", "replace")
