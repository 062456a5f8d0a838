"""Advice on certificates in files: those that have expired, and those that are about to."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from relay.config import files
from relay.config.finding import Finding
from relay.config.schema import Config


def certificates_of_listeners(config: Config) -> Iterator[Finding]:
    """Of a chain the first that ends is the end of all."""
    for index, listener in enumerate(config.listen):
        if listener.cert_file and listener.tls != "none":
            ends = files.ends_of_certificates(listener.cert_file)
            harm = "applications that verify it send no mail"
            if ends and (message := _message(listener.cert_file, min(ends), harm)):
                yield Finding(("listen", index, "cert_file"), message)


def certificates_of_private_cas(config: Config) -> Iterator[Finding]:
    """An old one may stand beside its successor: the last that ends counts."""
    for name, upstream in config.upstreams.items():
        if upstream.ca_file and upstream.tls != "none":
            ends = files.ends_of_certificates(upstream.ca_file)
            harm = "no server can be verified by it, and no mail leaves"
            if ends and (message := _message(upstream.ca_file, max(ends), harm)):
                yield Finding(("upstreams", name, "ca_file"), message)


def _message(path: Path, end: float, harm: str) -> str | None:
    left_s = end - time.time()
    if left_s >= files.EXPIRES_SOON_S:
        return None
    day = time.strftime("%Y-%m-%d", time.gmtime(end))
    if left_s < 0:
        return f"the certificate in {path} has expired on {day}: {harm}; renew it"
    return f"the certificate in {path} expires on {day}: renew it, or {harm}"


ADVICE: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    certificates_of_listeners,
    certificates_of_private_cas,
)
