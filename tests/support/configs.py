"""Small configurations: what a relay under test needs and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.upstream import Upstream

Section = dict[str, Any]

# Failures are tried again at once, and pauses are short, so that a test need not wait.
QUICKLY: Section = {"first": "200ms", "factor": 1.5, "longest": "1s", "give_up_after": "5m"}


def relay_config(
    folder: Path,
    port: int,
    upstreams: Mapping[str, Section],
    tenants: Mapping[str, Section] | None = None,
    default: Section | None = None,
    **more: Any,
) -> str:
    """YAML for a relay that listens on ``port`` and keeps its store in ``folder``.

    ``more`` adds top-level keys, or replaces the ones given here.
    """
    sections: Section = {
        "hostname": "relay.test",
        "listen": [f"127.0.0.1:{port}"],
        "store": f"sqlite://{folder.absolute()}/relay.db",
        "upstreams": dict(upstreams),
        "retry": QUICKLY,
    }
    if default is not None:
        sections["default"] = default
    if tenants is not None:
        sections["tenants"] = dict(tenants)
    return yaml.safe_dump(sections | more, sort_keys=False)


def upstream_entry(upstream: Upstream, ca_file: Path | None = None, **more: Any) -> Section:
    """How the configuration names this upstream, with the first of its users."""
    entry: Section = {"host": upstream.host, "port": upstream.port, "tls": upstream.tls}
    if ca_file is not None:
        entry["ca_file"] = str(ca_file)
    for user, password in list(upstream.users.items())[:1]:
        entry |= {"username": user, "password": password}
    return entry | more


def two_tenants(
    folder: Path, port: int, acme: Section, globex: Section, platform: Section, **more: Any
) -> str:
    """acme.example and globex.example by upstreams of their own, everything else by the default,
    under the default's identity."""
    return relay_config(
        folder,
        port,
        upstreams={"acme-mail": acme, "globex-mail": globex, "platform": platform},
        tenants={
            "acme": {"domains": ["acme.example"], "upstream": "acme-mail"},
            "globex": {"domains": ["globex.example"], "upstream": "globex-mail"},
        },
        default={"upstream": "platform", "from": "Platform <noreply@platform.example>"},
        **more,
    )
