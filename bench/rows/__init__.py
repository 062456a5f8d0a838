"""The rows of the table, each a value with the function that measures one round of it."""

from rows import backlog, idle, latency, tenants, trail
from rows.throughput import FAR, LARGE, MANY_LARGE, PERSIST, SMALL

ROWS = (
    SMALL,
    PERSIST,
    LARGE,
    MANY_LARGE,
    FAR,
    backlog.ROW,
    tenants.ROW,
    idle.ROW,
    latency.ROW,
    trail.ROW,
)
