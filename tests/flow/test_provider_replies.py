"""Every row of every provider's table holds in a whole relay: the upstream says the row's example
in each of the row's phases, and the trail shows what the row says.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.trail import Trail
from support.upstream import Upstream

from relay.config.providers import providers
from relay.model.causes import FINAL_SCOPES, REMEDIES, Cause, Scope
from relay.model.phase import Phase
from relay.model.provider import ReplyRule

# How the scripted upstream calls them. A reply while content is under way is the one to the dot;
# TLS needs a certificate, and is the general table's.
SCRIPTED = {
    Phase.BANNER: "banner",
    Phase.EHLO: "ehlo",
    Phase.AUTH: "auth",
    Phase.MAIL: "mail",
    Phase.RCPT: "rcpt",
    Phase.DATA: "data",
    Phase.AFTER_DOT: "dot",
}
BEFORE_MAIL = {Phase.BANNER, Phase.EHLO, Phase.AUTH}
WITH_REPLIES = [name for name, provider in providers().items() if provider.replies]


@dataclass(frozen=True)
class Saying:
    """A row's example in one of its phases. The name is the tenant's and the upstream's."""

    name: str
    rule: ReplyRule
    phase: Phase

    @property
    def final(self) -> bool:
        return self.rule.permanent and self.rule.example.startswith("5")

    @property
    def scope(self) -> Scope:
        """What is refused at RCPT is the one recipient, elsewhere the message."""
        if self.rule.scope not in FINAL_SCOPES:
            return self.rule.scope
        return Scope.RECIPIENT if self.phase is Phase.RCPT else Scope.MESSAGE

    @property
    def held(self) -> list[str]:
        """What one such reply to one message has paused."""
        if self.scope is Scope.TENANT:
            return ["sender"]
        doubtful = self.rule.cause is Cause.UPSTREAM_UNAVAILABLE and self.phase not in BEFORE_MAIL
        return ["upstream"] if self.scope is Scope.UPSTREAM and not doubtful else []


def sayings(provider: str) -> Iterator[Saying]:
    for i, rule in enumerate(providers()[provider].replies):
        for phase in SCRIPTED:
            if not rule.phases or phase in rule.phases:
                yield Saying(f"row{i}-{SCRIPTED[phase]}", rule, phase)


def entry(provider: str, upstream: Upstream) -> dict[str, Any]:
    region = {"region": "eu-west-1"} if providers()[provider].regions else {}
    login = {"username": "acme", "password": "secret"}
    here = {"host": "127.0.0.1", "port": upstream.port, "tls": "none"}
    return {"provider": provider} | region | login | here


@pytest.mark.parametrize("provider", WITH_REPLIES)
async def test_the_trail_shows_what_the_row_says(
    relay_in: Any, tmp_path: Path, provider: str
) -> None:
    said = {saying.name: saying for saying in sayings(provider)}
    trail = Trail(tmp_path)
    async with AsyncExitStack() as running:
        entries = {}
        for name, saying in said.items():
            script: Any = {SCRIPTED[saying.phase]: saying.rule.example}
            upstream = Upstream(users={"acme": "secret"}, script=script)
            entries[name] = entry(provider, await running.enter_async_context(upstream))
        tenants = {name: {"domains": [f"{name}.example"], "upstream": name} for name in said}
        # Long enough that each is tried but once.
        retry = {"first": "10m", "give_up_after": "2d"}
        relay = await running.enter_async_context(
            relay_in(tmp_path, entries, tenants=tenants, retry=retry)
        )
        async with relay.dialogue() as client:
            for name in said:
                content = b"Subject: hi\r\n\r\nhello\r\n"
                assert (await client.mail(content, f"shop@{name}.example")).startswith("250")
        finals = sum(saying.final for saying in said.values())
        await trail.told("email.send_failed", finals)
        await trail.told("email.deferred", len(said) - finals)
        await asyncio.sleep(0.1)
    wrong = [f"{name}: {problem}" for name in said for problem in problems(trail, said[name])]
    assert not wrong, "\n".join(wrong)


def problems(trail: Trail, saying: Saying) -> Iterator[str]:
    """In which the trail of this tenant is not what its row says."""
    rule = saying.rule
    (event,) = [e for e in trail.events(upstream=saying.name) if e["event"].startswith("email.")]
    expected = {
        "event": "email.send_failed" if saying.final else "email.deferred",
        "cause": rule.cause,
        "scope": saying.scope,
        "remedy": rule.remedy or REMEDIES[rule.cause],
    }
    for key, value in expected.items():
        if event[key] != value:
            yield f"{rule.example!r}: {key} is {event[key]!r}, not {value!r}"
    reply = event["reply"]
    words = [str(reply["code"]), reply["enhanced_status"], reply["text"]]
    if " ".join(word for word in words if word) != rule.example:
        yield f"{rule.example!r} is told as {reply}"
    paused = [pause["scope"] for pause in trail.events("upstream.paused", upstream=saying.name)]
    if paused != saying.held:
        yield f"{rule.example!r}: {paused} are held back, not {saying.held}"
    remedies = {pause["remedy"] for pause in trail.events("upstream.paused", upstream=saying.name)}
    if not remedies <= {event["remedy"]}:
        yield f"{rule.example!r}: a pause has the remedy {remedies}, not that of the row"
    dead = len(trail.events("email.dead_lettered", tenant=saying.name))
    if dead != saying.final:
        yield f"{rule.example!r}: {dead} dead letters"
