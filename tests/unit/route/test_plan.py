"""Which tenant and which way: the order of DESIGN, asked of a real configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import load
from relay.model.message import Content, Message, Origin, Recipient
from relay.model.reply import Reply
from relay.model.toggle import Toggle
from relay.route.plan import Snapshot, nothing_down, plan, upstreams_of_tenant, way_of
from relay.route.tenancy import Tenancy

TENANTS: dict[str, Any] = {
    "acme": {"domains": ["acme.example", "*.acme.example"], "upstream": "own"},
    "globex": {
        "domains": ["globex.example", "eu.acme.example", "*.deep.acme.example"],
        "senders": ["billing@acme.example"],
        "upstream": "other",
        "from": "Globex <noreply@globex.example>",
    },
    "off": {"domains": ["off.example"], "upstream": "own", "enabled": False},
    "housed": {"domains": ["bücher.example"]},
}
DEFAULT = {"upstream": "platform", "from": "Platform <noreply@platform.example>"}


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return snapshot_of(tmp_path, TENANTS, DEFAULT)


def snapshot_of(folder: Path, tenants: dict[str, Any], default: Any, **more: Any) -> Snapshot:
    upstream = {"host": "127.0.0.1", "port": 2525, "tls": "none"}
    sections = {
        "listen": ["127.0.0.1:2500"],
        "upstreams": dict.fromkeys(("own", "other", "platform"), upstream),
        "tenants": tenants,
        **more,
    }
    if default:
        sections["default"] = default
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(sections, allow_unicode=True))
    config = load(file, {})
    return Snapshot(config, Tenancy(config.tenants.values(), has_default=bool(default)))


@pytest.mark.parametrize(
    ("reverse_path", "header_from", "tenant"),
    [
        ("shop@acme.example", "", "acme"),
        ("SHOP@ACME.EXAMPLE", "", "acme"),
        ("shop@www.acme.example", "", "acme"),
        ("shop@a.b.acme.example", "", "acme"),
        ("billing@acme.example", "", "globex"),  # exact senders come first
        ("Billing@Acme.example", "", "globex"),
        ("x@eu.acme.example", "", "globex"),  # then domains
        ("x@deep.acme.example", "", "acme"),  # a wildcard is not for its own parent
        ("x@y.deep.acme.example", "", "globex"),  # then the longest wildcard
        ("x@notacme.example", "", ""),
        ("www-data@web01", "shop@acme.example", "acme"),
        ("", "shop@acme.example", "acme"),
        ("shop@globex.example", "shop@acme.example", "globex"),  # the reverse-path comes first
        ("x@xn--bcher-kva.example", "", "housed"),
        ("x@BÜCHER.example", "", "housed"),
        ("root", "", ""),
        ("", "", ""),
    ],
)
def test_which_tenant(snapshot: Snapshot, reverse_path: str, header_from: str, tenant: str) -> None:
    assert way_of(snapshot, reverse_path, header_from, None).tenant == tenant


@pytest.mark.parametrize(
    ("sender", "kind", "upstream"),
    [
        ("x@acme.example", "tenant", "own"),
        ("x@globex.example", "tenant", "other"),
        ("x@off.example", "default", "platform"),
        ("x@xn--bcher-kva.example", "default", "platform"),
        ("x@nobody.example", "default", "platform"),
    ],
)
def test_which_way(snapshot: Snapshot, sender: str, kind: str, upstream: str) -> None:
    way = way_of(snapshot, sender, "", None)
    assert (way.kind, way.upstream) == (kind, upstream)
    assert way.steps
    assert upstreams_of_tenant(snapshot, way.tenant, nothing_down) == (upstream,)


def test_a_toggle_wins_over_the_file_and_holds_for_what_was_asked_before(
    snapshot: Snapshot,
) -> None:
    assert way_of(snapshot, "x@acme.example", "", None).upstream == "own"
    off = Toggle("acme", enabled=False, reason="suspended", actor="jo", at=1.0)
    on = Toggle("off", enabled=True, reason="", actor="jo", at=1.0)
    toggled = snapshot.with_toggles({"acme": off, "off": on})
    way = way_of(toggled, "x@acme.example", "", None)
    assert (way.kind, way.upstream) == ("default", "platform")
    assert "jo: suspended" in " ".join(way.steps)
    assert way_of(toggled, "x@off.example", "", None).upstream == "own"
    assert toggled.generation == snapshot.generation + 1


def test_the_identity_is_that_of_the_way(snapshot: Snapshot) -> None:
    default = way_of(snapshot, "x@off.example", "", None).identity
    assert default
    assert default.rewrites("x@off.example")
    own = way_of(snapshot, "x@globex.example", "", None).identity
    assert own
    assert not own.rewrites("x@globex.example")
    assert not own.rewrites("billing@acme.example")
    assert own.rewrites("www-data@web01")
    assert way_of(snapshot, "x@acme.example", "", None).identity is None


def test_without_a_default_there_may_be_no_way(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, {"acme": TENANTS["acme"]}, None)
    way = way_of(snapshot, "x@gone.example", "", None)
    assert way.upstream is None
    refused = snapshot.tenancy.admit("x@gone.example", "", None)
    assert isinstance(refused, Reply)
    assert (refused.code, refused.enhanced_status) == (550, "5.7.1")
    assert snapshot.tenancy.admit("x@acme.example", "", None) == "acme"


def test_bound_clients(snapshot: Snapshot) -> None:
    tenancy = snapshot.tenancy
    both = ("acme", "off")
    assert tenancy.admit("x@acme.example", "", both) == "acme"
    assert isinstance(tenancy.admit("x@globex.example", "", both), Reply)
    assert isinstance(tenancy.admit("x@nobody.example", "", both), Reply)
    assert tenancy.sender_refusal("x@globex.example", both)
    assert not tenancy.sender_refusal("x@nobody.example", both)  # From may decide
    # A single name is forced, and no name at all is refused.
    assert tenancy.admit("x@globex.example", "", ("acme",)) == "acme"
    assert isinstance(tenancy.admit("x@acme.example", "", ()), Reply)


def test_two_tenants_of_one_domain_are_told_apart_by_their_clients(tmp_path: Path) -> None:
    tenants = {
        "staging": {"domains": ["acme.example"], "upstream": "own"},
        "production": {"domains": ["acme.example"], "upstream": "other"},
    }
    clients = {
        "networks": [
            {"network": "10.1.0.0/16", "tenants": ["staging"]},
            {"network": "10.2.0.0/16", "tenants": ["production"]},
        ]
    }
    snapshot = snapshot_of(tmp_path, tenants, DEFAULT, clients=clients)
    assert way_of(snapshot, "x@acme.example", "", ("staging",)).upstream == "own"
    assert way_of(snapshot, "x@acme.example", "", ("production",)).upstream == "other"


def test_a_plan_is_a_partition_of_the_pending_recipients(snapshot: Snapshot) -> None:
    recipients = tuple(Recipient(i, f"r{i}@x.example") for i in range(3))
    message = Message(
        queue_id="0RQ4MPG92452P", arrived_at=0, expires_from=0, tenant="", priority=1,
        reverse_path="x@acme.example", header_from="", message_id="", smtputf8=False,
        body_8bit=False, origin=Origin("::1", "x"), recipients=recipients, content=Content(1, 1),
    )  # fmt: skip
    planned = plan(snapshot, message)
    assert planned.tenant == "acme"
    assert [r for route in planned.routes for r in route.recipients] == list(recipients)
