"""Tries an upstream step by step, as far as mail would go before its first MAIL, and says goodbye.

It takes the way of the mail (connection.connect), watched, so that what it says is what mail would
meet. It hands nothing over, and raises nothing to its caller.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from relay.config.schema import Timeouts, Upstream
from relay.deliver.certificate import Certificate, described
from relay.deliver.connection import ConnectError, connect, loaded_tls_context
from relay.deliver.masking import Masking
from relay.deliver.watched import kit_for, say_goodbye
from relay.deliver.watching import Step, StepName, Watch
from relay.model.causes import Cause
from relay.model.result import Tls
from relay.model.value import value_class

_MOST_AT_ONCE = 32
# What a certificate is found wanting for, without the library's own words around it.
_VERIFY_ERROR = re.compile(r".*certificate verify failed: (.*?)\.? \(_ssl\.c:\d+\).*")


@value_class
class Probe:
    """The steps in the order in which they were made, up to the first that failed. ``certificate``
    is there where TLS was reached, also one that was found wanting."""

    upstream: str
    steps: tuple[Step, ...]
    certificate: Certificate | None
    tls: Tls | None
    duration_s: float

    @property
    def failure(self) -> Step | None:
        return next((step for step in self.steps if not step.ok), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(step.warning for step in self.steps if step.warning)


async def probe(upstream: Upstream, hostname: str, timeouts: Timeouts) -> Probe:
    """Takes as long as the time-outs allow, at most. Raises nothing but cancellation."""
    began = time.monotonic()
    watch = Watch(Masking(upstream))
    try:
        await _go_through(upstream, hostname, timeouts, watch)
    except ConnectError as error:
        watch.failed(_step_of(error.trouble.cause, watch), error.trouble)
    if _is_unverified(watch):
        await _look_at_certificate(upstream, hostname, timeouts, watch)
    tls = Tls(upstream.tls, *watch.secured_by) if watch.secured_by else None
    duration_s = time.monotonic() - began
    await gone()
    return Probe(upstream.name, tuple(watch.steps), watch.certificate, tls, duration_s)


async def probe_all(
    upstreams: Sequence[Upstream], hostname: str, timeouts: Timeouts
) -> list[Probe]:
    """Side by side, in their order: one that hangs costs the others nothing."""
    # The loop's own has but a few threads, which dead names would keep busy.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_MOST_AT_ONCE))
    turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def in_turn(upstream: Upstream) -> Probe:
        async with turns:
            return await probe(upstream, hostname, timeouts)

    return await asyncio.gather(*map(in_turn, upstreams))


async def gone() -> None:
    """Lets the loop carry out that connections were cut, before it ends itself."""
    await asyncio.sleep(0.01)


async def _go_through(upstream: Upstream, hostname: str, timeouts: Timeouts, watch: Watch) -> None:
    rules = upstream.preset.replies if upstream.preset else ()
    context = await loaded_tls_context(upstream)
    connection = await connect(upstream, hostname, timeouts, context, rules, kit_for(watch))
    watch.begin("quit")
    watch.done(await say_goodbye(connection.wire))


def _step_of(cause: Cause, watch: Watch) -> StepName:
    """The step that failed before it began: ca_file unfit, no STARTTLS offered, no secret."""
    if not watch.steps:
        return "tls"
    return "starttls" if cause is Cause.STARTTLS_UNAVAILABLE else "auth"


def _is_unverified(watch: Watch) -> bool:
    failed = watch.steps[-1]
    return failed.cause is Cause.CERTIFICATE_INVALID and len(watch.steps) > 1


async def _look_at_certificate(
    upstream: Upstream, hostname: str, timeouts: Timeouts, watch: Watch
) -> None:
    """Once more, without the verification and without credentials: what does the server show?"""
    failed = watch.steps[-1]
    match = _VERIFY_ERROR.fullmatch(failed.detail)
    said = match[1] if match else failed.detail
    glance = Watch(Masking(upstream))
    anonymous = upstream.model_copy(update={"username": None, "password": None})
    try:
        connection = await connect(
            anonymous, hostname, timeouts, _trusting_context(), (), kit_for(glance)
        )
        connection.wire.abort()
    except ConnectError:
        pass  # the handshake may have come about before that
    watch.certificate = glance.certificate
    if glance.certificate:
        said = f"{said}; {described(glance.certificate)}"
    watch.steps[-1] = replace(failed, detail=said)


def _trusting_context() -> ssl.SSLContext:
    """For a look and nothing else: nothing that is worth anything goes over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
