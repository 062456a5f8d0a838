"""The scene of a tenant that is toggled off, in an outage where that makes a difference."""

from relay.config.schema import Default, Tenant
from relay.rehearse.play import Mail, Play
from relay.rehearse.scenes import SUBJECT, closed, not_rehearsed, scene_of, usual_way
from relay.rehearse.upstream import Fault
from relay.rehearse.verdict import Finding, Outcome, Scene

_NAME = "toggled_off"


async def toggled_off(play: Play) -> Scene:
    default, tenant = play.script.config.default, play.script.owner
    way = await usual_way(play)
    if tenant is None or way["route"] == "default":
        return not_rehearsed(play, _NAME, "its mail leaves by the default as it is")
    if default is None:
        excuse = "there is no default, so the tenant can't be toggled off"
        return not_rehearsed(play, _NAME, excuse).also(Finding(excuse))
    waiting = await _waits_on(play, way["upstream"], default.upstream)
    words = await _off(play, tenant, default, waiting)
    await play.mend(way["upstream"])
    await _on_again(play, tenant)
    down = f", {way['upstream']} being down" if waiting else ""
    done = f"relay tenant disable {tenant.name}{down}"
    return await closed(play, scene_of(play, _NAME, done, Outcome.DEFAULT, words))


async def _waits_on(play: Play, upstream: str, default: str) -> Mail | None:
    """A message that waits on the old way, where the two ways differ."""
    if upstream == default:
        return None
    await play.strike(upstream, Fault("connect"))
    mail = await play.send(SUBJECT + "waits")
    await play.first("email.deferred", mail)
    return mail


async def _off(play: Play, tenant: Tenant, default: Default, waiting: Mail | None) -> str:
    """What becomes of mail, that which waited and that which comes."""
    await play.stage.verb("tenant", "disable", tenant.name, "--reason", "drill")
    mail = await play.send(SUBJECT + "toggled off")
    left = await play.first("email.sent", mail)
    by_default = left is not None and left["route"] == "default"
    play.promised(by_default, "mail leaves by the default from the next try on")
    sender = next((copy.field("From") for copy in play.copies(mail)), "")
    if default.from_ and default.rewrite_from == "always":
        play.promised(default.from_.address in sender, "it leaves under the default's identity")
    words = f"leaves by the default {default.upstream} as {sender}, from the next try on"
    return words + (await _old_mail(play, waiting) if waiting else "")


async def _old_mail(play: Play, waiting: Mail) -> str:
    left = await play.first("email.sent", waiting)
    if not play.promised(left is not None, "what waited on the old way leaves") or left is None:
        return ""
    if left["route"] == "failover":
        return f"; what waited had gone by the failover {left['upstream']}"
    return ", and so does what waited"


async def _on_again(play: Play, tenant: Tenant) -> None:
    await play.stage.verb("tenant", "enable", tenant.name, "--reason", "drill")
    back = await play.first("email.sent", await play.send(SUBJECT + "toggled on"))
    own = back is not None and back["route"] != "default"
    play.promised(own, "mail leaves by its own way again after relay tenant enable")
