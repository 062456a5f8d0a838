"""The organisational domain (RFC 7489 section 3.2): the one that its owner registered."""

from functools import cache

from publicsuffixlist import PublicSuffixList


def organisational_domain(domain: str) -> str:
    """acme.co.uk of mail.acme.co.uk; a public suffix is its own."""
    return _list().privatesuffix(domain) or domain


def with_its_parents(domain: str) -> tuple[str, ...]:
    """The domain and those above it, up to the organisational one."""
    top = organisational_domain(domain)
    chain = [domain]
    while chain[-1] != top and "." in chain[-1]:
        chain.append(chain[-1].partition(".")[2])
    return tuple(chain)


def are_aligned(one: str, other: str, *, strictly: bool) -> bool:
    """RFC 7489 section 3.1."""
    if strictly:
        return one == other
    return organisational_domain(one) == organisational_domain(other)


@cache
def _list() -> PublicSuffixList:
    return PublicSuffixList()
