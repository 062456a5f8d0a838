"""What a reload tells of: which tenants and upstreams are others now."""

from collections.abc import Callable
from pathlib import Path

from relay.config.changes import Changes, Difference, changes
from relay.config.schema import Config

Loads = Callable[..., Config]

BASE = """
upstreams:
  one: {host: one.example}
  two: {host: two.example, username: u, password: "file:%s"}
default: {upstream: one}
tenants:
  acme: {domains: [acme.example], upstream: two}
"""


def difference(loads: Loads, tmp_path: Path, old: str, new: str) -> Changes:
    secret = tmp_path / "secret"
    if not secret.exists():
        secret.write_text("old")
    return changes(loads(old % secret), loads(new % secret))


def test_nothing_is_nothing(loads: Loads, tmp_path: Path) -> None:
    told = difference(loads, tmp_path, BASE, "# a remark\n" + BASE)
    assert told == Changes(Difference(), Difference(), (), ())
    assert not told.tenants


def test_tenants_and_upstreams_by_name_the_others_by_section(loads: Loads, tmp_path: Path) -> None:
    new = BASE.replace("one.example", "uno.example") + "  beta: {domains: [beta.example]}\n"
    told = difference(loads, tmp_path, BASE, new.replace("acme:", "zeta:") + "audit: {keep: 1d}\n")
    assert told.upstreams == Difference(changed=("one",))
    assert told.tenants == Difference(added=("beta", "zeta"), removed=("acme",))
    assert told.sections == ("audit",)


def test_a_secret_that_was_rotated_is_a_change(loads: Loads, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    old = loads(BASE % secret)
    assert old.upstreams["two"].password is not None
    old.upstreams["two"].password.reveal()
    secret.write_text("new")
    assert changes(old, loads(BASE % secret)).upstreams == Difference(changed=("two",))


def test_what_is_bound_and_opened_is_fixed_but_users_may_come(loads: Loads, tmp_path: Path) -> None:
    users = "clients: {users: {crm: {password_hash: '%s'}}}\n"
    hashed = users % "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
    assert difference(loads, tmp_path, BASE, BASE + hashed).fixed == ()
    other = BASE + "listen: [127.0.0.1:2526]\nstore: sqlite:///other/relay.db\n"
    assert difference(loads, tmp_path, BASE, other).fixed == ("listen", "store")
