"""The named queries of queries.sql."""

from pathlib import Path

from relay.queue.named_sql import named_queries

SQL = named_queries(Path(__file__).with_name("queries.sql"))
