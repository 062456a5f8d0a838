"""The named queries of queries.sql."""

from relay.queue.named_sql import named_queries

SQL = named_queries("relay.queue.sqlite", "queries.sql")
