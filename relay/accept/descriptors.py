"""How many sessions the descriptors bear that the system allows the process.

With none left, the event loop hangs up on clients without a word, and no message can be spooled or
relayed. So there are fewer sessions rather than too few descriptors.
"""

import resource

import structlog

from relay.config.schema import Config

diagnostics = structlog.get_logger("relay.accept")

# The store and its readers, the loop's own, files that are read at a reload; sockets in between.
_OWN = 48
# Its socket, and the spool file of a large content.
_PER_SESSION = 2


def sessions_borne(config: Config) -> int:
    """``limits.sessions``, or fewer; then it is said what to raise."""
    wanted = config.limits.sessions
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return wanted
    upstreams = sum(upstream.limits.connections for upstream in config.upstreams.values())
    borne = max(1, (allowed - _OWN - upstreams) // _PER_SESSION)
    if borne < wanted:
        diagnostics.warning(
            "too few descriptors for limits.sessions; raise LimitNOFILE= or ulimit -n",
            descriptors=allowed,
            needed=_OWN + upstreams + _PER_SESSION * wanted,
            sessions=borne,
        )
    return min(borne, wanted)


def raise_limit() -> None:
    """To what the system allows: a shell's 1,024 is for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
