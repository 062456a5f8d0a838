"""How much, how many and how long: the sections of the schema that are little but numbers."""

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from relay.config import fields as f
from relay.config.base import Model, written
from relay.model.provider import Counts
from relay.model.retry import Schedule


class Limits(Model):
    """What one client may ask of the relay."""

    message_size: f.Size = written("25MiB", "The largest message; announced to clients (SIZE).")
    recipients: f.Count = Field(default=500, description="The most recipients of one message.")
    sessions: f.Count = Field(default=500, description="The most connections at once.")
    sessions_per_client: f.Count = Field(
        default=100,
        description="The most connections at once from one address; loopback is spared.",
    )
    line_length: f.LineLength = written(
        "64KiB", "The longest line that is taken; what is too long for the way out is folded."
    )
    memory: f.Size = written(
        "48MiB", "The most content that is held in memory at once, over all messages."
    )


class Timeouts(Model):
    """How long to wait for the other side."""

    session_idle: f.Duration = written("5m", "A client that says nothing is let go.")
    connect: f.Duration = written("30s", "An upstream's connection, TLS included.")
    reply: f.Duration = written("5m", "An upstream's reply to a command.")
    data_reply: f.Duration = written("10m", "An upstream's reply to a message's final dot.")
    drain: f.DurationOrNone = written("30s", "At a stop: what is under way may take this long.")


class QueueLimits(Model):
    """How much may wait, and how long a dead letter is kept."""

    max_messages: f.Count = Field(
        default=200_000, description="The most messages that wait; more are answered with 452."
    )
    max_bytes: f.Size = written("10GiB", "The most content that waits; more gets 452.")
    min_free_disk: f.SizeOrNone = written(
        "256MiB", "Disk space that is left for the relay's own notes; below it, mail gets 452."
    )
    keep_dead: f.Duration = written("30d", "How long a dead letter is kept.")
    max_dead_bytes: f.Size = written("2GiB", "The most dead letters; the oldest go first.")


class Rates(Model):
    """How much may be handed over in a time. What is more waits, in order, for its turn."""

    per_second: f.Rate | None = Field(
        default=None, description="The most in a second; 0.5 is one in two. Absent: no cap."
    )
    per_minute: f.Count | None = Field(
        default=None, description="The most in a minute. Absent: no cap."
    )
    per_hour: f.Count | None = Field(
        default=None, description="The most in an hour. Absent: no cap."
    )
    per_day: f.Count | None = Field(
        default=None, description="The most in 24 hours, restarts included. Absent: no cap."
    )


class UpstreamLimits(Rates):
    """What the provider bears. A preset knows that of its provider; elsewhere the defaults suit
    every provider: raise them by its word."""

    counts: Counts = Field(
        default="messages", description="What the rates count, as the provider does."
    )
    preset_per_day_counts: SkipJsonSchema[Counts | None] = Field(
        default=None, validation_alias="(per_day_counts)"
    )
    connections: f.Count = Field(default=2, description="The most connections at once.")
    messages_per_connection: f.Count = Field(
        default=100, description="A connection is closed after so many messages."
    )
    idle: f.DurationOrNone = written("30s", "A connection without mail is closed after this.")
    recipients: f.Count = Field(
        default=100, description="The most recipients in one transaction; more are sent in several."
    )

    @property
    def per_day_counts(self) -> Counts:
        """What per_day counts: a provider may count a day's otherwise, as its preset knows."""
        return self.preset_per_day_counts or self.counts


class Retry(Model):
    """When to try again, and how long pauses grow."""

    first: f.Duration = written("30s", "The wait after the first failure.")
    factor: f.Factor = written(2, "Each further wait is so many times the last one.")
    longest: f.Duration = written("1h", "No wait is longer than this.")
    give_up_after: f.Duration = written(
        "2d", "A message that has waited so long becomes a dead letter."
    )
    attempts: f.Count | None = Field(
        default=None,
        description="The most attempts; only failures of the message's or recipient's own "
        "count. Absent: no cap.",
    )

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            first_s=self.first,
            factor=self.factor,
            longest_s=self.longest,
            give_up_after_s=self.give_up_after,
            attempts=self.attempts,
        )


class RetryChanges(Model):
    """What a class does otherwise than retry says; what is absent stays as it is there."""

    first: f.Duration | None = Field(default=None, description="The wait after the first failure.")
    factor: f.Factor | None = Field(
        default=None, description="Each further wait is so many times the last one."
    )
    longest: f.Duration | None = Field(default=None, description="No wait is longer than this.")
    give_up_after: f.Duration | None = Field(
        default=None, description="A message that has waited so long becomes a dead letter."
    )
    attempts: f.Count | None = Field(
        default=None,
        description="The most attempts; only failures of the message's or recipient's own count.",
    )


class Suppression(Model):
    """When an address is suppressed: not tried again, since its mailbox does not exist."""

    automatic: f.Switch = Field(
        default=True,
        description="Whether permanent refusals suppress an address by themselves, for the "
        "tenant that met them. Entries that people make hold either way.",
    )
    after: f.Count = Field(default=2, description="So many refusals, each on another day, do it.")
    expire: f.Duration = written("30d", "An automatic entry is forgotten after this.")


class Audit(Model):
    """How long the trail in the store goes back; the mirror on standard output is not bound."""

    keep: f.Duration = written("90d", "Events older than this are removed.")
    max_bytes: f.Size = written("2GiB", "The most events; the oldest go first.")
