"""What the scenes of a drill are made of.

Each act has a relay and an empty store of its own, so that none is coloured by another. What a
scene says of mail it has seen; what it says of time is reckoned.
"""

from dataclasses import replace

from relay.rehearse.play import Event, Play
from relay.rehearse.reckoning import Delay
from relay.rehearse.stage import StageError
from relay.rehearse.telling import Told, findings_of
from relay.rehearse.verdict import Outcome, Scene

# How the Subject of every message begins.
SUBJECT = "drill: "


async def usual_way(play: Play) -> Event:
    """The way that the tenant's mail takes while all is well."""
    sent = await play.first("email.sent", await play.send(SUBJECT + "all is well"))
    if sent is None:
        raise StageError("mail was not relayed even while all was well")
    return sent


async def closed(play: Play, scene: Scene) -> Scene:
    """With the account of its mail."""
    await play.account()
    not_kept = tuple(play.not_kept)
    play.not_kept.clear()
    return replace(scene, not_kept=not_kept)


def scene_of(play: Play, name: str, broken: str, outcome: Outcome, mail: str) -> Scene:
    return Scene(play.script.tenant, name, broken, outcome, mail)


def not_rehearsed(play: Play, name: str, why: str) -> Scene:
    return scene_of(play, name, "nothing", Outcome.NOT_REHEARSED, why)


async def with_news(scene: Scene, trouble: Event, told: Told, after: Delay) -> Scene:
    """With the cause as an operator sees it, and who hears of it."""
    tellings = await told.wait()
    return replace(
        scene,
        cause=trouble.get("cause"),
        remedy=trouble.get("remedy"),
        told=tellings,
        told_after=after,
        findings=findings_of(tellings, told.audience),
    )
