"""Kinds of mail that are treated otherwise than the rest: the section classes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from relay.config import fields as f
from relay.config.base import Model
from relay.config.bounds import Retry, RetryChanges
from relay.config.derived import OneOrMore

_Patterns = Annotated[tuple[f.AddressPattern, ...], Field(min_length=1), OneOrMore()]


class Match(Model):
    """Which messages are of the class: those for which all that is given here holds. Of a list,
    one item must."""

    sender: _Patterns = Field(
        default=(),
        description="The reverse-path, by address (billing@acme.example) or domain (acme.example, "
        'or @acme.example); "*" stands for any characters in either, so that "*.acme.example" is '
        'everything beneath acme.example, and "*" is everybody. "<>" is the null reverse-path. '
        "Case does not count. One, or a list.",
    )
    recipient: _Patterns = Field(
        default=(), description="A recipient, written like sender. One, or a list."
    )
    header: Annotated[dict[f.HeaderName, f.Expression], Field(min_length=1)] = Field(
        default_factory=dict,
        description="Fields of the header section and what is searched for in their values, as "
        'regular expressions; ".*" is found where the field is there at all.',
    )
    subject: f.Expression | None = Field(
        default=None,
        description="A regular expression that is searched for in the decoded Subject; begin it "
        "with (?i) where case does not count.",
    )
    user: Annotated[tuple[str, ...], Field(min_length=1), OneOrMore()] = Field(
        default=(),
        description="The name under which the client logged in, of clients.users. One, or a list.",
    )

    @model_validator(mode="after")
    def _is_said(self) -> "Match":
        if not self.model_fields_set:
            raise ValueError('is empty: if every message is meant, write {sender: "*"}')
        return self


class MessageClass(Model):
    """A kind of mail. A message is of the first class, in the order of the file, that matches."""

    name: SkipJsonSchema[str] = Field(default="", validation_alias="(name)")
    match: Match = Field(description="Which messages are of the class.")
    priority: f.Priority = Field(
        default="normal",
        description="high overtakes all that waits, and passes over automatic suppressions; low "
        "lets the others pass.",
    )
    give_up_after: f.Duration | None = Field(
        default=None,
        description="When it is no longer worth anything: a one-time code after 10m. Short for "
        "the same key of retry.",
    )
    upstream: str | None = Field(
        default=None,
        description="The name of the upstream that it takes instead of the tenant's. Mail of "
        "tenants that live on the default stays there.",
    )
    retry: RetryChanges = Field(
        default_factory=RetryChanges, description="When to try again, where it is not as for all."
    )
    suppression: Literal["obey", "ignore"] = Field(
        default="obey",
        description="ignore: it is sent to suppressed addresses, too.",
    )

    @model_validator(mode="after")
    def _gives_up_once(self) -> "MessageClass":
        if self.give_up_after is not None and self.retry.give_up_after is not None:
            raise ValueError("says give_up_after twice: leave one of them out, here or in retry")
        return self

    def retry_from(self, retry: Retry) -> Retry:
        """``retry``, which holds for all, with the changes of this class."""
        changes = self.retry.model_dump(exclude_none=True)
        if self.give_up_after is not None:
            changes["give_up_after"] = self.give_up_after
        return retry.model_copy(update=changes)
