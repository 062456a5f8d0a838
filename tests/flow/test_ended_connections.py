"""Defect: each connection to an upstream that had ended was kept, with the 256 KiB of its TLS
buffer, until the next collection of garbage: 2 KiB for each message."""

import gc
from typing import Any

import aiosmtplib
from support.certificates import Certificates
from support.configs import upstream_entry
from support.upstream import Upstream


async def test_a_connection_that_has_ended_leaves_nothing_for_the_collector(
    certificates: Certificates, start_relay: Any
) -> None:
    content = b"Subject: one\r\n\r\nhello\r\n"
    async with Upstream(certificates.good(), tls="implicit") as upstream:
        entry = upstream_entry(
            upstream, certificates.ca_file, limits={"messages_per_connection": 1}
        )
        async with start_relay(upstream, upstreams={"up": entry}) as relay:
            async with relay.dialogue() as client:
                await client.mail(content)
                await upstream.arrived(1)
                gc.collect()
                gc.disable()
                try:
                    for _ in range(5):
                        await client.mail(content)
                    await upstream.arrived(6)
                    left = sum(isinstance(o, aiosmtplib.SMTP) for o in gc.get_objects())
                finally:
                    gc.enable()
                assert left <= 1
