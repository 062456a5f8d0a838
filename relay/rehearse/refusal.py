"""The scene of a message that is refused for good: a dead letter, and its second life."""

from dataclasses import replace

from relay.rehearse.play import Play
from relay.rehearse.reckoning import in_words, told_after
from relay.rehearse.scenes import SUBJECT, closed, scene_of, usual_way, with_news
from relay.rehearse.telling import Told, audience_of_message
from relay.rehearse.upstream import Fault
from relay.rehearse.verdict import Outcome, Scene

# Not refused for anything that a provider's own table would read something else into.
REFUSED = Fault("dot", "554 5.6.0 message content refused", subject=SUBJECT + "content")
_NAME = "dead_letters"


async def dead_letters(play: Play) -> Scene:
    config = play.script.config
    way = await usual_way(play)
    upstream = way["upstream"]
    told = Told(play, audience_of_message(config, play.script.owner))
    await play.strike(upstream, REFUSED)
    mail = await play.send(REFUSED.subject)
    broken = f"{upstream} refuses a message: {REFUSED.reply}"
    if mail.refusal:
        words = f"is refused to the application itself: {mail.refusal}"
        return await closed(play, scene_of(play, _NAME, broken, Outcome.REFUSED, words))
    failed = await play.first("email.send_failed", mail) or {}
    dead = await play.first("email.dead_lettered", mail)
    play.promised(bool(dead), "a refused message becomes a dead letter")
    scene = scene_of(play, _NAME, broken, Outcome.DEAD_LETTER, "")
    scene = await with_news(scene, failed, told, told_after(config))
    await play.mend(upstream)
    if dead:
        await play.stage.verb("dead", "retry", dead["queue_id"])
    relayed = await play.first("email.sent", mail)
    play.promised(bool(relayed), "a dead letter that is retried is relayed")
    dsn = ", the sender gets a report" if play.seen("email.dsn_sent", mail) else ""
    words = (
        f"is a dead letter, kept for {in_words(config.queue.keep_dead)}{dsn}; after relay dead "
        f"retry it is relayed by {upstream}"
    )
    return await closed(play, replace(scene, mail=words))
