"""Diagnostics: what a developer or a worried sysadmin reads, by structlog, on standard error.

Apart from the trail: these lines may change, and no program should depend on them.
"""

import logging
import sys

import structlog

from relay.record import journal


def configure(*, level: int = logging.INFO) -> None:
    """Pretty on a terminal, JSON lines elsewhere. Libraries' own logs go the same way."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor]
    if sys.stderr.isatty():
        # structlog's own choice is rich, which shows local variables: a password is one, at AUTH.
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if journal.reads(sys.stderr):
        last.append(journal.prefixed)
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # By one write a line, since the trail may go to the same place.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
