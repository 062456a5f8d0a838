"""Patterns by which messages are told apart: of addresses, and regular expressions.

Both are compiled when they are read. Every reader raises ValueError with a sentence for the person
who wrote the text.
"""

import re
import warnings
from fnmatch import translate

from relay.config import addresses
from relay.model.address import canonical, domain_of
from relay.model.value import value_class

# Longer ones are nobody's handwriting, and each is searched for in every message.
LONGEST_EXPRESSION = 500

_NULL = "<>"


@value_class
class AddressPattern:
    """An address, a domain, or either with "*" for any run of characters; "<>" is the null
    reverse-path. ``of_domain``: only the domain is looked at."""

    text: str
    of_domain: bool
    expression: re.Pattern[str]

    def matches(self, address: str) -> bool:
        """Case does not count; a domain in any form is compared in A-label form."""
        part = domain_of(address) if self.of_domain else canonical(address)
        return self.expression.match(part) is not None

    def __str__(self) -> str:
        return self.text


def address_pattern(text: str) -> AddressPattern:
    """ "billing@acme.example", "acme.example", "@acme.example", "*.acme.example", "www-*@*"."""
    if text == _NULL:
        return AddressPattern(text, False, re.compile(r"\Z"))
    if set("?[]") & set(text):
        raise ValueError(f'"{text}": only "*" stands for other characters here')
    local_part, _, domain = text.rpartition("@")
    try:
        # A letter may stand wherever a star may.
        addresses.address(f"{local_part or 'x'}@{domain}".replace("*", "x"))
        domain = ".".join(_label(label) for label in domain.removesuffix(".").split("."))
    except ValueError:
        raise ValueError(
            f'"{text}" is neither an address nor a domain, nor one of them with "*" in it'
        ) from None
    whole = f"{local_part.lower()}@{domain}" if local_part else domain
    return AddressPattern(text, not local_part, re.compile(translate(whole)))


def regular_expression(text: str) -> re.Pattern[str]:
    """Python's kind, to be searched for."""
    if not text:
        raise ValueError("is empty: it would be found everywhere")
    if len(text) > LONGEST_EXPRESSION:
        raise ValueError(f"is longer than {LONGEST_EXPRESSION} characters")
    try:
        with warnings.catch_warnings():
            # What Python only warns of, like "[[a]", means something else than was meant.
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise ValueError(f'"{text}" is no regular expression: {error}') from None


def _label(label: str) -> str:
    """One label of a domain; with a star in it, it can't be translated, so it must be ASCII."""
    if "*" not in label:
        return addresses.a_label(label)
    if not label.isascii():
        raise ValueError
    return label.lower()
