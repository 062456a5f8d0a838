"""Scenes in which an upstream fails as a whole: down, revoked, expired, slow, out of quota; and how
it comes back.
"""

from collections.abc import Callable
from dataclasses import dataclass

from relay.config.schema import Config
from relay.model.causes import Cause
from relay.rehearse import reckoning
from relay.rehearse.play import Event, Mail, Play
from relay.rehearse.reckoning import Delay, in_words, told_after
from relay.rehearse.scenes import SUBJECT, closed, not_rehearsed, scene_of, usual_way, with_news
from relay.rehearse.telling import Told, audience_of_upstream
from relay.rehearse.upstream import Fault
from relay.rehearse.verdict import Outcome, Scene

_RESUMES_WITHIN_S = 20.0
_RETRIED_EVERY_S = 0.3
# Long enough for a busy machine not to be taken for a silent upstream.
_SILENCE_S = 2.5
_QUOTA = "452 4.7.1 Daily message quota exceeded"


@dataclass(frozen=True, slots=True)
class Outage:
    """A fault of the upstream as a whole. ``broken`` says it, after the upstream's name;
    ``messages`` have to meet it before it counts as the upstream's."""

    name: str
    broken: str
    fault: Callable[[Config, str], Fault]
    messages: int = 1
    detected: Callable[[Config, str], Delay] | None = None
    reply_s: float | None = None
    unfit: Callable[[Config, str], str | None] = lambda config, upstream: None


def quota_reply(config: Config, upstream: str) -> Fault:
    """The provider's own words, where its table has an example of them."""
    preset = config.upstreams[upstream].preset
    for rule in preset.replies if preset else ():
        if rule.cause is Cause.QUOTA_EXCEEDED:
            return Fault("dot", rule.example)
    return Fault("dot", _QUOTA)


def _without_login(config: Config, upstream: str) -> str | None:
    return None if config.upstreams[upstream].username else f"{upstream} has no login"


def _without_tls(config: Config, upstream: str) -> str | None:
    tls = config.upstreams[upstream].tls
    return f"{upstream} is on loopback, without TLS" if tls == "none" else None


DOWN = Outage("upstream_down", "refuses every connection", lambda c, u: Fault("connect"))
OUTAGES = (
    Outage(
        "credentials_revoked",
        "takes its login no more",
        lambda c, u: Fault("auth"),
        unfit=_without_login,
    ),
    Outage(
        "certificate_expired",
        "shows a certificate that has expired",
        lambda c, u: Fault("tls"),
        unfit=_without_tls,
    ),
    Outage(
        "slow",
        "takes connections, and then says nothing",
        lambda c, u: Fault("mail"),
        messages=2,
        detected=reckoning.silence,
        reply_s=_SILENCE_S,
    ),
    Outage("quota_reached", "has no quota left", quota_reply),
)


async def outage(play: Play, what: Outage) -> Scene:
    """It breaks; it is mended where the account has to come out even."""
    way = await usual_way(play)
    if excuse := what.unfit(play.script.config, way["upstream"]):
        return not_rehearsed(play, what.name, excuse)
    scene = await _broken(play, what, way)
    await play.mend(way["upstream"])
    await _all_relayed(play)
    return await closed(play, scene)


async def outage_and_recovery(play: Play) -> list[Scene]:
    way = await usual_way(play)
    down = await _broken(play, DOWN, way)
    down = await closed(play, down)
    return [down, await _recovery(play, way["upstream"], down)]


async def _broken(play: Play, what: Outage, way: Event) -> Scene:
    config, upstream = play.script.config, way["upstream"]
    fault = what.fault(config, upstream)
    told = Told(play, audience_of_upstream(config, upstream), upstream)
    await play.strike(upstream, fault)
    mails = [await play.send(f"{SUBJECT}{what.name} {n + 1}") for n in range(what.messages)]
    await _others_go_on(play)
    deferred = await play.first("email.deferred", mails[0]) or {}
    play.promised(bool(deferred), "mail waits, with a cause, while the upstream is broken")
    first = what.detected(config, upstream) if what.detected else None
    outcome, words = await _what_became(play, mails, way, deferred, first)
    scene = scene_of(play, what.name, f"{upstream} {what.broken}{_in_reply(fault)}", outcome, words)
    return await with_news(scene, deferred, told, told_after(config, first=first))


async def _others_go_on(play: Play) -> None:
    relayed = await play.first("email.sent", await play.send_of_bystander(SUBJECT + "bystander"))
    play.promised(bool(relayed), "mail of other tenants goes on meanwhile")


async def _what_became(
    play: Play, mails: list[Mail], way: Event, deferred: Event, first: Delay | None
) -> tuple[Outcome, str]:
    """``first``: what passes before the upstream is known to be down."""
    config, tenant = play.script.config, play.script.owner
    tries = reckoning.tries(config, deferred.get("class") or "")
    failover = tenant.failover if tenant and way["route"] == "tenant" else None
    if failover is None:
        return Outcome.WAITS, f"waits: {tries}; then it is a dead letter"
    life = reckoning.gives_up_after(config, deferred.get("class") or "")
    after = failover.after + (first.seconds if first else 0.0)
    if life <= after:
        words = f"waits for {in_words(life)}, then it is a dead letter, before the failover"
        return Outcome.WAITS, f"{words} takes over after {in_words(after)}"
    taken = [await play.first("email.sent", mail) for mail in mails]
    by = [event["upstream"] for event in taken if event and event["route"] == "failover"]
    if not play.promised(len(by) == len(mails), "mail takes the failover"):
        return Outcome.WAITS, f"waits: {tries}"
    return Outcome.FAILOVER, f"waits for {in_words(after)}, then takes the failover {by[0]}"


async def _recovery(play: Play, upstream: str, down: Scene) -> Scene:
    """Nobody does anything: the next probe finds it mended."""
    config = play.script.config
    told = Told(play, audience_of_upstream(config, upstream))
    await play.mend(upstream)
    resumed = await _probed(play)
    play.promised(resumed, "the pause ends by itself")
    await _all_relayed(play)
    after = await play.first("email.sent", await play.send(SUBJECT + "after the recovery"))
    back = after is not None and after["upstream"] == upstream
    play.promised(back, f"mail goes by {upstream} again")
    longest = in_words(reckoning.longest_wait(config))
    words = (
        f"leaves by {upstream} again at the next try, at the latest after about {longest}; at once "
        f"with relay upstream resume {upstream}"
    )
    scene = scene_of(
        play, "recovery", f"{upstream} is mended, nobody does anything", Outcome.RELAYED, words
    )
    if down.told:
        scene = await with_news(scene, {}, told, told_after(config))
    return await closed(play, scene)


async def _probed(play: Play) -> bool:
    """Whether the pause ends. What waits probes it; where all has taken the failover, new mail."""
    for number in range(int(_RESUMES_WITHIN_S / _RETRIED_EVERY_S)):
        if await play.until("upstream.resumed", 1, _RETRIED_EVERY_S):
            return True
        await play.send(f"{SUBJECT}while it recovers {number + 1}")
    return False


async def _all_relayed(play: Play) -> None:
    """What waited leaves by itself once all is well."""
    for mail in play.sent:
        if not mail.refusal:
            relayed = await play.first("email.sent", mail)
            play.promised(bool(relayed), f"{mail.subject!r} leaves once all is well")


def _in_reply(fault: Fault) -> str:
    return f": {fault.reply}" if fault.reply else ""
