"""Single scenes of a drill, with a relay as a process: what they see, and what they complain of."""

import os
import time
from pathlib import Path
from typing import Any

import yaml

from relay.config import load
from relay.rehearse.outages import DOWN, OUTAGES, outage
from relay.rehearse.play import Play, Script, play
from relay.rehearse.refusal import dead_letters
from relay.rehearse.rehearsed import as_written
from relay.rehearse.switch import toggled_off
from relay.rehearse.upstream import Fault
from relay.rehearse.verdict import Outcome

OWNER = "Dana <dana@acme.example>"
QUOTA = next(what for what in OUTAGES if what.name == "quota_reached")


def script(folder: Path, tenant: dict[str, Any], **sections: Any) -> Script:
    upstreams = {name: {"host": f"{name}.invalid"} for name in ("acme-mail", "platform")}
    config = {"upstreams": upstreams, "tenants": {"acme": tenant}, **sections}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return Script(load(file), as_written(file, os.environ), "acme")


async def until(staged: Play, count: int) -> None:
    assert await staged.until("email.sent", count)


async def test_a_person_is_told_as_soon_as_it_says(tmp_path: Path):
    """At the configuration's own pace: the figure is held against the clock."""
    quick = script(
        tmp_path,
        {"upstream": "acme-mail"},
        retry={"first": "200ms"},
        alerts={"webhook": "https://hooks.invalid/", "gather": "1s"},
    )
    async with play(quick) as staged:
        await staged.send("drill: first")
        await until(staged, 1)
        began = time.time()
        scene = await outage(staged, QUOTA)
        told_after = staged.webhook.posts[0].at - began
    assert scene.told_after
    assert scene.told_after.seconds == 1
    assert 1 <= told_after < 10  # it is looked for every second, and machines may be busy
    assert staged.webhook.posts[0].body["cause"] == "quota_exceeded"
    assert scene.ok


async def test_an_owner_on_the_default_does_not_hear_of_its_outage(tmp_path: Path):
    lives_on_default = {"domains": ["acme.example"], "owner": OWNER}
    async with play(script(tmp_path, lives_on_default, default={"upstream": "platform"})) as staged:
        scene = await outage(staged, DOWN)
    assert (scene.outcome, scene.cause, scene.told) == (Outcome.WAITS, "connection_refused", ())
    [finding] = scene.findings
    assert finding.grave
    assert "no tenant that names platform has an owner" in finding.text
    assert scene.not_kept == ()


async def test_mail_that_dies_before_the_failover_takes_over(tmp_path: Path):
    tenant = {"upstream": "acme-mail", "failover": {"to": ["platform"], "after": "3h"}}
    impatient = script(tmp_path, tenant, retry={"give_up_after": "2h"})
    async with play(impatient) as staged:
        scene = await outage(staged, DOWN)
    assert scene.outcome is Outcome.WAITS
    assert scene.mail == (
        "waits for 2h, then it is a dead letter, before the failover takes over after 3h"
    )


async def test_an_application_that_waits_hears_of_the_refusal_itself(tmp_path: Path):
    tenant = {"upstream": "acme-mail", "owner": OWNER, "acknowledge": "relayed"}
    async with play(script(tmp_path, tenant, default={"upstream": "platform"})) as staged:
        scene = await dead_letters(staged)
    assert scene.outcome is Outcome.REFUSED
    assert "5.6.0 message content refused" in scene.mail
    assert scene.ok


async def test_many_quick_tries_are_no_news_of_their_own(tmp_path: Path):
    """Twenty attempts that fail are an alert of another kind, which a real outage of a minute
    would not bring about: a rehearsal whose clock runs fast must not make them."""
    tenant = {"upstream": "acme-mail", "owner": OWNER}
    patient = script(
        tmp_path,
        tenant,
        default={"upstream": "platform"},
        retry={"first": "1s", "factor": 1},
        alerts={"gather": "1d"},
    )
    async with play(patient) as staged:
        scene = await outage(staged, DOWN)
        assert len(staged.seen("email.deferred")) + len(staged.seen("upstream.paused")) < 15
    assert [telling.to for telling in scene.told] == ["dana@acme.example"]


async def test_without_a_default_there_is_no_switch(tmp_path: Path):
    async with play(script(tmp_path, {"upstream": "acme-mail"})) as staged:
        scene = await toggled_off(staged)
    assert scene.outcome is Outcome.NOT_REHEARSED
    assert [finding.text for finding in scene.findings] == [
        "there is no default, so the tenant can't be toggled off"
    ]


async def test_each_message_is_accounted_for(tmp_path: Path):
    async with play(script(tmp_path, {"upstream": "acme-mail"})) as staged:
        await staged.send("drill: arrives")
        await until(staged, 1)
        await staged.strike("acme-mail", Fault("connect"))
        await staged.send("drill: waits")
        await staged.until("email.deferred", 1)
        await staged.account()
        assert staged.not_kept == []
        received = staged.upstreams["acme-mail"].received
        received.append(received[0])
        await staged.account()
        assert staged.not_kept == ["1 of 2 messages arrived twice"]
        received.clear()
        staged.not_kept.clear()
        await staged.account()
        assert staged.not_kept == ["1 of 2 messages were lost"]
