"""/metrics: what is counted and what is measured, as Prometheus reads it.

Names and labels are a contract (docs/monitoring.md).
"""

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from relay import __version__
from relay.config.files import ends_of_certificates
from relay.config.schema import Config
from relay.web.counters import Counters
from relay.web.families import Distribution, Family
from relay.web.observed import QueueCounts, Vitals

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_ACCEPTED = Family(
    CounterMetricFamily, "relay_messages_accepted", "Messages that were answered with 250."
)
_RECIPIENTS = Family(
    CounterMetricFamily,
    "relay_recipients",
    "Recipients of applications' mail, by what an attempt came to.",
    ("tenant", "upstream", "route", "result"),
)
_FAILURES = Family(
    CounterMetricFamily,
    "relay_failures",
    "Failed attempts, by cause and scope.",
    ("cause", "scope"),
)
_ACCEPT = Distribution(
    "relay_accept_seconds", "From the end of a message to its commit, behind which comes the 250."
)
_SEND = Distribution(
    "relay_send_seconds", "From the application's 250 to the upstream's, by recipient."
)
_MESSAGES = Family(GaugeMetricFamily, "relay_queue_messages", "Messages in the store.", ("state",))
_OLDEST = Family(
    GaugeMetricFamily,
    "relay_queue_oldest_seconds",
    "For how long the oldest message waits, dead letters apart; 0 where none does.",
)
_UP = Family(
    GaugeMetricFamily,
    "relay_upstream_up",
    "0 while the whole upstream is paused, by itself or by hand.",
    ("upstream",),
)
_CONNECTIONS = Family(
    GaugeMetricFamily,
    "relay_upstream_connections",
    "Connections to the upstream, in use or idle.",
    ("upstream",),
)
_ENABLED = Family(
    GaugeMetricFamily,
    "relay_tenant_enabled",
    "0 while the tenant is off and its mail leaves by the default.",
    ("tenant",),
)
_CERTIFICATE = Family(
    GaugeMetricFamily,
    "relay_certificate_expiry_seconds",
    "How long the certificate still holds that a listener shows, or that an upstream last showed.",
    ("listener", "upstream"),
)
_DROPPED = Family(
    CounterMetricFamily,
    "relay_audit_lines_dropped",
    "Audit lines that standard output, or the store, did not take.",
)
_BUILD = Family(GaugeMetricFamily, "relay_build_info", "What runs here.", ("version", "python"))


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a page tells beside what is counted. ``now`` in Unix seconds."""

    now: float
    vitals: Vitals
    queue: QueueCounts


def moment_of(vitals: Vitals, queue: QueueCounts) -> Moment:
    return Moment(time.time(), vitals, queue)


class Metrics:
    """``page`` runs off the event loop, one call at a time."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._listeners = _Listeners()

    def page(self, config: Config, moment: Moment) -> bytes:
        listeners = self._listeners.certificate_ends(config)
        texts = (*self._counted(), *_measured(moment), _certificates(moment, listeners))
        return "".join(texts).encode()

    def _counted(self) -> Iterator[str]:
        counters = self._counters
        yield _ACCEPTED.one(counters.accepted)
        yield _RECIPIENTS.text(counters.recipients())
        yield _FAILURES.text(counters.failures())
        yield _ACCEPT.text(counters.accept_s)
        yield _SEND.text(counters.send_s)


class _Listeners:
    """The certificates that listeners show: those that their files held when they were read, at
    the start or at a reload."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._ends: Mapping[str, float] = {}

    def certificate_ends(self, config: Config) -> Mapping[str, float]:
        """By listener, in Unix seconds. Of a chain the first that ends is the end of all."""
        if config is not self._config:
            found = {
                str(listen): ends_of_certificates(listen.cert_file)
                for listen in config.listen
                if listen.cert_file and listen.tls != "none"
            }
            self._ends = {listener: min(ends) for listener, ends in found.items() if ends}
            self._config = config
        return self._ends


def _measured(moment: Moment) -> Iterator[str]:
    vitals, queue = moment.vitals, moment.queue
    oldest_s = 0.0 if queue.oldest_at is None else max(0.0, moment.now - queue.oldest_at)
    states = {"waiting": queue.waiting, "under_way": queue.under_way, "dead": queue.dead}
    yield _MESSAGES.text(_labelled(states))
    yield _OLDEST.one(round(oldest_s, 3))
    yield _UP.text(_labelled(vitals.upstreams_up))
    yield _CONNECTIONS.text(_labelled(vitals.connections))
    yield _ENABLED.text(_labelled(vitals.tenants_enabled))
    yield _DROPPED.one(vitals.lines_dropped)
    yield _BUILD.text({(__version__, platform.python_version()): 1})


def _certificates(moment: Moment, listeners: Mapping[str, float]) -> str:
    """One of the two labels is empty."""
    left = {(listener, ""): end - moment.now for listener, end in listeners.items()}
    for upstream, end in moment.vitals.certificate_ends.items():
        left["", upstream] = end - moment.now
    return _CERTIFICATE.text({of: round(seconds) for of, seconds in left.items()})


def _labelled(values: Mapping[str, float]) -> Mapping[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}
