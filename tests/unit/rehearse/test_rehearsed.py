"""The configuration of a rehearsal: the operator's, with all that lies outside put on loopback."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.certificates import Certificates

from relay.config import load
from relay.config.providers import provider, provider_names
from relay.config.schema import Config
from relay.deliver.classify import of_reply
from relay.model.causes import Cause, Scope
from relay.model.phase import Phase
from relay.model.reply import reply_from_lines
from relay.model.result import Failed
from relay.rehearse.outages import quota_reply
from relay.rehearse.reckoning import Delay, in_words, pace, silence, told_after, tries
from relay.rehearse.refusal import REFUSED
from relay.rehearse.rehearsed import Casting, Endpoint, as_written, rehearsed
from relay.rehearse.verdict import Finding, Outcome, Scene, Telling

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def loaded(folder: Path, text: str, environ: Mapping[str, str] = {}) -> tuple[Path, Config]:
    file = folder / "operators.yaml"
    file.write_text(text)
    return file, load(file, environ)


def rehearse(
    folder: Path,
    ca_file: Path,
    text: str,
    tenant: str,
    environ: Mapping[str, str] = {},
) -> tuple[str, Config]:
    """The rehearsal's YAML, and what the relay makes of it."""
    file, config = loaded(folder, text, environ)
    casting = Casting(
        tenant=tenant,
        bystander="bystander",
        ports=(2525, 2526),
        folder=folder,
        ca_file=ca_file,
        endpoints={name: Endpoint(4000, "implicit") for name in (*config.upstreams, "bystander")},
        webhook_url="http://127.0.0.1:4001/",
        pace=pace(config, config.tenants.get(tenant)),
    )
    made = rehearsed(as_written(file, environ), config, casting)
    rehearsal = folder / "rehearsal.yaml"
    rehearsal.write_text(made)
    return made, load(rehearsal, {})


HOSTILE = """
store: postgresql://relay:hunter2@db.real.example/relay
listen: ["0.0.0.0:2500"]
clients:
  networks: [{network: 10.0.0.0/8, tenants: [staging, production]}]
  users: {crm: {password_hash: "file:/real/hash", tenants: [staging]}}
limits:
queue: {min_free_disk: 900GiB, keep_dead: 3d}
upstreams:
  one: {host: smtp.real.example, username: hunter2, password: hunter2, ca_file: CA,
        limits: {per_day: 1, connections: 1}}
  "no": {provider: ses, region: eu-west-1, username: hunter2, password: "file:/real/secret"}
default: {upstream: one, per_tenant: {per_hour: 1}}
tenants:
  staging: {domains: [real.example], upstream: one, notes: "07:30"}
  production:
    domains: ["*.shop.example"]
    upstream: "no"
    acknowledge: relayed
    failover: {to: [one], after: 4h}
    pilot: {upstream: one, percent: 100}
classes:
  otp: {match: {user: crm}, give_up_after: 10m, retry: {first: 5m, longest: 6m}}
  slow: {match: {sender: "*"}, retry: {first: 1h}}
retry: {first: 10s, longest: 2h, factor: 3}
alerts: {webhook: "https://hooks.real.example/hunter2", email: ops@platform.example, gather: 1d}
"""


def test_nothing_of_the_real_world_comes_through(tmp_path: Path, certificates: Certificates):
    text = HOSTILE.replace("ca_file: CA", f"ca_file: {certificates.ca_file}")
    environ = {
        "RELAY_UPSTREAMS__ONE__PASSWORD": "hunter3",
        "RELAY_DEFAULT__FROM": "P <p@x.example>",
    }
    ca_file = tmp_path / "drill-ca.pem"
    ca_file.write_bytes(certificates.ca_file.read_bytes())
    made, config = rehearse(tmp_path, ca_file, text, "production", environ)
    for word in ("hunter", "/real/", "smtp.real", "hooks.real", "db.real", "postgresql"):
        assert word not in made
    assert {upstream.host for upstream in config.upstreams.values()} == {"127.0.0.1"}
    assert {upstream.ca_file for upstream in config.upstreams.values()} == {ca_file}
    assert {(str(listen), listen.tenants) for listen in config.listen} == {
        ("127.0.0.1:2525", ("production",)),
        ("127.0.0.1:2526", ("bystander",)),
    }
    assert config.store.path == tmp_path / "relay.db"
    assert str(config.alerts.webhook and config.alerts.webhook.reveal()).startswith("http://127.")
    assert str(config.default and config.default.from_) == "P <p@x.example>"


def test_what_is_rehearsed_stays_as_it_is(tmp_path: Path, certificates: Certificates):
    text = HOSTILE.replace("ca_file: CA", f"ca_file: {certificates.ca_file}")
    _, config = rehearse(tmp_path, certificates.ca_file, text, "production")
    assert config.upstreams["no"].provider == "ses"
    assert config.upstreams["one"].limits.connections == 1
    assert config.upstreams["one"].limits.per_day == 10**9
    assert config.tenants["staging"].notes == "07:30"
    assert config.queue.keep_dead == 3 * 86400
    assert config.queue.min_free_disk == 0
    assert config.alerts.gather == pytest.approx(1.0)
    failover = config.tenants["production"].failover
    assert failover
    assert failover.after == pytest.approx(4 * 3600 / 86400, abs=0.001)
    assert config.tenants["production"].pilot is None
    assert config.classes["otp"].give_up_after == 600


def test_every_tenant_of_the_example_can_be_rehearsed(tmp_path: Path, certificates: Certificates):
    text = EXAMPLE.read_text()
    for tenant in yaml.safe_load(text)["tenants"]:
        _, config = rehearse(tmp_path, certificates.ca_file, text, tenant)
        assert tenant in config.tenants


@pytest.mark.parametrize("name", provider_names())
def test_a_provider_takes_the_stand_ins_words_as_meant(tmp_path: Path, name: str):
    region = ", region: eu-west-1" if provider(name).regions else ""
    _, config = loaded(tmp_path, f"upstreams: {{a: {{provider: {name}{region}}}}}")
    rules = provider(name).replies
    for fault, cause, scope in (
        (quota_reply(config, "a"), Cause.QUOTA_EXCEEDED, Scope.UPSTREAM),
        (REFUSED, Cause.MESSAGE_REFUSED, Scope.MESSAGE),
    ):
        code, _, words = fault.reply.partition(" ")
        trouble = of_reply(Phase.AFTER_DOT, reply_from_lines(int(code), [words]), rules)
        assert (trouble.cause, trouble.scope) == (cause, scope)
        assert isinstance(trouble, Failed) == (scope is Scope.MESSAGE)


def config_of(folder: Path, **sections: Any) -> Config:
    upstreams = {
        "a": {"host": "a.example"},
        "b": {"host": "b.example", "limits": {"connections": 1}},
    }
    return loaded(folder, yaml.safe_dump({"upstreams": upstreams, **sections}))[1]


def test_times_are_those_of_the_operators_configuration(tmp_path: Path):
    config = config_of(
        tmp_path,
        timeouts={"reply": "90s"},
        alerts={"gather": "2m"},
        classes={
            "otp": {"match": {"sender": "*"}, "give_up_after": "10m", "retry": {"first": "5m"}}
        },
    )
    assert told_after(config) == Delay(120, "alerts.gather 2m")
    assert told_after(config, first=silence(config, "a")).seconds == 210
    assert told_after(config, first=silence(config, "b")) == Delay(
        300, "timeouts.reply 1m 30s, twice, then alerts.gather 2m"
    )
    assert tries(config, "") == (
        "tried again after 30s, then at growing distances up to 1h, for 2d"
    )
    # A pause is probed by the schedule that holds for all, whatever a class has of its own.
    assert tries(config, "otp") == (
        "tried again after 30s, then at growing distances up to 1h, for 10m"
    )
    steady = config_of(tmp_path, retry={"first": "2m", "factor": 1})
    assert tries(steady, "") == "tried again after 2m, for 2d"


def test_a_clock_runs_no_faster_than_it_has_to(tmp_path: Path):
    quick = config_of(tmp_path, retry={"first": "200ms"}, alerts={"gather": "1s"})
    assert pace(quick, None) == 1
    assert pace(config_of(tmp_path), None) == 300


def test_a_scene_is_well_where_promises_are_kept_and_somebody_is_told():
    scene = Scene("acme", "slow", "it is slow", Outcome.WAITS, "waits")
    owner = Telling("owner", "dana@acme.example")
    late = Telling("operator", "ops@platform.example", "it would wait")
    told = replace(scene, told=(owner, late), told_after=Delay(60, "alerts.gather 1m"))
    assert scene.ok
    assert scene.also(Finding("it has no failover")).ok
    assert not scene.also(Finding("nobody would be told", grave=True)).ok
    assert not replace(scene, not_kept=("mail goes on",)).ok
    assert told.reached == (owner,)
    assert (told.row()["told_after_s"], replace(told, told=(late,)).row()["told_after_s"]) == (
        60,
        None,
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (0.2, "200ms"), (59.6, "1m"), (90, "1m 30s"), (3600, "1h"), (90061, "1d 1h")],
)
def test_durations_in_words(seconds: float, words: str):
    assert in_words(seconds) == words
